"""`dosimeter archive`: the process that turns the scores that the line has spooled into Parquet.

It owns the arguments, the signals, the niceness and the exit code; the work is `monitor.history.archive`. Only here is
pyarrow imported, so that the line never is.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.config import ArchiveConfig, Config, load_config

if TYPE_CHECKING:
    from dosimeter.monitor.history.archive import Archiver
    from dosimeter.monitor.history.archive_tidy import Tidy

USAGE, ENVIRONMENT, DATA = 2, 3, 4
IDLE_S, TIDY_S, RETRY_S = 0.5, 60.0, 5.0
NICE = 10
log = logging.getLogger(__name__)


def add_parser(subparsers: Any) -> None:
    archive = subparsers.add_parser("archive", help="keep scores of past requests")
    archive.add_argument("--config", type=Path, metavar="FILE", help="the sidecar's own file")
    archive.add_argument("--data-dir", type=Path, metavar="DIR", help="instead of the file's")
    archive.add_argument("--once", action="store_true", help="read what is there, and end")
    archive.add_argument(
        "--json", action="store_true", help="say at the end what was done, as JSON"
    )
    archive.add_argument(
        "--status", action="store_true", help="print what was done so far, as JSON, and end"
    )
    archive.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: stopped by a signal, or all is read. 2, 3, 4: usage, environment, data."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        config = load_config(args.config) if args.config else Config()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return USAGE
    config = config.under(args.data_dir) if args.data_dir else config
    missing = needs(config)
    if missing is not None:
        print(missing, file=sys.stderr)
        return ENVIRONMENT
    from dosimeter.monitor.history.archive import account
    from dosimeter.monitor.history.archive_folder import ArchiveFolder
    from dosimeter.monitor.stopping import stop_on_signals

    try:
        if args.status:
            done = account(ArchiveFolder(config.archive_path))
        else:
            with suppress(
                OSError
            ):  # a system call filter may forbid it, and it is a courtesy alone
                os.nice(NICE)
            done = follow(config, stop_on_signals(), once=args.once)
    except (RuntimeError, OSError) as error:
        print(f"dosimeter archive: {error}", file=sys.stderr)
        return ENVIRONMENT
    except ValueError as error:
        print(f"dosimeter archive: {error}", file=sys.stderr)
        return DATA
    print(json.dumps(done, indent=2) if args.json or args.status else sentence(done))
    return 0


def needs(config: Config) -> str | None:
    """Why this cannot run here, with what to do; None if it can."""
    if importlib.util.find_spec("pyarrow") is None:
        return "the archive needs pyarrow\n  hint: pip install 'dosimeter[history]'"
    if config.archive is None and not config.archive_path.exists():
        hint = "write `archive: {}` in the sidecar's file, and start it"
        return f"{config.archive_path}: no scores are kept here\n  hint: {hint}"
    return None


def follow(config: Config, stop: threading.Event, *, once: bool) -> dict[str, Any]:
    """Until `stop` is set, or, with `once`, until all is read. Returns what was done since the archive began."""
    import pyarrow

    from dosimeter.monitor.history.archive import Archiver, status
    from dosimeter.monitor.history.archive_folder import ArchiveFolder
    from dosimeter.monitor.history.archive_tidy import Tidy
    from dosimeter.monitor.history.room import Room
    from dosimeter.monitor.scores.outbox import Outbox
    from dosimeter.monitor.scores.packed import hand_on

    pyarrow.set_cpu_count(1)
    folder, keeping = ArchiveFolder(config.archive_path), config.archive or ArchiveConfig()
    tidy = Tidy(folder, keeping.days)
    outbox = Outbox(folder.outbox, Room(config.ledger_path, config.ledger.quota).for_scores)
    given = () if config.scores is None else (partial(hand_on, outbox),)
    while True:
        archiver = Archiver(folder, keeping.one_in, *given)
        try:
            _work(archiver, tidy, stop, once=once)
            return status(archiver)
        except OSError as error:  # a full disk: what was begun is done again
            if once:
                raise
            log.error("again in %.0f s: %s", RETRY_S, error)
        finally:
            archiver.close()
        if stop.wait(RETRY_S):
            return status(archiver)


def _work(archiver: Archiver, tidy: Tidy, stop: threading.Event, *, once: bool) -> None:
    next_tidy = time.monotonic()
    if once:
        archiver.end_spool()
    while not stop.is_set():
        worked = archiver.step()
        if time.monotonic() >= next_tidy or (once and not worked):
            tidy.remove(time.time_ns(), time.monotonic_ns())  # first: a merge may want its room
            tidy.merge(time.time_ns(), everything=once and not worked)
            next_tidy = time.monotonic() + TIDY_S
        if not worked:
            if once:
                return
            stop.wait(IDLE_S)


def sentence(done: dict[str, Any]) -> str:
    """For a person."""
    return (
        f"{done['kept_requests']} of {done['requests']} requests kept "
        f"({done['kept_tokens']} of {done['tokens']} tokens), {done['requests_open']} still open, "
        f"{done['tokens_lost'] + done['tokens_unknown']} tokens lost"
    )
