"""`dosimeter rules plan`: where levels have to stand for so many reviews a day, and what that will miss.

It owns the arguments, the labels file and what is written; the plan is `rules/planning/proposal`, its fields
`monitor/plan_report`, the screen `plan_view`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.detectors.findings import visible
from dosimeter.monitor.cli import calibrations, labels

if TYPE_CHECKING:
    from dosimeter.detectors.calibrate import Calibration
    from dosimeter.rules.language.schema import RuleSet
    from dosimeter.rules.planning.proposal import Proposal

NUMBER = re.compile(r"[0-9]+|[0-9]{1,3}(,[0-9]{3})+")


def add(commands: Any) -> None:
    parser = commands.add_parser("plan", help="the levels that fit so many reviews a day")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="rule files or folders")
    parser.add_argument("--reviews-per-day", required=True, type=_positive, metavar="N",
                        help="requests that people can look at in a day")  # fmt: skip
    parser.add_argument("--calibration", action="append", required=True, type=calibrations.folder, metavar="DIR",
                        help="where levels are placed; may be repeated")  # fmt: skip
    parser.add_argument("--archive", type=Path, metavar="DIR",
                        help="scores of real traffic; without it the plan is made on the calibration")  # fmt: skip
    parser.add_argument("--per-day", type=_positive, metavar="N",
                        help="requests a day, where neither archive nor calibration knows")  # fmt: skip
    parser.add_argument("--share", type=_shares, metavar="WORD=PER_CENT,...",
                        help="how the budget is dealt: critical=40,high=30,medium=20,low=10")  # fmt: skip
    parser.add_argument("--shadow", action="store_true",
                        help="plan rules in shadow too, as if they were live")  # fmt: skip
    parser.add_argument("--labels", type=Path, metavar="CSV",
                        help="columns request and label (yes, no): what is caught, what is missed")  # fmt: skip
    parser.add_argument("--write", type=Path, metavar="DIR",
                        help="copies of the rule files with the planned levels")  # fmt: skip
    parser.add_argument("--plot", type=Path, metavar="SVG", help="reviews a day beside the budget")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: the rules fit. 1: they do not, or none can be planned. 3: not installed. 4: data that is wrong."""
    from dosimeter.monitor.cli.rules.plan_view import lines
    from dosimeter.monitor.cli.screen import Screen, tell
    from dosimeter.monitor.plan_report import report
    from dosimeter.rules.language.schema import load_rules

    ruleset = load_rules(args.paths)
    placing = calibrations.loaded(args.calibration)
    said = read_labels(args.labels) if args.labels else None
    proposal, sample, notes, hours = _proposal(args, ruleset, placing, said)
    body = report(proposal, sample, notes, datetime.now(UTC).date().isoformat(), hours)
    if args.json:
        tell(json.dumps(body, indent=2))
    else:
        tell("\n".join(lines(body, Screen.of(sys.stdout))))
    # Last: where it cannot be written, the run was not for nothing.
    if args.write and proposal.choice.fits:
        write(args.write, args.paths, proposal)
    if args.write and not args.json:
        tell(_written(args, proposal))
    if args.plot:
        from dosimeter.monitor.plan_plot import page

        args.plot.write_text(page(body), encoding="utf-8")
    return 0 if proposal.choice.fits and proposal.knobs else 1


