"""`dosimeter rules why-not`: how near a past request came to each rule, and what was missing.

It owns the arguments and the table. The request comes from the score archive; each rule is compiled alone and run by
the engine that runs live, and `rules/testing/nearness.py` says how far each condition got.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.detectors.findings import visible
from dosimeter.monitor.cli import calibrations

if TYPE_CHECKING:
    from dosimeter.detectors.calibrate import Calibration
    from dosimeter.monitor.history.archive_reader import Archive, Part
    from dosimeter.rules.language.schema import RuleSet
    from dosimeter.rules.testing.streams import Stream

REQUEST = re.compile(r"([0-9a-f]{1,16})/([0-9a-f]{1,16})")
ALERT = re.compile(r"[0-9a-f]{1,32}")


def add(commands: Any) -> None:
    parser = commands.add_parser("why-not", help="how near a past request came to each rule")
    parser.add_argument("request", metavar="REQUEST",
                        help="EPOCH/KEY as backtests name it, or an alert's id or its beginning")  # fmt: skip
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="rule files or folders")
    parser.add_argument("--data-dir", type=Path, default=Path(".dosimeter"), metavar="DIR",
                        help="of the sidecar, with its alerts (default .dosimeter)")  # fmt: skip
    parser.add_argument("--archive", type=Path, metavar="DIR",
                        help="scores that it stored (default: the folder `archive` of the data-dir)")  # fmt: skip
    parser.add_argument("--calibration", action="append", required=True, type=calibrations.folder, metavar="DIR",
                        help="where levels are placed; may be repeated")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: shown. 1: no such alert, or no such request kept. 2: a wrong argument. 3: no ledger. 4: data that is wrong."""
    from dosimeter.monitor.cli.screen import Screen
    from dosimeter.monitor.history.archive_reader import open_archive
    from dosimeter.rules.language.schema import load_rules

    named = args.request.lower()
    if ALERT.fullmatch(named):
        asked = _of_alert(args.data_dir, named)
        if isinstance(asked, int):
            return asked
        named = asked
    match = REQUEST.fullmatch(named)
    if match is None:
        print(f"`{visible(args.request)[:80]}` is no request\n  hint: write EPOCH/KEY, or the id of an alert as "
              "`dosimeter alerts list` prints it", file=sys.stderr)  # fmt: skip
        return 2
    folder = args.archive or args.data_dir / "archive"
    ruleset = load_rules(args.paths)
    placing = calibrations.loaded(args.calibration)
    found = _find(open_archive(folder), int(match[1], 16), int(match[2], 16))
    if found is None:
        print(f"the archive at {folder} does not hold request {named}\n"
              "  hint: of requests that came near no level only a sample is kept", file=sys.stderr)  # fmt: skip
        return 1
    features, part = found
    shown = {
        "request": named,
        "tokens": part.tokens,
        "whole": bool(part.whole[0]),
        "rules": _rules(ruleset, placing, _stream(features, part), part),
    }
    if args.json:
        print(json.dumps(shown))
    else:
        print("\n".join(_lines(shown, Screen.of(sys.stdout))))
    return 0


def _of_alert(data_dir: Path, prefix: str) -> str | int:
    """EPOCH/KEY of its request; an exit status after complaining."""
    from dosimeter.monitor.history.ledger import LedgerError
    from dosimeter.monitor.history.reader import LedgerReader

    try:
        with LedgerReader(data_dir / "ledger.db") as ledger:
            found = ledger.by_prefix(prefix)
    except LedgerError as error:
        print(error, file=sys.stderr)
        return 3
    if len(found) != 1:
        said = (
            "begins several ids\n  hint: give more characters"
            if found
            else "is no alert\n  hint: `dosimeter alerts list` shows the ids"
        )
        print(f"`{prefix}` {said}", file=sys.stderr)
        return 1
    record = found[0].record
    if "key" not in record:
        print(f"`{prefix}` is about no request\n  hint: name an alert", file=sys.stderr)
        return 1
    return f"{record['epoch']}/{record['key']}"


def _find(
    archive: Archive, epoch: int, key: int
) -> tuple[tuple[tuple[str, str], ...], Part] | None:
    """The request alone, with (feature, pack) of its columns; codes are read only of the row group that has it."""
    from dosimeter.monitor.history.archive_reader import Archive as Of

    for file in archive.files:
        columns = tuple(file.about.bank.columns)
        one = Of((file,))
        for number, part in enumerate(one.parts([])):
            mask = (part.epoch == epoch) & (part.key == key)
            if mask.any():
                whole = next(
                    p for i, p in enumerate(one.parts([f for f, _ in columns])) if i == number
                )
                return columns, whole.only(mask)
    return None


def _stream(columns: tuple[tuple[str, str], ...], part: Part) -> Stream:
    import numpy as np

    from dosimeter.rules.testing.streams import Stream

    runs = part.runs
    positions = np.concatenate([np.arange(start, start + n) for _, start, n, _ in runs])
    scopes = np.repeat(runs[:, 3].astype(np.uint8), runs[:, 2])
    return Stream(tuple(f for f, _ in columns), np.column_stack(part.codes), scopes, positions)


def _rules(
    ruleset: RuleSet, placing: Sequence[Calibration], stream: Stream, part: Part
) -> list[dict[str, Any]]:
    from dosimeter.monitor.records import Column
    from dosimeter.rules.atoms import RUNNING, ends_scope
    from dosimeter.rules.engine import Engine
    from dosimeter.rules.language.schema import RuleSet
    from dosimeter.rules.program import compile_program
    from dosimeter.rules.testing.nearness import nearness

    model = part.about.bank.model
    labels = {
        name: of.names[of.of[0]]
        for name, of in (("tenant", part.tenant), ("route", part.route))
        if of.names and of.names[of.of[0]]
    }
    columns = [Column(feature, pack, "") for feature, pack in part.about.bank.columns]
    found: list[dict[str, Any]] = []
    for rule in ruleset.rules:
        tried = rule if rule.status in RUNNING else replace(rule, status="shadow")
        program = compile_program(RuleSet((tried,)), columns, placing)
        if not program.rules:
            why = program.inactive[rule.id]
            found.append({"rule": rule.id, "fires": False, "why": why, "conditions": []})
            continue
        engine = Engine(program, model=model)
        engine.open(0, labels, frozenset(labels))
        hits = engine.step(stream.frame(0, program.columns)) + engine.close(0, finished=True)
        near = nearness(rule, program, stream)
        met = all(one.beyond for one in near)
        why = "each condition was met, but not together as the rule asks" if met else "not met"
        if hits:
            at = (stream.label(hit.position, ends_scope(hit.decided.atom)) for hit in hits)
            why = f"fires at {', '.join(at)}{', exempt' if hits[0].exempt else ''}"
        elif not rule.policy.applies(labels, model):
            why = "its `only` is for others"
        conditions = [str(one) for one in near]
        found.append({"rule": rule.id, "fires": bool(hits), "why": why, "conditions": conditions})
    return found


def _lines(shown: dict[str, Any], screen: Any) -> list[str]:
    from dosimeter.monitor.cli.screen import plain

    lines = [screen.bold(f"request {shown['request']}, {shown['tokens']} tokens")]
    if not shown["whole"]:
        lines.append("  some of its tokens were lost on the way into the archive")
    for one in shown["rules"]:
        lines.append(
            f"{'fires ' if one['fires'] else 'silent'}  {plain(one['rule'])}: {plain(one['why'])}"
        )
        lines += [f"          {plain(condition)}" for condition in one["conditions"]]
    return lines
