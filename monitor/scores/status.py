"""Where the scores on their way to Kafka stand: as words of a status, and as metrics.

It reads the outbox and writes nothing.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.config import Config
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.scores.outbox import Outbox

if TYPE_CHECKING:  # without the extra there are no metrics
    from dosimeter.monitor.telemetry import Telemetry

log = logging.getLogger(__name__)


def scores_status(config: Config) -> dict[str, Any]:
    """`scores`, to stand beside `sinks` of the status of delivery; nothing where none were ever sent."""
    try:
        account = Outbox(ArchiveFolder(config.archive_path).outbox).account()
    except (RuntimeError, OSError) as error:
        return {"scores": {"error": str(error)}}
    return {} if account is None else {"scores": asdict(account)}


def record_scores(telemetry: Telemetry, outbox: Outbox) -> None:
    """Put the account into metrics."""
    try:
        account = outbox.account()
    except (RuntimeError, OSError) as error:
        log.warning("counts of scores not recorded: %s", error)
        return
    if account is None:
        return
    telemetry.record("dosimeter.delivery.scores.archived", account.archived)
    telemetry.record("dosimeter.delivery.scores.sent", account.sent)
    telemetry.record("dosimeter.delivery.scores.waiting", account.waiting)
    for reason, tokens in account.dropped.items():
        telemetry.record("dosimeter.delivery.scores.dropped", tokens, {"reason": reason})
