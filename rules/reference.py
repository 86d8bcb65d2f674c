"""What the kernel must compute, said one token at a time: the definition of the shapes.

Slow and plain on purpose; tests compare the kernel in C with it over random programs and streams, and where no
compiler built that one it decides itself. The two share no arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODE_UNSCORED, Codes
from dosimeter.rules.atoms import Atom
from dosimeter.rules.crossing import Crossing, Firing

Ints = npt.NDArray[np.int64]
Found = tuple[int, int, int, int]
"""start, end, value_sum, value_n"""


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
        self.rows = 0
        self.scope_from = position
        self.first_row = -1

    def token(self, position: int, code: int) -> Found | None:
        """Where and on what the condition is true at this token."""
        self.rows += 1
        if self.first_row < 0:
            self.first_row = position
        if code == CODE_UNSCORED:
            self.recent = []
            return None
        self.recent.append(code)
        self.scored.append((position, code))
        if self.atom.shape in ("average_scope", "average_last"):
            return None
        window = self.recent[-self.atom.n :]
        if self.atom.shape == "at_least":
            return self.at_least(position, window)
        if len(window) < self.atom.n:
            return None
        if self.atom.shape == "average":
            value, count = sum(window), len(window)
        else:
            value, count = (min(window) if self.atom.direction == 1 else max(window)), 1
        if not self.over(value, count):
            return None
        return position - self.atom.n + 1, position + 1, value, count

    def leave(self, position: int) -> Found | None:
        """The scope ended before `position`."""
        if self.atom.shape == "average_last" and self.rows:
            count = min(self.atom.n, self.rows)
            value = sum(self.recent[-count:])
            whole = len(self.recent) >= count  # none of them is missing
            return (
                (position - count, position, value, count)
                if whole and self.over(value, count)
                else None
            )
        if self.atom.shape != "average_scope" or not self.scored:
            return None
        value, count = sum(code for _, code in self.scored), len(self.scored)
        return (self.first_row, position, value, count) if self.over(value, count) else None

    def at_least(self, position: int, window: list[int]) -> Found | None:
        if len(window) < self.atom.k:
            return None
        value = sorted(window, reverse=self.atom.direction == 1)[self.atom.k - 1]
        return (position + 1 - len(window), position + 1, value, 1) if self.over(value, 1) else None

    def over(self, value: int, count: int) -> bool:
        limit = self.atom.threshold * count
        return value > limit if self.atom.direction == 1 else value < limit


class _Request:
    """One slot: its next position, the scope it is in, and every atom."""

    def __init__(self, atoms: Sequence[Atom]) -> None:
        self.position = 0
        self.scope: int | None = None
        self.conditions = [_Condition(atom) for atom in atoms]

    def token(
        self, order: int, slot: int, position: int, scope: int, codes: list[int]
    ) -> Iterator[Crossing]:
        if position < self.position:
            return  # it came before
        if scope != self.scope:
            yield from self.end_scope(order, slot)
            for condition in self.conditions:
                condition.enter(self.position)
            self.scope = scope
        for index, condition in enumerate(self.conditions):
            if condition.atom.scope != scope:
                continue
            if position > self.position:
                condition.recent = []
            found = condition.token(position, codes[condition.atom.column])
            yield from self.fire(order, slot, index, position, False, found)
        self.position = position + 1

    def end_scope(self, order: int, slot: int) -> Iterator[Crossing]:
        for index, condition in enumerate(self.conditions):
            if condition.atom.scope == self.scope:
                found = condition.leave(self.position)
                yield from self.fire(order, slot, index, self.position - 1, True, found)

    def fire(
        self, order: int, slot: int, index: int, position: int, ended: bool, found: Found | None
    ) -> Iterator[Crossing]:
        """Each atom fires once in a request."""
        condition = self.conditions[index]
        if found is None or condition.fired:
            return
        condition.fired = True
        scored = len(condition.scored)
        unscored = position + 1 - condition.scope_from - scored
        yield Crossing(order, position, ended, index, slot, *found, scored, unscored)


class PlainKernel:
    """State and step of one program; the interface of `native.NativeKernel`, with a list for every value."""

    def __init__(self, atoms: Sequence[Atom], rule_atoms: Sequence[int]) -> None:
        self._atoms = atoms
        self._rules: dict[int, list[int]] = {}
        for rule, atom in enumerate(rule_atoms):
            self._rules.setdefault(atom, []).append(rule)
        self._requests: dict[int, _Request] = {}

    @property
    def open_slots(self) -> int:
        return len(self._requests)

    def open(self) -> int:
        """The lowest slot that is free, with fresh state."""
        slot = next(i for i in range(len(self._requests) + 1) if i not in self._requests)
        self._requests[slot] = _Request(self._atoms)
        return slot

    def close(self, slot: int) -> list[Firing]:
        """Decides what waits for the end of the slot's scope, and frees the slot."""
        return self._fired(self._requests.pop(slot).end_scope(0, slot))

    def step(
        self, slots: Ints, scopes: Ints, starts: Ints, ns: Ints, rows: Ints, codes: Codes
    ) -> list[Firing]:
        """Takes segments in frame order; rows: index of each segment's first row in codes [T, F]."""
        firings: list[Firing] = []
        segments = zip(
            slots.tolist(),
            scopes.tolist(),
            starts.tolist(),
            ns.tolist(),
            rows.tolist(),
            strict=True,
        )
        for order, (slot, scope, start, n, row) in enumerate(segments):
            for offset, values in enumerate(codes[row : row + n].tolist()):
                found = self._requests[slot].token(order, slot, start + offset, scope, values)
                firings += self._fired(found)
        return firings

    def _fired(self, crossings: Iterator[Crossing]) -> list[Firing]:
        return [Firing(rule, c) for c in crossings for rule in self._rules.get(c.atom, ())]
