"""`dosimeter audit`: what an auditor asks of history, checks and takes away.

It owns the list of subcommands and what each error is worth as an exit code; each is a module here with `add(commands)`
and `run(args)`. What history needs (DuckDB, pyarrow, cryptography) is imported when a subcommand runs, not before.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from typing import Any

from dosimeter.monitor.cli.audit import (
    attack,
    erase,
    export,
    holds,
    incident_pack,
    label,
    labels,
    query,
    reproduce,
    rotate_key,
    show,
    sql,
    verify,
)

NONE, USAGE, ENVIRONMENT, DATA = 1, 2, 3, 4
FOREIGN = ("_duckdb", "duckdb", "pyarrow")
"""Whose errors say that a file is not what it should be."""
MODULES = (
    query, show, sql, verify, reproduce, export, incident_pack, erase, holds, label, labels, rotate_key, attack,
)  # fmt: skip


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "audit",
        help="query, verify, export and erase the history of all alerts",
        epilog="exit codes: 0 done, 1 none or findings, 2 usage, 3 environment or refused, "
        "4 verification or data failed, 5 none and nobody watched, 6 none and not all was watched",
    )
    commands = parser.add_subparsers(dest="audit_command", required=True, metavar="COMMAND")
    for module in MODULES:
        module.add(commands)
    for child in commands.choices.values():
        child.set_defaults(act=child.get_default("run"), run=run)


def run(args: argparse.Namespace) -> int:
    """The subcommand's own code; what went wrong on stderr, in words."""
    from dosimeter.detectors.findings import visible

    try:
        code: int = args.act(args)
        return code
    except BrokenPipeError:  # `main` knows what that means
        raise
    except Exception as error:
        worth = _worth(error)
        if worth is None:  # a defect of ours, which Python ends with 1: as if nothing were there
            traceback.print_exc()
            return DATA
        print(visible(_said(error), keep="\n"), file=sys.stderr)
        return worth


def _said(error: Exception) -> str:
    if type(error).__module__.partition(".")[0] not in FOREIGN:
        return str(error)
    hint = "if a sealed file is named, restore it from its backup; `dosimeter audit verify` names all that differ"
    return f"history cannot be read: {str(error).partition(chr(10))[0]}\n  hint: {hint}"


def _worth(error: Exception) -> int | None:
    """The exit code of what can go wrong without a defect of ours; None for the rest."""
    if isinstance(error, ImportError):
        return ENVIRONMENT
    if type(error).__module__.partition(".")[0] in FOREIGN and not isinstance(error, OSError):
        return DATA
    import sqlite3

    from dosimeter.detectors.findings import InputError
    from dosimeter.monitor.audit.erasure.erase_scope import CannotErase
    from dosimeter.monitor.audit.exports.exporting import NotSigned, StoreDiffers
    from dosimeter.monitor.audit.exports.outfile import OutError
    from dosimeter.monitor.audit.history import NoSuchEntry
    from dosimeter.monitor.audit.people.access import AccessRefused
    from dosimeter.monitor.audit.people.holds import CannotHold
    from dosimeter.monitor.audit.queries.free_sql import SqlRefused, SqlStopped
    from dosimeter.monitor.audit.queries.named_queries import QueryError
    from dosimeter.monitor.audit.queries.names import UnknownName
    from dosimeter.monitor.audit.queries.times import TimeError
    from dosimeter.monitor.audit.store.box import CannotOpen
    from dosimeter.monitor.audit.store.hot import StoreError, StoreStalled
    from dosimeter.monitor.audit.store.keys import KeysError
    from dosimeter.monitor.cli.audit.arguments import Usage
    from dosimeter.monitor.history.evidence import EvidenceError
    from dosimeter.monitor.tlog.anchors import AnchorFailed
    from dosimeter.monitor.tlog.note import NoteError
    from dosimeter.monitor.tlog.reader import LogUnreadable
    from dosimeter.monitor.tlog.writer import LogError

    refused = (AccessRefused, CannotErase, CannotHold, NotSigned, SqlStopped, AnchorFailed)
    away = (StoreError, StoreStalled, KeysError, sqlite3.OperationalError, OSError)
    for worth, kinds in (
        (NONE, (NoSuchEntry,)),
        (USAGE, (Usage, TimeError, OutError, QueryError, SqlRefused, UnknownName)),
        (
            DATA,
            (
                StoreDiffers,
                CannotOpen,
                EvidenceError,
                NoteError,
                LogUnreadable,
                LogError,
                InputError,
            ),
        ),
        (ENVIRONMENT, (*refused, *away)),
        (DATA, (sqlite3.Error,)),
    ):
        if isinstance(error, kinds):
            return worth
    return None
