"""What the kernel must compute, said one token at a time: the definition of the shapes and of how a rule joins them.

Slow and plain on purpose; tests compare the kernel in C with it over random programs and streams, and where no
compiler built that one it decides itself. The two share no arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, takewhile

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODE_UNSCORED, Codes
from dosimeter.rules.atoms import Atom, Clause, Logic
from dosimeter.rules.crossing import Firing, Met

Ints = npt.NDArray[np.int64]
Found = tuple[int, int, int]
"""start, value_sum, value_n"""


class _Condition:
    """One atom in one request."""

    def __init__(self, atom: Atom) -> None:
        self.atom = atom
        self.enter(0)

    def enter(self, position: int) -> None:
        """A new occurrence of the scope: nothing of an earlier one counts."""
        self.codes: list[int] = []  # of the whole scope
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
        self.codes.append(code)
        if self.atom.shape in ("average_scope", "average_last", "share"):
            return None
        window = self.recent[-self.atom.n :]
        if self.atom.shape == "at_least":
            return self.at_least(position, window)
        if len(window) < self.atom.n:
            return None
        if self.atom.shape == "average":
            found = position - self.atom.n + 1, sum(window), len(window)
            return found if self.over(*found[1:]) else None
        run = self.run()
        if len(run) < self.atom.n:
            return None
        return position - len(run) + 1, min(run) if self.atom.direction == 1 else max(run), 1

    def leave(self, position: int) -> Found | None:
        """The scope ended before `position`."""
        if self.atom.shape == "average_last" and self.rows:
            count = min(self.atom.n, self.rows)
            value = sum(self.recent[-count:])
            whole = len(self.recent) >= count  # none of them is missing
            return (position - count, value, count) if whole and self.over(value, count) else None
        if self.atom.shape not in ("average_scope", "share"):
            return None
        count = len(self.codes)
        tokens = position - self.scope_from
        if count < max(self.atom.least, 1) or 100 * count < self.atom.coverage * tokens:
            return None
        if self.atom.shape == "average_scope":
            value = sum(self.codes)
            return (self.first_row, value, count) if self.over(value, count) else None
        over = sum(self.over(code, 1) for code in self.codes)
        return (self.first_row, over, count) if 100 * over >= self.atom.k * count else None

    def run(self) -> list[int]:
        """The codes beyond the threshold, up to the latest; of `once` that alone."""
        beyond = takewhile(lambda code: self.over(code, 1), reversed(self.recent))
        return list(islice(beyond, 1 if self.atom.shape == "once" else None))

    def at_least(self, position: int, window: list[int]) -> Found | None:
        if len(window) < self.atom.k:
            return None
        value = sorted(window, reverse=self.atom.direction == 1)[self.atom.k - 1]
        return (position + 1 - len(window), value, 1) if self.over(value, 1) else None

    def over(self, value: int, count: int) -> bool:
        limit = self.atom.threshold * count
        return value > limit if self.atom.direction == 1 else value < limit


class _Rule:
    """One rule in one request."""

    def __init__(self, logic: Logic) -> None:
        self.logic = logic
        self.armed = True
        self.chains: list[tuple[Met, ...]] = [()] * len(logic.clauses)
        """Of a sequence, by stage: the latest one that has come so far."""

    def moment(
        self, position: int, now: Mapping[int, Met], last: Mapping[int, Met]
    ) -> tuple[Met, ...] | None:
        """now: atoms that are true at this moment; last: at it or before, as they were then."""
        met = self.sequence(now) if self.logic.kind == "sequence" else self.all(position, now, last)
        if not self.armed:
            self.armed = self.logic.clear in now and met is None
            return None
        if met is not None:
            self.armed = False
        return met

    def all(
        self, position: int, now: Mapping[int, Met], last: Mapping[int, Met]
    ) -> tuple[Met, ...] | None:
        found: list[Met] = []
        fresh = False
        for index, clause in enumerate(self.logic.clauses):
            true = _first(index, clause, now)
            fresh = fresh or (true is not None and not clause.negated)
            if true is None:
                earlier = [
                    last[one.atom]._replace(clause=index)
                    for one in clause.literals
                    if one.atom in last and self.near(position, last[one.atom].position)
                ]
                true = max(earlier, key=lambda met: met.position, default=None)
            if (true is None) is not clause.negated:
                return None
            if true is not None:
                found.append(true)
        return tuple(found) if fresh else None

    def sequence(self, now: Mapping[int, Met]) -> tuple[Met, ...] | None:
        """Last stage first, so that no moment serves two of them."""
        whole: tuple[Met, ...] | None = None
        for stage in reversed(range(len(self.logic.clauses))):
            met = _first(stage, self.logic.clauses[stage], now)
            before = self.chains[stage - 1] if stage else ()
            if met is None or (stage and not before):
                continue
            chain = (*before, met)
            if stage < len(self.logic.clauses) - 1:
                self.chains[stage] = chain
            elif self.near(met.position, chain[0].position):
                whole = chain
        return whole

    def near(self, position: int, earlier: int) -> bool:
        return not self.logic.within or position - earlier < self.logic.within


def _first(index: int, clause: Clause, now: Mapping[int, Met]) -> Met | None:
    """The first condition of a clause that is true now."""
    for literal in clause.literals:
        if literal.atom in now:
            return now[literal.atom]._replace(clause=index)
    return None


class _Request:
    """One slot: its next position, the scope it is in, every atom and every rule."""

    def __init__(self, atoms: Sequence[Atom], rules: Sequence[Logic]) -> None:
        self.position = 0
        self.scope: int | None = None
        self.conditions = [_Condition(atom) for atom in atoms]
        self.rules = [_Rule(logic) for logic in rules]
        self.last: dict[int, Met] = {}

    def token(
        self, order: int, slot: int, position: int, scope: int, codes: list[int]
    ) -> Iterator[Firing]:
        if position < self.position:
            return  # it came before
        if scope != self.scope:
            yield from self.end_scope(order, slot)
            for condition in self.conditions:
                condition.enter(self.position)
            self.scope = scope
        found: dict[int, Found | None] = {}
        for index, condition in enumerate(self.conditions):
            if condition.atom.scope != scope:
                continue
            if position > self.position:
                condition.recent = []
            found[index] = condition.token(position, codes[condition.atom.column])
        self.position = position + 1
        yield from self.moment(order, slot, False, found)

    def end_scope(self, order: int, slot: int) -> Iterator[Firing]:
        found = {
            index: condition.leave(self.position)
            for index, condition in enumerate(self.conditions)
            if condition.atom.scope == self.scope
        }
        yield from self.moment(order, slot, True, found)

    def moment(
        self, order: int, slot: int, ended: bool, found: Mapping[int, Found | None]
    ) -> Iterator[Firing]:
        now: dict[int, Met] = {}
        position = self.position - 1
        for index, values in found.items():
            if values is not None:
                condition = self.conditions[index]
                scored = len(condition.codes)
                unscored = position + 1 - condition.scope_from - scored
                now[index] = Met(0, index, position, *values, scored, unscored)
        if not now:
            return
        self.last |= now
        for number, rule in enumerate(self.rules):
            met = rule.moment(position, now, self.last)
            if met is not None:
                yield Firing(order, position, ended, number, slot, met)


class PlainKernel:
    """State and step of one program; the interface of `native.NativeKernel`, with a list for every value."""

    def __init__(self, atoms: Sequence[Atom], rules: Sequence[Logic]) -> None:
        self._atoms, self._rules = atoms, rules
        self._requests: dict[int, _Request] = {}

    @property
    def open_slots(self) -> int:
        return len(self._requests)

    def open(self) -> int:
        """The lowest slot that is free, with fresh state."""
        slot = next(i for i in range(len(self._requests) + 1) if i not in self._requests)
        self._requests[slot] = _Request(self._atoms, self._rules)
        return slot

    def close(self, slot: int) -> list[Firing]:
        """Decides what waits for the end of the slot's scope, and frees the slot."""
        return list(self._requests.pop(slot).end_scope(0, slot))

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
                firings += self._requests[slot].token(order, slot, start + offset, scope, values)
        return firings

    def replay(self, runs: Ints, requests: int, columns: Sequence[Codes | None]) -> Ints:
        """What `NativeKernel.replay` says, by `step`: one frame a run."""
        of, length = runs[:, 0], int(runs[:, 2].sum())
        codes = np.zeros((length, len(columns)), np.int16)
        given = {i: column for i, column in enumerate(columns) if column is not None}
        fits = {len(column) for column in given.values()} <= {length}
        fits = fits and {a.column for a in self._atoms} <= set(given)
        ordered = bool((np.diff(of, prepend=0, append=requests) >= 0).all())
        if not (fits and ordered and (of < requests).all() and (runs[:, 1:] >= 0).all()):
            raise ValueError(f"{len(runs)} runs that do not fit columns or {requests} requests")
        for index, column in given.items():
            codes[:, index] = column
        rows = np.cumsum(runs[:, 2]) - runs[:, 2]
        found: list[tuple[int, int, int, int]] = []
        for request in range(requests):
            slot = self.open()
            fired: list[Firing] = []
            for at in range(*np.searchsorted(of, [request, request + 1])):
                _, start, n, scope = (np.array([value]) for value in runs[at])
                fired += self.step(np.array([slot]), scope, start, n, rows[at : at + 1], codes)
            fired += self.close(slot)
            found += [(request, f.position, int(f.ended), f.rule) for f in fired]
        return np.array(sorted(found), np.int64).reshape(-1, 4)
