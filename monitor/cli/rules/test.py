"""`dosimeter rules test`: runs the tests that stand in rule files, and says what they would not notice."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dosimeter.monitor.cli import calibrations
from dosimeter.monitor.cli.screen import tell

PASSED, FAILED, USAGE = 0, 1, 2


def add(commands: Any) -> None:
    test = commands.add_parser("test", help="run the tests that stand in rule files")
    test.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or a folder")
    test.add_argument("--pack", action="append", default=[], type=Path, metavar="DIR",
                      help="a pack of your own, whose features are known too; may be repeated")  # fmt: skip
    test.add_argument("--calibration", type=calibrations.folder, metavar="DIR",
                      help="levels as on this traffic, not `1 in 1000` at 3.09 sd wherever it runs")  # fmt: skip
    test.add_argument("--mutants", action="store_true",
                      help="change each rule by one step at a time, and list what no test notices")  # fmt: skip
    test.add_argument("--min", type=float, metavar="PCT",
                      help="with --mutants: fail where a smaller share of changes is noticed")  # fmt: skip
    test.add_argument("--json", action="store_true", help="all of it as one JSON object")
    test.add_argument("--junit", type=Path, metavar="FILE", help="also as XML for a CI system")
    test.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: all passed. 1: a test failed, too few changes noticed, or lint has an error. 2: usage. 4: not readable."""
    from dosimeter.detectors.calibrate import Calibration
    from dosimeter.detectors.pack import load_pack
    from dosimeter.detectors.registry import load_features
    from dosimeter.rules.language.schema import load_rules
    from dosimeter.rules.linting.lint import lint
    from dosimeter.rules.placing import Measured
    from dosimeter.rules.testing.junit import as_junit
    from dosimeter.rules.testing.tested import run_tests
    from dosimeter.rules.testing.tested_text import as_json, as_text, score_of

    if args.min is not None and not (args.mutants and 0 <= args.min <= 100):
        print("--min goes with --mutants, and is from 0 to 100", file=sys.stderr)
        return USAGE
    levels = None if args.calibration is None else Measured(Calibration.load(args.calibration))
    ruleset = load_rules(args.paths)
    tested = run_tests(ruleset.rules, levels, args.mutants)
    known = {
        *load_features(),
        *(() if levels is None else levels.features),
        *(name for folder in args.pack for name in load_pack(folder).features),
    }
    refused = [f for f in lint(args.paths, known) if f.severity == "error"]
    told = as_json if args.json else as_text
    tell(told(tested, ruleset.second, refused).rstrip("\n"))
    if args.junit is not None:
        args.junit.write_bytes(as_junit(tested, refused))
    score = score_of(tested)
    below = args.min is not None and (score is None or score < args.min)
    good = all(one.good for one in tested) and not below and not refused
    return PASSED if good else FAILED
