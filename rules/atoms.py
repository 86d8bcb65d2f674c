"""What the engine evaluates: an atom is one column, one scope, one shape and one integer
threshold.

Owns `Atom` and `CompiledRule`, the compiled form that `rules/program.py` makes out of rules and
calibrations, and the words of the shapes. It never learns where a threshold came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dosimeter.detectors.frames import CODE_MAX, Scope
from dosimeter.detectors.levels import MOST_OF, WINDOWED

KERNEL_VERSION = 2
"""Part of every digest: raised whenever equal atoms and codes could decide differently."""

SHAPES = ("once", "for", "average", "average_scope", "at_least", "average_last")
MAX_TOKENS = 4096
"""Longest window: its int16 codes then always sum within int32."""

STATUSES = ("draft", "shadow", "live", "retired")
SEVERITIES = ("low", "medium", "high", "critical")
RUNNING = ("shadow", "live")

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Atom:
    """One condition: `direction * statistic > direction * threshold`, strictly, in code units.

    The statistic is the code (`once`), the least code of n tokens in a row (`for`; the greatest
    when direction is -1), the k-th of the last n in a row, counted from the greatest (`at_least`),
    the mean of n tokens in a row (`average`), or, decided when the scope ends, the mean of what
    was scored of it (`average_scope`) or of its last n tokens, if none is missing
    (`average_last`). n and k are 1 where they mean nothing.
    """

    column: int
    scope: Scope
    direction: int
    shape: str
    n: int
    threshold: int
    k: int = 1

    def __post_init__(self) -> None:
        most = MOST_OF if self.shape == "at_least" else MAX_TOKENS if self.shape in WINDOWED else 1
        numbers = (self.column, self.direction, self.n, self.threshold, self.k)
        good = (
            all(type(v) is int for v in numbers)
            and self.shape in SHAPES
            and self.direction in (1, -1)
            and self.column >= 0
            and 1 <= self.n <= most
            and 1 <= self.k <= (self.n if self.shape == "at_least" else 1)
            and abs(self.threshold) <= CODE_MAX
        )
        if not good:
            raise ValueError(f"no such atom: {self.as_json()}")

    def as_json(self) -> dict[str, Any]:
        return {
            "column": self.column,
            "direction": self.direction,
            "k": self.k,
            "n": self.n,
            "scope": int(self.scope),
            "shape": self.shape,
            "threshold": self.threshold,
        }


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One running rule: what it says (`text`, its canonical form) and the atom it became."""

    rule: str
    sha256: str  # of the rule's canonical JSON
    atom: int  # index into the program's atoms
    feature: str
    pack: str  # digest of the pack behind the feature's column
    calibration: str  # digest of the calibration that placed the threshold
    text: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.status not in RUNNING or self.severity not in SEVERITIES:
            raise ValueError(f"rule `{self.rule}` cannot run: `{self.status}`, `{self.severity}`")
        if _SHA256.fullmatch(self.sha256) is None:
            raise ValueError(f"rule `{self.rule}` has no sha256")

    @property
    def status(self) -> str:
        return str(self.text["status"])

    @property
    def severity(self) -> str:
        return str(self.text["severity"])

    @property
    def owner(self) -> str:
        return str(self.text.get("owner", ""))

    @property
    def summary(self) -> str:
        return str(self.text["summary"])

    @property
    def runbook(self) -> str:
        return str(self.text.get("runbook", ""))

    @property
    def level(self) -> str:
        """The level as the rule says it, with unit and noun."""
        when = self.text["when"]
        return str(when.get("above", when.get("below")))

    def as_json(self) -> dict[str, Any]:
        return {
            "atom": self.atom,
            "calibration": self.calibration,
            "feature": self.feature,
            "pack": self.pack,
            "rule": self.rule,
            "sha256": self.sha256,
            "text": dict(self.text),
        }
