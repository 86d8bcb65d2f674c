"""`dosimeter alerts`: list the ledger, show one record.

It owns the arguments and the two screens; what an alert looks like in detail is drawn by
`alert_view`. It reads the ledger and never changes it.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.cli import calibrations
from dosimeter.monitor.cli.alert_explain import explain_lines
from dosimeter.monitor.cli.alert_view import evidence_lines, record_lines, when
from dosimeter.monitor.cli.arguments import count
from dosimeter.monitor.cli.screen import Screen, plain, table
from dosimeter.monitor.explaining import explain
from dosimeter.monitor.history.evidence import EvidenceError, decode_evidence
from dosimeter.monitor.history.ledger import LedgerError
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.history.verdicts import confirmer_of, stored_verdict
from dosimeter.rules.decide import Word

SHORT_ID = 16  # 48 bits of time and 16 of hash: alerts of one millisecond still differ
WIDE = ("id", "time (UTC)", "severity", "feature", "rule", "scope", "tenant", "summary")
NARROW = ("id", "time (UTC)", "severity", "feature", "rule", "summary")
NARROW_WIDTH = 120
AGE = re.compile(r"(\d+)([smhd])")
MAX_NS = (1 << 63) - 1
"""No record is of a later time, nor of one before 1970."""
AGE_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_parser(subparsers: Any) -> None:
    alerts = subparsers.add_parser("alerts", help="list stored alerts, show one")
    commands = alerts.add_subparsers(dest="alerts_command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data-dir", type=Path, default=Path(".dosimeter"), metavar="DIR",
                        help="of the sidecar (default .dosimeter)")  # fmt: skip
    shared.add_argument("--json", action="store_true", help="one JSON object per line")
    listing = commands.add_parser("list", parents=[shared], help="newest first")
    for name in ("feature", "rule", "tenant"):
        listing.add_argument(f"--{name}", metavar="NAME")
    listing.add_argument("--decision", choices=get_args(Word))
    listing.add_argument("--since", metavar="WHEN", help="2h, 3d, or 2026-01-31T09:00")
    listing.add_argument("--limit", type=count, default=50, metavar="N")
    listing.set_defaults(run=run)
    show = commands.add_parser("show", parents=[shared], help="one record with its evidence")
    show.add_argument("id", help="event id, or its first characters")
    show.set_defaults(run=run)
    why = commands.add_parser(
        "explain", parents=[shared], help="why an alert came, and how rare that is"
    )
    why.add_argument("id", help="event id, or its first characters")
    why.add_argument("--calibration", action="append", default=[], type=calibrations.folder, metavar="DIR",
                     help="ordinary traffic to compare it with; may be repeated")  # fmt: skip
    why.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: shown. 1: no such alert. 2: a wrong argument. 3: no ledger. 4: evidence or a calibration that is none."""
    try:
        with LedgerReader(args.data_dir / "ledger.db") as ledger:
            if args.alerts_command == "show":
                return _show(ledger, args)
            if args.alerts_command == "explain":
                return _explain(ledger, args)
            return _list(ledger, args, now_ns=time.time_ns)
    except InputError as error:
        print(plain(error), file=sys.stderr)
        return 4
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except (LedgerError, sqlite3.Error) as error:
        print(error, file=sys.stderr)
        return 3


def since_ns(text: str, now_ns: int) -> int:
    """`2h`, `3d` before now, or an ISO date (UTC unless it says otherwise). Raises ValueError."""
    age = AGE.fullmatch(text)
    if age is not None:
        return max(0, now_ns - int(age[1]) * AGE_S[age[2]] * 1_000_000_000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"--since `{plain(text)}` is not a time\n"
            "  hint: write `2h`, `3d`, `2026-01-31` or `2026-01-31T09:00`"
        ) from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0, int(aware.timestamp()) * 1_000_000_000), MAX_NS)


def _list(ledger: LedgerReader, args: argparse.Namespace, now_ns: Callable[[], int]) -> int:
    found = ledger.search(
        feature=args.feature,
        rule=args.rule,
        tenant=args.tenant,
        decision=args.decision,
        since_ns=None if args.since is None else since_ns(args.since, now_ns()),
        limit=args.limit,
    )
    if args.json:
        for alert in found:
            print(alert.core.decode())
        return 0
    screen = Screen.of(sys.stdout)
    if not found:
        print("no alerts" if ledger.count() == 0 else "no alerts match; try without filters")
        return 0
    names = WIDE if screen.width >= NARROW_WIDTH else NARROW
    head, *rows = table(names, [_row(alert, names) for alert in found], screen.width, whole=2)
    print(screen.bold(head), *rows, sep="\n")
    return 0


def _row(alert: StoredAlert, names: Sequence[str]) -> list[str]:
    """The cells of one record. What nobody was told of says why beside its severity, as does a digest."""
    record = alert.record
    word = record.get("decision", record.get("kind", ""))
    said = "" if word == "notified" else f" {word}"
    cells = {
        **record,
        "id": alert.event_id[:SHORT_ID],
        "time (UTC)": when(record.get("time_ns"))[5:19],  # month to second; `show` has the rest
        "severity": f"{record.get('severity', '')}{said}",
        "tenant": alert.labels.get("tenant", ""),
    }
    return [plain(cells.get(name, "")) for name in names]


def _show(ledger: LedgerReader, args: argparse.Namespace) -> int:
    found = ledger.by_prefix(args.id)
    if len(found) != 1:
        print(_not_one(args.id, found), file=sys.stderr)
        return 1
    alert = found[0]
    body = ledger.evidence(alert.event_id)
    asked = confirmer_of(alert) is not None
    verdict = stored_verdict(args.data_dir / "deliver.db", alert.seq) if asked else None
    if args.json:
        whole = {
            "record": alert.record,
            "evidence": None if body is None else json.loads(body),
            "verdict": None if verdict is None else asdict(verdict),
        }
        print(json.dumps(whole, sort_keys=True))
        return 0
    screen = Screen.of(sys.stdout)
    print(*record_lines(alert, screen, verdict), sep="\n")
    if body is None and alert.record.get("kind") != "alert":
        return 0  # it is about no tokens
    print()
    try:
        evidence = None if body is None else decode_evidence(body)
    except EvidenceError as error:
        print(f"evidence  {plain(error)}", file=sys.stderr)
        return 4
    print(*evidence_lines(alert.record, evidence, screen), sep="\n")
    return 0


def _explain(ledger: LedgerReader, args: argparse.Namespace) -> int:
    found = ledger.by_prefix(args.id)
    if len(found) != 1:
        print(_not_one(args.id, found), file=sys.stderr)
        return 1
    if found[0].record.get("kind") != "alert":
        print(f"`{plain(args.id)}` is about no request\n  hint: `dosimeter alerts show` has its fields",
              file=sys.stderr)  # fmt: skip
        return 1
    body = ledger.evidence(found[0].event_id)
    try:
        evidence = None if body is None else decode_evidence(body)
    except EvidenceError:
        evidence = None  # `alerts show` says what is wrong with it
    facts = explain(found[0].record, evidence, ledger.blob, args.calibration)
    if args.json:
        print(json.dumps(facts, sort_keys=True))
    else:
        print(*explain_lines(facts, Screen.of(sys.stdout)), sep="\n")
    return 0


def _not_one(prefix: str, found: Sequence[StoredAlert]) -> str:
    if not found:
        return f"no alert `{plain(prefix)}`\n  hint: `dosimeter alerts list` shows the ids"
    ids = "\n".join(f"  {alert.event_id}" for alert in found)
    return f"`{plain(prefix)}` begins several ids, give more characters:\n{ids}"