def _proposal(
    args: argparse.Namespace,
    ruleset: RuleSet,
    calibrations: Sequence[Calibration],
    labels: dict[str, bool] | None,
) -> tuple[Proposal, str, list[str], Sequence[float] | None]:
    """With what the traffic is, what has to be said of it, and at which hours it comes."""
    from dataclasses import replace

    from dosimeter.detectors.findings import InputError
    from dosimeter.monitor.records import Column
    from dosimeter.rules.planning.plan import SHARES
    from dosimeter.rules.planning.proposal import propose
    from dosimeter.rules.planning.reach import Requests

    notes: list[str] = []
    hours: Sequence[float] | None = None
    per_day = args.per_day
    if args.archive:
        from dosimeter.monitor.backtest_report import lasting
        from dosimeter.monitor.plan_traffic import stored

        wanted = {f for r in ruleset.rules for c in r.when.conditions for f in c.features}
        traffic = stored(args.archive, wanted)
        columns, model = traffic.columns, traffic.model
        if per_day is None and 0 < traffic.days < 1:
            notes.append(
                f"a day is taken for what {lasting(traffic.days)} were; say it with `--per-day`"
            )
        per_day = per_day or round(traffic.per_day)
        hours = traffic.hours if traffic.days >= 1 else None
        sample = f"the archive, {traffic.days:.1f} days of {model or 'one model'}"
        if traffic.other:
            notes.append(f"{traffic.other} files of other packs or models were left out")
        source: Any = traffic
    else:
        if len(calibrations) > 1:
            raise InputError.at(
                args.calibration[1], "a plan needs all rules on the same requests",
                "give one calibration, or the traffic with `--archive`",
            )  # fmt: skip
        (calibration,) = calibrations
        columns = tuple(
            Column(f, p, "") for f, p in zip(calibration.features, calibration.packs, strict=True)
        )
        per_day = per_day or calibration.answers_per_day
        sample, model = calibration.corpus, ""
        source = [Requests.of(calibration)]
        if calibration.labelled:
            notes.append("planned on benign requests: what is risky comes on top of these reviews")
    if not per_day:
        place = args.archive or args.calibration[0]
        hint = "say it with `--per-day`"
        raise InputError.at(place, "nobody knows how many requests a day there are", hint)
    calibrations = [replace(c, answers_per_day=c.answers_per_day or per_day) for c in calibrations]
    try:
        proposal = propose(
            ruleset, columns, calibrations, source,
            budget=args.reviews_per_day, per_day=per_day, shares=args.share or SHARES,
            labels=labels, shadow=args.shadow, model=model, day=datetime.now(UTC).date(),
        )  # fmt: skip
    except ValueError as error:
        if isinstance(error, InputError) or args.share is None:
            raise
        raise InputError.at("--share", str(error)) from None
    if ruleset.second:
        names = ", ".join(f"`{rule.id}`" for rule in ruleset.second)
        notes.append(f"rules over hits or over the monitor have no dial here: {names}")
    return proposal, sample, notes, hours


def write(folder: Path, paths: Sequence[Path], proposal: Proposal) -> list[Path]:
    """Every rule file of these paths, with the planned levels. Raises InputError before anything is written."""
    from dosimeter.detectors.findings import InputError
    from dosimeter.rules.planning.rewrite import rewritten

    edits = [e for dial, position, _ in proposal.planned_rules() for e in dial.edits(position)]
    meant = {rule.id: rule for _, _, rule in proposal.planned_rules()}
    texts: dict[Path, str] = {}
    for file in rule_files(paths):
        target = folder / file.name
        if target in texts or target.exists():
            raise InputError.at(target, "this file is there already", "name an empty folder")
        mine = [edit for edit in edits if edit[0].name == str(file)]
        text = file.read_bytes().decode("utf-8")
        texts[target] = rewritten(text, str(file), mine, meant)
    folder.mkdir(parents=True, exist_ok=True)
    for target, text in texts.items():
        target.write_bytes(text.encode("utf-8"))
    return list(texts)


def rule_files(paths: Sequence[Path]) -> list[Path]:
    """As `load_rules` reads them."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found += [p for p in inside if p == path or (p.suffix in (".yaml", ".yml") and p.is_file())]
    return found


def _written(args: argparse.Namespace, proposal: Proposal) -> str:
    if not proposal.choice.fits:
        return "nothing written: the rules do not fit"
    from dosimeter.rules.testing.tested import run_tests

    first = f"written to {args.write}: run `dosimeter rules test {args.write}` before they go live"
    tested = run_tests([rule for _, _, rule in proposal.planned_rules()])
    failed = [visible(one.rule.id) for one in tested if one.tests and not one.good]
    if not failed:
        return first
    names = ", ".join(f"`{name}`" for name in failed)
    return f"{first}\ntests with scores near the old level fail at the new one; change them in: {names}"


def read_labels(path: Path) -> dict[str, bool]:
    """By request, as the plan lists them: EPOCH/KEY of an archive, the number in a calibration. Raises InputError."""
    found: dict[str, bool] = {}
    for place, name, right in labels.rows(path, "request"):
        labels.note(found, _request(name), right, place, name)
    return found


def _request(text: str) -> str:
    """With the zeros in front that people leave out."""
    epoch, slash, key = text.partition("/")
    return f"{epoch:0>16}/{key:0>16}" if slash else text


def _positive(text: str) -> int:
    number = int(text.replace(",", "")) if NUMBER.fullmatch(text) else 0
    if not 1 <= number <= 1 << 50:
        raise argparse.ArgumentTypeError(f"`{text[:40]}` is no number above 0")
    return number


def _shares(text: str) -> dict[str, float]:
    from dosimeter.rules.atoms import SEVERITIES

    found: dict[str, float] = {}
    for part in text.split(","):
        word, _, number = part.strip().partition("=")
        if word not in SEVERITIES or not number.isdecimal() or word in found:
            said = f"`{part[:40]}` is no share; write critical=50,high=30,medium=15,low=5"
            raise argparse.ArgumentTypeError(said)
        found[word] = float(number)
    return found
