"""What an attack costs us, counted and not timed: function calls, and bytes that stay."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType


def calls(act: Callable[[], object]) -> int:
    """How many functions, Python's and C's, are called while `act` runs: the same on any machine."""
    found = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(before)
    return found


def kept(*acts: Callable[[], object]) -> list[int]:
    """Bytes that are held after each of the acts and were not before the first."""
    gc.collect()
    tracemalloc.start()
    try:
        found = []
        for act in acts:
            act()
            gc.collect()
            found.append(tracemalloc.get_traced_memory()[0])
        return found
    finally:
        tracemalloc.stop()
