"""`absent` and `shift`: rules over what the monitor itself does, whether it still scores, and as it was calibrated.

Owns both forms, their reading out of a YAML tree, and `Silence`, which decides `absent` from what a server says of
itself. The test behind `shift` is `detectors/drift.py`. It never learns what the time is: whoever asks says it.

A `shift` alarms and moves no threshold. On unchanged traffic its first false alarm, of all the `shift` rules of one
model together, is not expected before `FALSE_ALARM_DAYS`, with what `detectors/drift.py` assumes: the calibration was
made of independent requests of this traffic, and no more of them a day come than it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dosimeter.detectors.findings import Place
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.rules.language.condition import SCOPES
from dosimeter.rules.language.counting import read_span
from dosimeter.rules.policy import NS, span_text

ABSENT_KEYS = ("absent", "for", "while")
SHIFT_KEYS = ("shift", "in")
WHILE = ("requests",)
ABSENT_FIELDS = ("rule", "severity", "feature", "for", "tokens", "model")
SHIFT_FIELDS = ("rule", "severity", "feature", "scope", "requests", "direction", "model")
"""What a `summary` of each may say."""
FALSE_ALARM_DAYS = 365.0


@dataclass(frozen=True, slots=True)
class Absent:
    """No token that a server runs gets a score of this feature, for so long while it has requests."""

    feature: str
    for_s: int
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, hash=False)

    @property
    def for_ns(self) -> int:
        return self.for_s * NS

    def as_json(self) -> dict[str, Any]:
        return {"absent": self.feature, "for": span_text(self.for_s), "while": "requests"}


@dataclass(frozen=True, slots=True)
class Shift:
    """The requests of now no longer score as those of the calibration did."""

    feature: str
    scope: Scope
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, hash=False)

    def as_json(self) -> dict[str, Any]:
        return {"shift": self.feature, "in": self.scope.name.lower()}


def read_absent(node: Node, reader: Reader) -> Absent | None:
    """Or None after complaining."""
    before = len(reader.findings)
    keys = reader.mapping(node, ABSENT_KEYS, required=ABSENT_KEYS)
    feature = reader.text(keys["absent"], 64) if "absent" in keys else None
    seconds = read_span(keys["for"], reader) if "for" in keys else None
    if "while" in keys:
        reader.one_of(keys["while"], WHILE, "while")
    if len(reader.findings) > before or feature is None or seconds is None:
        return None
    return Absent(feature, seconds, {name: value.place for name, value in keys.items()})


def read_shift(node: Node, reader: Reader) -> Shift | None:
    """Or None after complaining."""
    before = len(reader.findings)
    keys = reader.mapping(node, SHIFT_KEYS, required=SHIFT_KEYS)
    feature = reader.text(keys["shift"], 64) if "shift" in keys else None
    scope = reader.one_of(keys["in"], SCOPES, "scope") if "in" in keys else None
    if len(reader.findings) > before or feature is None or scope is None:
        return None
    places = {name: value.place for name, value in keys.items()}
    return Shift(feature, SCOPES[scope], places)


@dataclass(frozen=True, slots=True)
class Silent:
    """One silence that has lasted long enough. served: tokens since the last score, by the server's own count."""

    for_ns: int
    served: int


class Silence:
    """One feature on one server process, for one `absent`. Ask it at intervals; it says so once in a silence.

    A silence is the time without a score in which the server had requests: while it has none, nothing is missing.
    Time before the first look does not count. It ends with the next score.
    """

    def __init__(self, for_ns: int) -> None:
        self._for_ns = for_ns
        self._looked_ns: int | None = None
        self._lasted_ns = 0
        self._served = 0  # when the last score was seen
        self._said = False

    def say_again(self) -> None:
        """One that lasts and was said is said once more: whoever hears of it now may not have heard before."""
        self._said = False

    def look(self, time_ns: int, *, requests: bool, served: int, scored: bool) -> Silent | None:
        """What has lasted long enough with this look, and was not said yet.

        time_ns   never goes backwards
        requests  some are open, or were since the last look
        served    tokens so far; only grows
        scored    some token got a score of the feature since the last look
        """
        before, self._looked_ns = self._looked_ns, time_ns
        if scored or before is None:
            self._lasted_ns, self._served, self._said = 0, served, False
            return None
        if requests:
            self._lasted_ns += time_ns - before
        if self._said or self._lasted_ns < self._for_ns or served <= self._served:
            return None  # a request that still waits for its first token misses no score
        self._said = True
        return Silent(self._lasted_ns, served - self._served)
