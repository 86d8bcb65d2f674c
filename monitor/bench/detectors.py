"""`dosimeter bench detectors`: whether detectors tell the truth, in figures with their goals.

Parts: `reader` (public sets in a folder, and our own suite), `lab` (the small model's features beside their
nulls), `levels` (what a level promised, on unseen traffic), `refusals` (what must be refused), `time` (how long
a build takes). A set that is not there is a figure that is not measured.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from dosimeter.monitor.bench.figures import Figure, Result

PARTS = {
    "reader": "dosimeter.monitor.bench.reader_sets",
    "lab": "dosimeter.monitor.bench.lab_features",
    "levels": "dosimeter.monitor.bench.levels_hold",
    "refusals": "dosimeter.monitor.bench.refusals",
    "time": "dosimeter.monitor.bench.build_time",
}


def run(data: Path | None = None, only: list[str] | None = None) -> Result:
    figures: list[Figure] = []
    for part in only or PARTS:
        figures += importlib.import_module(PARTS[part]).figures(data)
    return Result("detectors", tuple(figures))
