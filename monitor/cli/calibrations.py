"""`--calibration DIR`: a folder, or the name of one that is shipped."""

from __future__ import annotations

import argparse
from pathlib import Path

from dosimeter.detectors.findings import visible

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
