"""`dosimeter detectors drift`: do live answers of every feature still score as their calibration did?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.detectors.findings import InputError, visible
from dosimeter.monitor.cli.arguments import volume

if TYPE_CHECKING:
    from dosimeter.detectors.calibrate import Calibration
    from dosimeter.detectors.drift import DriftMonitor

MAX_STATE_BYTES = 16 << 20


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "drift",
        help="live answers against their calibration, with a promised rate of false alarms",
        description="Score live conversations with a pack and bet that they still follow its calibration. With "
        "--state, runs go on where the last one stood: give each conversation once.",
        epilog="example: dosimeter detectors drift --calibration cal --pack out/pack --model ./model "
        "--live today.jsonl --false-alarm-days 365 --answers-per-day 20000 --state drift.json",
    )
    parser.add_argument("--calibration", required=True, type=Path, metavar="DIR")
    parser.add_argument("--pack", required=True, type=Path, metavar="DIR")
    parser.add_argument("--model", required=True, metavar="FOLDER", help="the pack's model")
    parser.add_argument("--live", required=True, type=Path, metavar="FILE",
                        help="conversations or texts as they came, JSON Lines")  # fmt: skip
    parser.add_argument("--route", metavar="R", help="compare the rows of this route alone with it")
    parser.add_argument("--scope", choices=("answer", "message"), default="answer")
    parser.add_argument("--false-alarm-days", required=True, type=_days, metavar="N",
                        help="unchanged traffic alarms once in so many days at most")  # fmt: skip
    parser.add_argument("--answers-per-day", required=True, type=volume, metavar="N",
                        help="requests a day that will be compared, at most")  # fmt: skip
    parser.add_argument("--state", type=Path, metavar="FILE", help="taken up if there, and written")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: nothing drifted. 1: something did. 4: what was given cannot be used."""
    from dosimeter.detectors.calibrate import Calibration
    from dosimeter.detectors.drift import as_json, as_lines

    monitors = _monitors(args, Calibration.load(args.calibration))
    if args.state is not None and args.state.exists():
        _take_up(args.state, monitors)
    _observe(args, monitors)
    if args.state is not None:
        _keep(args.state, monitors)
    if args.json:
        print(as_json(monitors))
    else:
        print(*as_lines(monitors), sep="\n")
    return int(any(monitor.state.drifted for monitor in monitors))


def _monitors(args: argparse.Namespace, calibration: Calibration) -> list[DriftMonitor]:
    """One a feature of the pack, that share the promise."""
    from dosimeter.detectors.calibrate import NotCalibrated, NotEnough
    from dosimeter.detectors.drift import DriftMonitor
    from dosimeter.detectors.frames import Scope
    from dosimeter.detectors.pack import load_pack

    pack = load_pack(args.pack)
    made = dict(zip(calibration.features, calibration.packs, strict=True))
    for feature in pack.features:
        if made.get(feature, pack.digest) != pack.digest:
            raise InputError.at(
                args.calibration, f"`{feature}` was calibrated with another pack", "calibrate anew"
            )
    try:
        return [
            DriftMonitor.from_calibration(
                calibration, feature, Scope[args.scope.upper()], route=args.route,
                among=len(pack.features), false_alarm_days=args.false_alarm_days,
                answers_per_day=args.answers_per_day,
            )
            for feature in pack.features
        ]  # fmt: skip
    except (NotCalibrated, NotEnough) as error:
        raise InputError.at(args.calibration, str(error.args[0])) from None


def _observe(args: argparse.Namespace, monitors: Sequence[DriftMonitor]) -> None:
    """The live rows, in the order of the file, read as a calibration reads them."""
    import numpy as np

    from dosimeter.detectors.examples import load_examples
    from dosimeter.detectors.frames import Scope
    from dosimeter.detectors.pack import bind, load_pack
    from dosimeter.detectors.shapes import Stream
    from dosimeter.monitor.fitting.calibrating import requests_of, streams
    from dosimeter.monitor.fitting.loading import open_subject
    from dosimeter.monitor.progress import Progress

    rows = [row for row in load_examples(args.live) if args.route in (None, row.kind)]
    if not rows:
        raise InputError.at(args.live, f"holds no row of route `{args.route}`")
    pack, subject = load_pack(args.pack), open_subject(args.model)
    if wrong := bind(pack, subject.identity):
        raise InputError.at(f"pack {pack.name}", "; ".join(wrong))
    scope = Scope[args.scope.upper()]
    requests = requests_of(subject, [pack], [replace(row, kind="") for row in rows], {scope})
    if left := len(rows) - len(requests):
        print(f"{left} rows left out: no {args.scope} is among their last two", file=sys.stderr)
    if not requests:
        raise InputError.at(args.live, f"holds no {args.scope}")
    found = streams(subject, [pack], requests, Progress("scoring"))
    offsets = np.cumsum([0, *(len(codes) for codes, _ in found)], dtype=np.int64)
    scopes = np.concatenate([scopes for _, scopes in found])
    for column, monitor in enumerate(monitors):
        said = np.concatenate([codes[:, column] for codes, _ in found])
        monitor.observe_requests(Stream(said, offsets, scopes))


def _take_up(path: Path, monitors: Sequence[DriftMonitor]) -> None:
    from dosimeter.detectors.files import read_file

    try:
        saved = json.loads(read_file(path, MAX_STATE_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError.at(path, "is not JSON", "remove it to start afresh") from None
    if not isinstance(saved, list) or len(saved) != len(monitors):
        what = f"is not the state of {len(monitors)} monitors"
        raise InputError.at(path, what, "remove it to start afresh")
    for monitor, one in zip(monitors, saved, strict=True):
        monitor.restore(one)


def _keep(path: Path, monitors: Sequence[DriftMonitor]) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps([monitor.snapshot() for monitor in monitors]), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError.at(path, f"cannot be written: {error.strerror}") from None


def _days(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"`{visible(text)[:20]}` is not a number of days")
    return value
