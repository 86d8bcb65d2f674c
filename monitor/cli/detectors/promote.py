"""`dosimeter detectors promote`: copy a pack to where packs are loaded from, if the known answers are right."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.detectors.findings import InputError, visible
from dosimeter.monitor.cli.screen import Screen, plain, table

if TYPE_CHECKING:
    from dosimeter.monitor.fitting.suite import SuiteResult


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "promote",
        help="copy a pack where packs are loaded from, if its suites pass",
        description="Run the known-answer suite of every feature of a pack; copy the pack only if all pass.",
        epilog="example: dosimeter detectors promote build/scam --model ./model --to packs",
    )
    parser.add_argument("pack", type=Path, metavar="PACK", help="the pack's folder")
    parser.add_argument("--model", required=True, metavar="FOLDER",
                        help="the model it is bound to: a folder, or `reader`, or `lab`")  # fmt: skip
    parser.add_argument("--to", required=True, type=Path, metavar="DIR", help="the folder of packs")
    parser.add_argument("--features", type=Path, metavar="DIR",
                        help="definitions of your own: <name>/feature.yaml, suite.yaml and suite.jsonl")  # fmt: skip
    parser.add_argument("--ordinary", type=Path, metavar="FILE",
                        help="benign texts of your traffic to place the level on (default: ours)")  # fmt: skip
    parser.add_argument("--without-suite", metavar="REASON",
                        help="let features without a suite pass; the reason is recorded")  # fmt: skip
    parser.add_argument("--date", default=None, metavar="DAY", help="for the record (default: today)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: promoted. 1: a suite failed or is missing. 4: data that cannot be used."""
    from dataclasses import replace

    from dosimeter.detectors.examples import load_examples
    from dosimeter.detectors.pack import load_pack
    from dosimeter.detectors.registry import FEATURES, load_features
    from dosimeter.monitor.fitting.loading import open_subject
    from dosimeter.monitor.fitting.promote import NotPromoted, examine, promote
    from dosimeter.monitor.fitting.suite import load_suite
    from dosimeter.monitor.progress import Progress

    pack = load_pack(args.pack)
    folder = args.features or FEATURES
    known = load_features(folder)
    suites = {
        name: (suite, known[name].read.scope)
        for name in pack.features
        if name in known and (suite := load_suite(folder / name)) is not None
    }
    rows = load_examples(args.ordinary) if args.ordinary else None
    ordinary = [replace(row, label=bool(row.label)) for row in rows] if rows else None
    date = args.date or datetime.date.today().isoformat()
    examined = examine(open_subject(args.model), pack, suites, ordinary, Progress)
    if not args.json:
        for result in examined.results:
            print(*lines(result, Screen.of(sys.stdout)), sep="\n")
    promoted, code = None, 0
    try:
        promoted = promote(pack, examined, args.to, date, args.without_suite)
    except NotPromoted as error:
        print(visible(str(error), keep="\n"), file=sys.stderr)
        code = 1
    except OSError as error:
        raise InputError.at(args.to, f"cannot be written: {error.strerror}") from None
    if args.json:
        suites_json = [result.as_json() for result in examined.results]
        whole = {"promoted": None if promoted is None else str(promoted), "suites": suites_json,
                 "without_suite": list(examined.without)}  # fmt: skip
        print(json.dumps(whole, indent=2, allow_nan=False))
    elif promoted is not None:
        print(f"promoted to {plain(promoted)}")
    return code


def lines(result: SuiteResult, screen: Screen) -> list[str]:
    rows = [
        (
            plain(kind.kind),
            f"{kind.above} of {kind.n} {'caught' if kind.label else 'fire'}",
            f"[{kind.interval.low:.0%}, {kind.interval.high:.0%}]",
            "" if kind.must is None else f"{kind.must.replace('_', ' ')} {kind.share:.0%}",
            {None: "no bar", True: "passes", False: "FAILS"}[kind.passed],
        )
        for kind in result.kinds
    ]
    head, *body = table(("kind", "counted", "95 % interval", "bar", ""), rows, screen.width)
    verdict = "passes" if result.passed else "does not pass"
    return [
        f"suite of {plain(result.feature)}, version {result.version}: {verdict}, above "
        f"{result.threshold_sd:+.2f} sd (placed on {result.ordinary} ordinary texts)",
        screen.bold(head), *body, "",
    ]  # fmt: skip
