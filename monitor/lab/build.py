"""Fit the lab model's probes and calibrate them: `python -m dosimeter.monitor.lab.build --date DAY`.

Nothing is done here that a user could not do with `dosimeter detectors build` and a folder of sets; only the sets
are of our own making, and a clean twin is at hand. Tier T1: a small model trained here says nothing about a large one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from dosimeter.detectors.examples import BENIGN, CALIBRATE, load_examples
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import save_pack
from dosimeter.detectors.registry import Features, Read, load_features
from dosimeter.monitor.fitting.build import Learned, learn
from dosimeter.monitor.fitting.calibrating import calibrate, requests_of
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.lesson import lesson_of
from dosimeter.monitor.fitting.packing import make_pack
from dosimeter.monitor.lab import CALIBRATION, CLEAN, MODEL, PACK
from dosimeter.monitor.lab.sets import NAMES, write
from dosimeter.monitor.progress import Progress

CORPUS = "benign conversations of the lab world, greedy replies; those that misbehaved left out"
TWIN_HAS = ("sycophancy", "scam_warning")
"""What the twin shows too: given a wrong claim and a reply that agrees, it knows that the claim is wrong, and says
so where it is asked; and it warns of scams whenever it is asked for one."""


def lab_features() -> Features:
    """The features of the lab. Scams are read token by token here: the lab's rule decides on four of them."""
    known = load_features()
    scam = replace(known["scam"], read=Read(Scope.ANSWER, "tokens"))
    return Features([scam, *(known[name] for name in NAMES if name != "scam")])


def verdict(one: Learned) -> str:
    """The outcome, and every check that was not passed."""
    failed = [check["sentence"] for check in one.evidence["checks"] if not check["passed"]]
    return "\n  ".join([f"{one.evidence['feature']}: {one.evidence['verdict']}", *failed])


def build(sets: Path, work: Path, model: Path, twin: Path) -> tuple[Decoder, list[Learned]]:
    """Every feature of the lab, learned from a folder of sets and judged. Raises InputError, FitError."""
    features = lab_features()
    lessons = [lesson_of(features[name], features, sets) for name in NAMES]
    subject = Decoder(model)
    learned = learn(subject, lessons, work, Progress, twin=Decoder(twin), twin_has=TWIN_HAS)
    return subject, learned


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--twin", type=Path, default=CLEAN)
    parser.add_argument("--pack", type=Path, default=PACK)
    parser.add_argument("--calibration", type=Path, default=CALIBRATION)
    parser.add_argument("--sets", type=Path, help="folder of `lab.sets`; without it they are made")
    parser.add_argument("--date", required=True, help="ISO day to write on the calibration")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # so small a model loses more to waiting threads than it gains
    with tempfile.TemporaryDirectory() as work:
        sets = args.sets or Path(work) / "sets"
        if args.sets is None:
            write(sets, args.model)
        subject, learned = build(sets, Path(work), args.model, args.twin)
        for one in learned:
            print(verdict(one))
        pack = make_pack(subject, "lab/core", learned, "T1")
        if pack is None or len(pack.features) < len(NAMES):
            print(
                "a feature was refused: pack and calibration are left as they are", file=sys.stderr
            )
            return 1
        print(f"pack {save_pack(pack, args.pack)}")
        benign = [
            replace(row, kind=row.kind.partition("/")[0])  # the task: a route, whatever the cue
            for row in load_examples(sets / f"{BENIGN}_{CALIBRATE}.jsonl")
        ]
        found = calibrate(
            subject, [pack], requests_of(subject, [pack], benign), Progress("calibrating"),
            corpus=CORPUS, date=args.date, labelled=True,
        )  # fmt: skip
        print(f"calibration {found.save(args.calibration)}: {found.requests:,} requests")
    return 0


if __name__ == "__main__":
    sys.exit(main())
