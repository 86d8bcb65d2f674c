"""`dosimeter rules promote`: whether a rule may go from draft to shadow, or from shadow to live, and what is missing.

It owns the arguments, the labels file, the screen and the change of the file; the conditions are
`rules/backtesting/promotion`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli import labels
from dosimeter.rules.backtesting.promotion import MIN_LABELS, MIN_PRECISION, SHADOW_DAYS

if TYPE_CHECKING:
    from dosimeter.monitor.history.reader import LedgerReader
    from dosimeter.rules.backtesting.promotion import Condition, Shadowed
    from dosimeter.rules.language.schema import Rule

READY, NOT_YET, NO_LEDGER = 0, 1, 3
EVENT = re.compile(r"[0-9a-f]{8,32}")
WHOLE = 32
MOST = 200_000
"""Records that are looked at, newest first."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "promote", help="draft to shadow, shadow to live: what speaks for it, and what is missing"
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the rule file, or its folder")
    parser.add_argument("rule", metavar="RULE", help="its id")
    parser.add_argument("--labels", type=Path, metavar="CSV",
                        help="columns event_id, or its beginning, and label (yes, no): which were right")  # fmt: skip
    parser.add_argument("--data-dir", type=Path, default=Path(".dosimeter"), metavar="DIR",
                        help="of the sidecar that ran it in shadow (default .dosimeter)")  # fmt: skip
    parser.add_argument("--since", type=_day, metavar="DATE",
                        help="in shadow since this day (UTC), not since its first hit")  # fmt: skip
    parser.add_argument("--min-labels", type=int, default=MIN_LABELS, metavar="N",
                        help=f"labelled notifications that it takes (default {MIN_LABELS})")  # fmt: skip
    parser.add_argument("--min-precision", type=float, default=MIN_PRECISION, metavar="SHARE",
                        help=f"that the lower bound has to reach (default {MIN_PRECISION})")  # fmt: skip
    parser.add_argument("--write", action="store_true",
                        help="change `status` in the file where every condition is met")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: every condition is met. 1: not yet. 2: usage. 3: no ledger. 4: data that is wrong."""
    from dosimeter.monitor.history.ledger import LedgerError
    from dosimeter.monitor.history.reader import LedgerReader
    from dosimeter.rules.backtesting.promotion import NEXT, Needs, watched_well, written_well
    from dosimeter.rules.linting.lint import lint
    from dosimeter.rules.testing.tested import run_tests

    if args.min_labels < 1 or not 0 < args.min_precision < 1:
        print("--min-labels is 1 or more, --min-precision between 0 and 1", file=sys.stderr)
        return 2
    rule = _rule(args.file, args.rule)
    (tested,) = run_tests([rule])
    findings = lint([args.file], day=datetime.now(UTC).date())
    own = [one for one in findings if one.place.name == rule.place.name]
    conditions = written_well(tested, own)
    if rule.status == "shadow":
        try:
            with LedgerReader(args.data_dir / "ledger.db") as ledger:
                seen = _seen(ledger, rule, args.since)
                said = read_labels(args.labels, ledger) if args.labels else {}
        except LedgerError as error:
            print(error, file=sys.stderr)
            return NO_LEDGER
        needs = Needs(args.min_labels, args.min_precision, SHADOW_DAYS)
        conditions += watched_well(rule, seen, said, needs)
    after = NEXT[rule.status]
    print("\n".join([f"{rule.place}: {rule.id}: {rule.status} to {after}", *_lines(conditions)]))
    if any(one.met is False for one in conditions):
        return NOT_YET
    if args.write:
        write(rule, after)
        print(f"{rule.places['status']}: now `{after}`")
    return READY


def _rule(path: Path, name: str) -> Rule:
    """The rule of this id, of a status that has a next one. Raises InputError."""
    from dosimeter.detectors.findings import InputError, hint_for, visible
    from dosimeter.rules.backtesting.promotion import NEXT
    from dosimeter.rules.language.schema import load_rules

    ruleset = load_rules([path])
    if any(second.id == name for second in ruleset.second):
        hint = "it counts what other rules hit: promote those, and change its status by hand"
        raise InputError.at(path, f"`{name}` has no tests to be promoted by", hint)
    found = next((rule for rule in ruleset.rules if rule.id == name), None)
    if found is None:
        known = hint_for(name, [rule.id for rule in ruleset.rules])
        raise InputError.at(path, f"no rule `{visible(name)[:80]}`", known)
    if found.status not in NEXT:
        hint = "`draft` goes to `shadow`, and `shadow` to `live`"
        raise InputError.at(found.places["status"], f"it is `{found.status}`", hint)
    return found


def _seen(ledger: LedgerReader, rule: Rule, since: date | None) -> Shadowed:
    """What the ledger says of it."""
    from dosimeter.rules.backtesting.promotion import Shadowed

    since_ns = None
    if since is not None:
        since_ns = int(datetime(since.year, since.month, since.day, tzinfo=UTC).timestamp()) * 10**9
    records = [one.record for one in ledger.search(rule=rule.id, limit=MOST)]
    versions = {one["rule_sha256"] for one in records if "rule_sha256" in one}
    bodies = {sha256: ledger.blob(sha256) for sha256 in versions}
    texts = {sha256: json.loads(body) for sha256, body in bodies.items() if body is not None}
    return Shadowed.of(rule, records, texts, since_ns, time.time_ns())


def read_labels(path: Path, ledger: LedgerReader) -> Mapping[str, bool]:
    """By event id; of the first characters of one, by that of the ledger. Raises InputError."""
    from dosimeter.detectors.findings import InputError, visible

    found: dict[str, bool] = {}
    for place, name, right in labels.rows(path, "event_id"):
        if EVENT.fullmatch(name) is None:
            message = f"`{visible(name)[:80]}` is no event id"
            hint = "its first 8 to 32 hex characters, as `dosimeter alerts list` prints them"
            raise InputError.at(place, message, hint)
        known = [name] if len(name) == WHOLE else [a.event_id for a in ledger.by_prefix(name)]
        if len(known) > 1:
            raise InputError.at(place, f"`{name}` begins several ids", "give more characters")
        event = known[0] if known else name
        labels.note(found, event, right, place, event)
    return found


def write(rule: Rule, status: str) -> None:
    """Change the status where it stands. The file is replaced at once; InputError where it says something else now."""
    from dosimeter.detectors.findings import InputError
    from dosimeter.rules.backtesting.promotion import rewritten
    from dosimeter.rules.language.schema import parse_rules

    path = Path(rule.place.name).resolve()
    text = path.read_bytes().decode("utf-8")
    hint = f"change it by hand: `status: {status}`"
    try:
        text = rewritten(text, rule, status)
        changed = parse_rules(text, rule.place.name).rule(rule.id).as_json()
    except (ValueError, KeyError, IndexError) as error:
        raise InputError.at(rule.places["status"], f"not changed: {error}", hint) from None
    if changed != rule.as_json() | {"status": status}:
        raise InputError.at(rule.places["status"], "not changed: more than that differs", hint)
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(text.encode("utf-8"))
    shutil.copymode(path, new)
    new.replace(path)


def _lines(conditions: Sequence[Condition]) -> list[str]:
    from dosimeter.detectors.findings import visible

    words = {True: "met", False: "not yet", None: ""}
    wide = max(len(one.name) for one in conditions)
    return [
        visible(
            f"  {words[one.met]:<7}  {one.name:<{wide}}  {one.found}"
            + (f"; {one.todo}" if one.todo else "")
        )
        for one in conditions
    ]


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text[:40]}` is no day; write 2026-11-01") from None
