"""`dosimeter deliver dead`, `replay` and `forget`: what a sink refused, sending it again, letting go of a sink.

It owns the arguments and what is printed. All three work on the dispatcher's file; the first two beside a dispatcher
that runs, which sends what is to be replayed when nothing else waits.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.arguments import count
from dosimeter.monitor.cli.screen import plain

if TYPE_CHECKING:
    from dosimeter.monitor.history.cursors import CursorStore
    from dosimeter.monitor.history.dead_letters import DeadLetter

NONE, USAGE, ENVIRONMENT, DATA = 1, 2, 3, 4
SHORT = 160
"""Characters of an error in a line; `--json` has it whole."""


def add_parsers(deliver: argparse.ArgumentParser) -> None:
    actions = deliver.add_subparsers(dest="deliver", metavar="ACTION")
    dead = _action(actions, "dead", "list what sinks refused, with the reason", _dead)
    dead.add_argument("--json", action="store_true", help="one object a line, with its record")
    dead.add_argument("--limit", type=count, default=100, metavar="N", help="of each sink; 100")
    replay = _action(actions, "replay", "send again what sinks refused", _replay)
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("--event-id", action="append", metavar="ID", help="may be repeated")
    which.add_argument("--all", action="store_true", help="every one")
    replay.add_argument("--dry-run", action="store_true", help="only say which")
    for one in (dead, replay):
        one.add_argument("--sink", metavar="NAME", help="of this sink alone")
    forget = _action(actions, "forget", "let go of a sink that is not set up any more", _forget)
    forget.add_argument("sink", metavar="NAME")
    forget.add_argument("--discard-dead-letters", action="store_true", help="they are deleted")


def _action(
    actions: Any, name: str, line: str, work: Callable[[CursorStore, argparse.Namespace], int]
) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = actions.add_parser(name, help=line)
    # What stands before the action holds too.
    one.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS,
                     help="the sidecar's own file")  # fmt: skip
    one.add_argument("--data-dir", type=Path, metavar="DIR", default=argparse.SUPPRESS,
                     help="instead of the file's")  # fmt: skip
    one.set_defaults(run=lambda args: run(args, work))
    return one


def run(args: argparse.Namespace, work: Callable[[CursorStore, argparse.Namespace], int]) -> int:
    """0: done. 1: nothing to do it to. 3, 4: environment, data."""
    from dosimeter.monitor.config import Config, load_config

    try:
        settings = load_config(args.config) if args.config else Config()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return DATA
    settings = settings.under(args.data_dir) if args.data_dir else settings
    try:
        with _opened(settings.ledger_path, settings.deliver_path) as store:
            return work(store, args)
    except (RuntimeError, sqlite3.Error, OSError) as error:
        print(error, file=sys.stderr)
        return ENVIRONMENT


@contextmanager
def _opened(ledger: Path, path: Path) -> Iterator[CursorStore]:
    """Raises LedgerError, StoreError: also where nothing was ever delivered."""
    from dosimeter.monitor.history.cursors import CursorStore, StoreError
    from dosimeter.monitor.history.reader import LedgerReader

    with LedgerReader(ledger) as reader:
        ledger_id = reader.ledger_id
    if not path.exists():
        raise StoreError(f"{path}: nothing was delivered here\n  hint: start `dosimeter deliver`")
    with CursorStore(path, ledger_id=ledger_id) as store:
        yield store


def _dead(store: CursorStore, args: argparse.Namespace) -> int:
    names = _sinks(store, args.sink)
    found = [one for name in names for one in store.letters.of(name, limit=args.limit)]
    for one in found:
        print(json.dumps(_as_json(one), sort_keys=True) if args.json else _as_line(one))
    kept = sum(store.position(name).dead for name in names)
    if not args.json and len(found) < kept:
        print(f"{kept - len(found)} more; `--limit` shows them", file=sys.stderr)
    if not found:
        print("no dead letters", file=sys.stderr)
    return 0


def _sinks(store: CursorStore, sink: str | None) -> list[str]:
    from dosimeter.monitor.history.cursors import StoreError

    known = store.sinks()
    if sink is not None and sink not in known:
        names = ", ".join(known) or "none"
        raise StoreError(f"{store.path}: no sink `{plain(sink)[:80]}`; there are: {names}")
    return known if sink is None else [sink]


def _as_line(one: DeadLetter) -> str:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.at_ns // 10**9))
    error = plain(one.error)
    error = error if len(error) <= SHORT else error[: SHORT - 1] + "…"
    return f"{one.sink}  {one.event_id}  {at}  {'replaying' if one.again_ns else 'dead'}  {error}"


def _as_json(one: DeadLetter) -> dict[str, Any]:
    return {
        "sink": one.sink,
        "event_id": one.event_id,
        "error": one.error,
        "at_ns": one.at_ns,
        "replay_asked_ns": one.again_ns,
        "record": one.core.decode("utf-8", "replace"),  # text: it may be what was malformed
    }


def _replay(store: CursorStore, args: argparse.Namespace) -> int:
    _sinks(store, args.sink)
    ids = None if args.all else args.event_id
    found = store.letters.ask_replay(args.sink, ids, now_ns=time.time_ns(), dry=args.dry_run)
    for sink, event_id in found:
        print(f"{sink}  {event_id}")
    unknown = sorted(set(ids or ()) - {event_id for _, event_id in found})
    for event_id in unknown:
        print(f"no dead letter `{plain(event_id)[:80]}`", file=sys.stderr)
    if not args.dry_run and found and not _dispatcher_runs(store.path):
        print(
            f"{len(found)} are sent when `dosimeter deliver` or the sidecar runs", file=sys.stderr
        )
    if not found:
        print("  hint: `dosimeter deliver dead` shows what there is", file=sys.stderr)
    return NONE if unknown or not found else 0


def _forget(store: CursorStore, args: argparse.Namespace) -> int:
    from dosimeter.monitor.history.cursors import StoreError
    from dosimeter.monitor.history.lock import AlreadyWriting, WriterLock

    _sinks(store, args.sink)
    try:
        lock = WriterLock(store.path)
    except AlreadyWriting:
        raise StoreError(
            f"{store.path}: a dispatcher runs, and would bring `{args.sink}` back\n"
            "  hint: take the sink out of its configuration, stop it, then forget"
        ) from None
    try:
        store.forget_sink(args.sink, discard=args.discard_dead_letters)
    finally:
        lock.close()
    print(f"{args.sink}: forgotten; set up again, it is sent the whole ledger")
    return 0


def _dispatcher_runs(store: Path) -> bool:
    from dosimeter.monitor.history.lock import AlreadyWriting, WriterLock

    try:
        WriterLock(store).close()
    except AlreadyWriting:
        return True
    return False
