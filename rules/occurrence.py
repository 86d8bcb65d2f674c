"""A hit as what comes after the engine sees it: which rule, when, and whose.

Owns the one record that `decide.py` (what becomes of a hit) and `correlate.py` (counts over hits) read. It never
learns about codes or positions, nor about labels that nobody vouches for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GROUPED = ("tenant", "user", "conversation", "route", "model")
"""What hits can be grouped by."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One hit.

    time_ns  wall clock of the step that decided, and the only time there is
    request  epoch and key, as text: unique
    labels   trusted ones alone
    exempt   an `unless` of the rule holds for it
    """

    rule: str
    status: str  # shadow | live
    time_ns: int
    request: str
    labels: Mapping[str, str]
    model: str
    exempt: bool = False

    def group(self, by: Sequence[str]) -> tuple[str, ...] | None:
        """The values of these labels; None where one is missing, for what nobody vouches for groups nothing."""
        values = [self.model if name == "model" else self.labels.get(name) for name in by]
        return None if None in values else tuple(str(value) for value in values)
