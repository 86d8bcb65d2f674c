"""`dosimeter audit verify`: whether the log only grew and the store is the same, and what that does not show.

It owns the arguments and the exit code; the pass and its words are `monitor/audit/checks/verifying`. It writes nothing,
and so runs on a copy, by somebody else, and on a disk that is read-only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.screen import plain

if TYPE_CHECKING:
    from dosimeter.monitor.audit.checks.differences import Difference
    from dosimeter.monitor.audit.store.folder import HistoryFolder
    from dosimeter.monitor.audit.store.hot import HotStore
    from dosimeter.monitor.tlog.note import Checkpoint, Opens, Verifier

FAILED = 4


def add(commands: Any) -> None:
    parser = arguments.parser(
        commands,
        "verify",
        "whether the log only grew and the store says the same",
        "dosimeter audit verify --since february.checkpoint --anchors --config sidecar.yaml",
    )
    parser.add_argument("--since", type=Path, metavar="FILE",
                        help="a checkpoint you kept: the log must have grown from it")  # fmt: skip
    parser.add_argument("--key", type=Path, metavar="FILE",
                        help="the public key you kept (default: log/key, as it is in the folder)")  # fmt: skip
    parser.add_argument("--anchors", action="store_true",
                        help="compare with what the anchors hold; needs --config")  # fmt: skip
    parser.add_argument("--config", type=Path, metavar="FILE",
                        help="the sidecar's file, which names the anchors")  # fmt: skip
    parser.add_argument("--evidence", action="store_true",
                        help="also open every ciphertext; needs keys.db")  # fmt: skip
    parser.add_argument("--log-only", action="store_true", help="where only the folder `log` is at hand")  # fmt: skip
    parser.add_argument("--tz", default="UTC", metavar="ZONE", help="IANA name (default UTC)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: verified, or consistent with what was at hand. 4: not."""
    from dosimeter.monitor.audit.checks.verdict import as_json, verdict_lines
    from dosimeter.monitor.audit.checks.verifying import verify_history
    from dosimeter.monitor.audit.queries.times import zone_of
    from dosimeter.monitor.audit.store.folder import HistoryFolder
    from dosimeter.monitor.audit.store.hot import HotStore
    from dosimeter.monitor.audit.store.opening import missing
    from dosimeter.monitor.progress import Progress
    from dosimeter.monitor.tlog.reader import notes_in
    from dosimeter.monitor.tlog.rotation import log_keys

    if args.evidence and args.log_only:
        raise arguments.Usage("--evidence: it is not in the log\n  hint: leave out --log-only")
    if args.anchors and args.config is None:
        hint = "add --config FILE, the sidecar's own"
        raise arguments.Usage(f"--anchors: nothing says where they are\n  hint: {hint}")
    zone = zone_of(args.tz)
    folder = HistoryFolder(arguments.folder_of(args))
    verifier = _key(args.key, folder)
    keys = log_keys(notes_in(folder.log), verifier)
    if keys.current != verifier:
        arguments.notes([f"the key was changed since; keep this one too: {keys.current.vkey}"])
    since = None if args.since is None else _since(args.since, keys)
    anchors = None
    if args.anchors:
        from dosimeter.monitor.audit.checks.anchored import configured, read_anchors

        anchors = read_anchors(configured(args.config, folder.root), keys)
    hot = None if args.log_only else HotStore(folder.hot, read_only=True)
    if hot is not None:
        arguments.notes([str(one) for one in missing(folder, hot)])
    progress = Progress("verify")
    try:
        found = verify_history(
            folder, hot, verifier, now_ns=time.time_ns(), since=since, anchors=anchors,
            progress=progress,
        )  # fmt: skip
        if args.evidence and hot is not None and found.store is not None:
            found.store.differences += _evidence(folder, hot)
    finally:
        progress.close()
        if hot is not None:
            hot.close()
    if args.json:
        print(json.dumps(as_json(found), indent=2))
    else:
        print(*(plain(line) for line in verdict_lines(found, zone)), sep="\n")
    return 0 if found.ok else FAILED


def _evidence(folder: HistoryFolder, hot: HotStore) -> list[Difference]:
    """Raises StoreError, KeysError, LogUnreadable."""
    from dosimeter.monitor.audit.checks.evidence_check import check_evidence
    from dosimeter.monitor.audit.store.hot import StoreError
    from dosimeter.monitor.audit.store.keys import KeyStore
    from dosimeter.monitor.tlog.reader import LogReader

    if not folder.keys.exists():
        hint = "leave out --evidence, or restore it"
        raise StoreError(f"{folder.keys}: no keys to open evidence with\n  hint: {hint}")
    log = LogReader(folder.log)
    leaves = chain(
        log.leaves(0), hot.leaves(log.size, hot.size)
    )  # an erasure may not be signed yet
    with KeyStore(folder.keys, read_only=True) as keys:
        return check_evidence(folder, hot, keys, leaves)


def _key(given: Path | None, folder: HistoryFolder) -> Verifier:
    """Raises NoteError, StoreError."""
    from dosimeter.monitor.audit.store.hot import StoreError
    from dosimeter.monitor.audit.store.opening import KEY
    from dosimeter.monitor.tlog.note import NoteError, Verifier

    path = folder.log / KEY if given is None else given
    try:
        return Verifier.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "name the folder with `--history`, or the key with `--key`"
        raise StoreError(f"{path}: no key to verify by\n  hint: {hint}") from None
    except (NoteError, UnicodeDecodeError) as error:
        raise NoteError(f"{path}: {error}") from None


def _since(path: Path, verifier: Opens) -> Checkpoint:
    """Raises NoteError, OSError."""
    from dosimeter.monitor.tlog.note import Checkpoint, NoteError

    try:
        return Checkpoint.open(path.read_bytes(), verifier)
    except FileNotFoundError:
        hint = "name the copy of log/checkpoint that you kept"
        raise FileNotFoundError(f"--since: `{plain(path)}` is not there\n  hint: {hint}") from None
    except NoteError as error:
        print(f"--since {plain(path)}: not a checkpoint of this log", file=sys.stderr)
        raise NoteError(f"{path}: {error}") from None
