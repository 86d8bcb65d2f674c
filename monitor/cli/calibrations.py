"""`--calibration DIR`: a folder, or the name of one that is shipped."""

from __future__ import annotations

from pathlib import Path

SHIPPED = {"lab": "lab/calibration", "reader": "sources/calibration"}
"""By name: of the lab's model, and of the text reader."""


def folder(text: str) -> Path:
    """A folder of that name in the working directory comes first."""
    path = Path(text)
    if text in SHIPPED and not path.exists():
        return Path(__file__).parents[1] / SHIPPED[text]
    return path
