"""What the kernel must compute, said one token at a time: the definition of the shapes.

Slow and plain on purpose; tests compare the two over random programs and streams. It owns no data
structure worth sharing, and shares no arithmetic with the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping

from dosimeter.detectors.frames import CODE_UNSCORED, Scope, ScoreFrame
from dosimeter.rules.atoms import Atom
from dosimeter.rules.engine import Hit
from dosimeter.rules.program import Program


class _Condition:
    """One atom in one request."""

    def __init__(self, atom: Atom) -> None:
        self.atom = atom
        self.fired = False
        self.enter(0)

    def enter(self, position: int) -> None:
        """A new occurrence of the scope: nothing of an earlier one counts."""
        self.scored: list[tuple[int, int]] = []  # (position, code) of the whole scope
        self.recent: list[int] = []  # codes without a break up to now
        self.scope_from = position
        self.first_row = -1

    def token(self, position: int, code: int) -> tuple[int, int, int, int] | None:
        """(start, end, value_sum, value_n) if the condition is true at this token."""
        if self.first_row < 0:
            self.first_row = position
        if code == CODE_UNSCORED:
            self.recent = []
            return None
        self.recent.append(code)
        self.scored.append((position, code))
        if self.atom.shape == "average_scope" or len(self.recent) < self.atom.n:
            return None
        window = self.recent[-self.atom.n :]
        if self.atom.shape == "average":
            value, count = sum(window), len(window)
        else:
            value, count = (min(window) if self.atom.direction == 1 else max(window)), 1
        if not self.over(value, count):
            return None
        return position - self.atom.n + 1, position + 1, value, count

    def leave(self, position: int) -> tuple[int, int, int, int] | None:
        """The scope ended before `position`."""
        if self.atom.shape != "average_scope" or not self.scored:
            return None
        value, count = sum(code for _, code in self.scored), len(self.scored)
        return (self.first_row, position, value, count) if self.over(value, count) else None

    def over(self, value: int, count: int) -> bool:
        limit = self.atom.threshold * count
        return value > limit if self.atom.direction == 1 else value < limit


class _Request:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.position = 0
        self.scope: Scope | None = None
        self.conditions = [_Condition(atom) for atom in program.atoms]

    def token(self, key: int, position: int, scope: Scope, codes: list[int]) -> list[Hit]:
        if position < self.position:
            return []  # replayed
        hits = []
        if scope != self.scope:
            hits += self.end_scope(key)
            for condition in self.conditions:
                condition.enter(self.position)
            self.scope = scope
        for index, condition in enumerate(self.conditions):
            if condition.atom.scope != scope:
                continue
            if position > self.position:
                condition.recent = []
            found = condition.token(position, codes[condition.atom.column])
            hits += self.fire(key, index, position, found)
        self.position = position + 1
        return hits

    def end_scope(self, key: int) -> list[Hit]:
        hits = []
        for index, condition in enumerate(self.conditions):
            if condition.atom.scope == self.scope:
                found = condition.leave(self.position)
                hits += self.fire(key, index, self.position - 1, found)
        return hits

    def fire(
        self, key: int, index: int, position: int, found: tuple[int, int, int, int] | None
    ) -> list[Hit]:
        condition = self.conditions[index]
        if found is None or condition.fired:
            return []
        condition.fired = True
        start, end, value_sum, value_n = found
        scored = len(condition.scored)
        return [
            Hit(
                rule=rule.rule,
                key=key,
                scope=condition.atom.scope,
                start=start,
                end=end,
                position=position,
                value_sum=value_sum,
                value_n=value_n,
                threshold_code=condition.atom.threshold,
                feature=rule.feature,
                column=condition.atom.column,
                program=self.program.digest,
                tokens_scored=scored,
                tokens_unscored=position + 1 - condition.scope_from - scored,
                compiled=rule,
            )
            for rule in self.program.rules
            if rule.atom == index
        ]


class ReferenceEngine:
    """The engine's interface (open, step, close, swap) over the plain interpreter."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._requests: dict[int, _Request] = {}

    def open(
        self, key: int, labels: Mapping[str, str], trusted: frozenset[str] = frozenset()
    ) -> None:
        self._requests[key] = _Request(self.program)

    def step(self, frame: ScoreFrame) -> list[Hit]:
        hits, row = [], 0
        for key, start, n, scope in frame.segments.tolist():
            for offset in range(n):
                if key in self._requests:
                    codes = frame.codes[row + offset].tolist()
                    hits += self._requests[key].token(key, start + offset, Scope(scope), codes)
            row += n
        return hits

    def close(self, key: int, *, finished: bool) -> list[Hit]:
        request = self._requests.pop(key, None)
        return [] if request is None else request.end_scope(key)

    def swap(self, program: Program) -> None:
        self.program = program
