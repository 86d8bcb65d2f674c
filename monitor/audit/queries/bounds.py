"""Where what is asked for can be, in time and in the log, so that most files need not be looked into. It reads none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dosimeter.monitor.audit.store.hot import Segment

MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where what is asked for can be: times [from_ns, to_ns), positions [first, past)."""

    from_ns: int = -MAX
    to_ns: int = MAX
    first: int = 0
    past: int = MAX

    @staticmethod
    def of(values: Mapping[str, Any]) -> Bounds:
        return Bounds(
            values.get("from_ns", -MAX),
            min(values.get("to_ns", MAX), values.get("before_ns", MAX - 1) + 1),
            values.get("first", 0),
            values.get("past", MAX),
        )

    def may_hold(self, s: Segment) -> bool:
        in_time = s.to_ns >= self.from_ns and s.from_ns < self.to_ns
        return in_time and s.past > self.first and s.first < self.past
