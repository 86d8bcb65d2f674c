"""`dosimeter rules lint`: what is wrong, or will surprise, in rule files. The checks are in `rules/linting/lint`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.pack import load_pack
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.cli import calibrations
from dosimeter.monitor.progress import Progress
from dosimeter.rules.language.schema import RuleSet
from dosimeter.rules.linting.expected import Traffic, expect
from dosimeter.rules.linting.lint import USAGE, lint_command


def add(commands: Any) -> None:
    lint = commands.add_parser("lint", help="say what is wrong, or will surprise, in rule files")
    lint.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or a folder")
    lint.add_argument("--pack", action="append", default=[], type=Path, metavar="DIR",
                      help="a pack of your own, whose features are known too; may be repeated")  # fmt: skip
    lint.add_argument("--replicas", type=int, default=1, metavar="N",
                      help="sidecars that will run these rules side by side (default 1)")  # fmt: skip
    lint.add_argument("--calibration", type=calibrations.folder, metavar="DIR",
                      help="say as well how often each rule fires on this benign traffic")  # fmt: skip
    lint.add_argument("--per-day", type=int, metavar="N",
                      help="answers a day, where the calibration does not say")  # fmt: skip
    lint.add_argument("--json", action="store_true", help="findings as one JSON object")
    lint.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: nothing to change. 1: findings. 2: usage. 4: a pack or a calibration that cannot be read."""
    if args.per_day is not None and (args.per_day < 1 or args.calibration is None):
        print("--per-day is a number of answers from 1, and needs --calibration", file=sys.stderr)
        return USAGE
    known = {
        *load_features(),
        *(name for folder in args.pack for name in load_pack(folder).features),
    }
    today = datetime.now(UTC).date()
    traffic = None
    if args.calibration is not None:
        traffic = counting(Calibration.load(args.calibration), args.per_day, today)
    return lint_command(args.paths, args.json, sys.stdout, known, today, args.replicas, traffic)


def counting(
    calibration: Calibration, per_day: int | None, day: date
) -> Callable[[RuleSet], Traffic]:
    """Counts where rules fire on a calibration, and says on stderr how far it is."""

    def count(ruleset: RuleSet) -> Traffic:
        progress = Progress("requests")
        try:
            return expect(
                ruleset, calibration, per_day, day,
                lambda done: progress(done, calibration.requests),
            )  # fmt: skip
        finally:
            progress.close()

    return count
