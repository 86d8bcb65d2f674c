"""Fits the reader's shipped pack and places its levels: `python -m dosimeter.monitor.sources.make`.

The same build as a user's: our own texts, the same verdict. A refused feature is not shipped.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
import tempfile
from pathlib import Path

from dosimeter.detectors.pack import save_pack
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.fitting.build import learn
from dosimeter.monitor.fitting.calibrating import calibrate, requests_of
from dosimeter.monitor.fitting.lesson import benign_texts, lesson_of
from dosimeter.monitor.fitting.packing import make_pack
from dosimeter.monitor.progress import Progress
from dosimeter.monitor.sources.reader import Reader, reader_folder
from dosimeter.monitor.sources.reading import CALIBRATION, PACK

FEATURES = ("scam", "flattery_tone", "harmful_request", "power_seeking")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="ISO day")
    parser.add_argument("--work", type=Path, help="keep captures here, to go on after a break")
    args = parser.parse_args()
    features = load_features()
    reader = Reader(reader_folder())
    with tempfile.TemporaryDirectory() as folder:
        lessons = [lesson_of(features[name], features, None) for name in FEATURES]
        learned = learn(reader, lessons, args.work or Path(folder), Progress)
    for one in learned:
        print(f"{one.evidence['feature']}: {one.evidence['verdict']}")
        print(
            *(f"  {'✓' if c['passed'] else '✗'} {c['sentence']}" for c in one.evidence["checks"]),
            sep="\n",
        )
    pack = make_pack(reader, "reader/core", learned, "T2")
    if pack is None:
        return 1
    shutil.rmtree(PACK, ignore_errors=True)
    print(f"pack {save_pack(pack, PACK)}")
    (PACK / "evidence.json").write_text(
        json.dumps([one.evidence for one in learned], indent=1) + "\n", encoding="utf-8"
    )
    made = calibrate(
        reader, [pack], requests_of(reader, [pack], benign_texts()), Progress("calibrating"),
        corpus="600 ordinary mails, messages, answers and calls written for this", date=args.date,
        labelled=True,
    )  # fmt: skip
    print(f"calibration {made.save(CALIBRATION)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
