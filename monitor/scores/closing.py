"""The lane of scores is closed: the configuration names no topic any more, so nobody sends what waited for one.

What waits is removed and counted before any process starts that has a part in it. It starts nothing, and stops nothing.
"""

from __future__ import annotations

import contextlib
import logging

from dosimeter.monitor.config import Config
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.lock import AlreadyWriting, WriterLock
from dosimeter.monitor.scores.outbox import AccountError, Outbox

log = logging.getLogger(__name__)


def close_lane(config: Config) -> None:
    """Where no topic is named. What stops it is logged, and stops no alert: the next start tries again."""
    folder = ArchiveFolder(config.archive_path)
    if config.scores is not None or not folder.outbox.is_dir():
        return
    try:
        with contextlib.ExitStack() as stack:
            for path in (config.deliver_path, folder.work / "archive"):  # whose accounts they are
                stack.callback(WriterLock(path).close)
            tokens = Outbox(folder.outbox).close()
    except (AccountError, AlreadyWriting, OSError) as error:
        log.error("scores in %s wait, and no topic is named for them: %s", folder.outbox, error)
        return
    if tokens:
        log.warning(
            "%d scores are not sent: `sinks.kafka.scores` names no topic any more; the archive has them",
            tokens,
        )
