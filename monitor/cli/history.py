"""`dosimeter history`: the process that keeps the history and shows it, or that sends it to the one of a fleet.

It owns the arguments, the signals and the exit code; the work is `monitor.audit.service`. Only here are its libraries
imported, so that the line never has them.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import logging
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dosimeter.monitor.config import Config, load_config
from dosimeter.monitor.config_history import HistoryConfig

USAGE, ENVIRONMENT, DATA = 2, 3, 4
NICE = 5
NEEDS = ("cryptography", "duckdb", "fastapi", "jinja2", "jwt", "msgspec", "pyarrow", "uvicorn")


def add_parser(subparsers: Any) -> None:
    history = subparsers.add_parser(
        "history",
        help="keep the history that auditors query",
        description="Keep the history that auditors query, and serve its pages until SIGTERM. Without `pages.oidc` it "
        "prints a link that lets one person in, once; start it anew for another.",
        epilog="example: dosimeter history --data-dir /var/lib/dosimeter --port 0",
    )
    history.add_argument("--config", type=Path, metavar="FILE", help="the sidecar's own file")
    history.add_argument("--data-dir", type=Path, metavar="DIR", help="instead of the file's")
    history.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="of the pages, instead of the file's (default 7788; 0: any free one)",
    )
    history.add_argument("--once", action="store_true", help="take in what is there, sign, and end")
    history.add_argument("--json", action="store_true", help="say at the end what was done")
    history.set_defaults(run=run)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"`{text[:40]}` is no port: 0 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """0: stopped by a signal, or all is taken in. 2, 3, 4: usage, environment, data."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("kafka").setLevel(logging.WARNING)  # each connection, and each step of it
    try:
        config = load_config(args.config) if args.config else Config()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return USAGE
    config = config.under(args.data_dir) if args.data_dir else config
    settings = config.history or HistoryConfig()
    if args.port is not None:
        settings = replace(settings, port=args.port)
    config = replace(config, history=settings)
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing and settings.ship is None:
        print(f"history needs {', '.join(missing)}", file=sys.stderr)
        print("  hint: pip install 'dosimeter[history]'", file=sys.stderr)
        return ENVIRONMENT
    from dosimeter.monitor.stopping import stop_on_signals

    with suppress(OSError):  # a system call filter may forbid it, and it is a courtesy alone
        os.nice(NICE)
    if settings.ship is not None:
        return _ship(config, settings, once=args.once)
    from dosimeter.monitor.audit.feeds import YOUNG
    from dosimeter.monitor.audit.service import run_history
    from dosimeter.monitor.audit.store.hot import StoreError, StoreStalled
    from dosimeter.monitor.audit.store.keys import KeysError
    from dosimeter.monitor.feed.items import FeedAway
    from dosimeter.monitor.history.lock import AlreadyWriting
    from dosimeter.monitor.tlog.anchors import AnchorFailed
    from dosimeter.monitor.tlog.note import NoteError
    from dosimeter.monitor.tlog.writer import LogError

    gc.set_threshold(YOUNG)

    def ready(url: str) -> None:
        print(f"history: {url}", file=sys.stderr, flush=True)

    try:
        done = run_history(config, stop_on_signals(), once=args.once, ready=ready)
    except (StoreStalled, AlreadyWriting, AnchorFailed, FeedAway, OSError) as error:
        print(f"dosimeter history: {error}", file=sys.stderr)
        return ENVIRONMENT
    except (StoreError, KeysError, LogError, NoteError) as error:
        print(f"dosimeter history: {error}", file=sys.stderr)
        return DATA
    log = done["log"]
    print(json.dumps(done, indent=2) if args.json else f"{log['signed']:,} entries, all signed")
    return 0


def _ship(config: Config, settings: HistoryConfig, *, once: bool) -> int:
    from dosimeter.monitor.feed.cursor_file import CursorError
    from dosimeter.monitor.feed.items import FeedAway
    from dosimeter.monitor.feed.shipper import ShipConfig, ship
    from dosimeter.monitor.history.ledger import LedgerError
    from dosimeter.monitor.history.lock import AlreadyWriting
    from dosimeter.monitor.stopping import stop_on_signals

    assert settings.ship is not None  # the caller looked
    store = config.data_dir / "history-shipped.json"
    wanted = ShipConfig(
        config.ledger_path, store, config.history_cursor_path, settings.ship, settings.name
    )
    if once and not config.ledger_path.exists():
        print(f"dosimeter history: {config.ledger_path}: no ledger here", file=sys.stderr)
        return ENVIRONMENT
    try:
        ship(wanted, stop_on_signals(), once=once)
    except (AlreadyWriting, FeedAway, OSError) as error:
        print(f"dosimeter history: {error}", file=sys.stderr)
        return ENVIRONMENT
    except (CursorError, LedgerError) as error:
        print(f"dosimeter history: {error}", file=sys.stderr)
        return DATA
    return 0
