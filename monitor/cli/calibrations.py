"""`--calibration DIR`: a folder, or the name of one that is shipped."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dosimeter.detectors.findings import InputError, visible

if TYPE_CHECKING:
    from dosimeter.detectors.calibrate import Calibration

SHIPPED = {"lab": "lab/calibration", "reader": "sources/calibration"}
"""By name: of the lab's model, and of the text reader."""


def folder(text: str) -> Path:
    """A folder of that name in the working directory comes first. For argparse: raises ArgumentTypeError."""
    path = Path(text)
    if text in SHIPPED and not path.exists():
        return Path(__file__).parents[1] / SHIPPED[text]
    if not path.exists():
        shipped = ", ".join(f"`{name}`" for name in SHIPPED)
        raise argparse.ArgumentTypeError(
            f"there is no `{visible(text)[:200]}`; hint: a folder, or {shipped}"
        )
    return path


def loaded(folders: Sequence[Path]) -> list[Calibration]:
    """Raises InputError for one that cannot be read, and for two of the same scores."""
    from dosimeter.detectors.calibrate import Calibration

    found = [Calibration.load(folder) for folder in folders]
    first: dict[tuple[str, str], int] = {}
    for at, one in enumerate(found):
        for pair in zip(one.features, one.packs, strict=True):
            earlier = first.setdefault(pair, at)
            if found[earlier].digest != one.digest:
                message = f"it has `{visible(pair[0])}` of the same pack as {folders[earlier]} has"
                raise InputError.at(folders[at], message, "give one of the two")
    return found
