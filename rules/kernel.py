"""The compiled step: every atom of every request of a frame at once, on integer codes.

Owns the slots of open requests and the cutting of a frame into segments; `rules/group.py` owns
the arithmetic. Decode (many requests, one token each) and prefill (one request, many tokens) take
the same path. It never learns keys, labels or what a rule says; `rules/reference.py` defines what
it must return.

A change of scope resets every run, window and sum. So of the segments that a request has in one
frame only the first can continue stored state and only the last is stored, and all can be
computed together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dosimeter.detectors.frames import Codes, Scope
from dosimeter.rules.atoms import Atom
from dosimeter.rules.group import Crossing, Group
from dosimeter.rules.segments import Bools, Ints, Segments

NO_SCOPE = -1
ANSWER = int(Scope.ANSWER)
_FIRST_SLOTS = 64


class Firing(NamedTuple):
    """A rule's condition became true for a slot for the first time."""

    rule: int  # index into the program's rules
    crossing: Crossing


class Kernel:
    """State and step of one program. rule_atoms: for every rule the index of its atom."""

    def __init__(self, atoms: Sequence[Atom], rule_atoms: Sequence[int]) -> None:
        self._rules: dict[int, list[int]] = {}
        for rule, atom in enumerate(rule_atoms):
            self._rules.setdefault(atom, []).append(rule)
        self._groups: dict[int, Group] = {}
        for scope in Scope:
            chosen = [(i, a) for i, a in enumerate(atoms) if a.scope == scope and i in self._rules]
            if chosen:
                self._groups[int(scope)] = Group(chosen, _FIRST_SLOTS)
        self._free = list(range(_FIRST_SLOTS))[::-1]
        self._slots = _FIRST_SLOTS
        self._pos = np.zeros(_FIRST_SLOTS, np.int64)  # next position expected
        self._scope = np.full(_FIRST_SLOTS, NO_SCOPE, np.int64)
        self._scope_from = np.zeros(_FIRST_SLOTS, np.int64)
        self._first_row = np.zeros(_FIRST_SLOTS, np.int64)
        self._rows = np.zeros(_FIRST_SLOTS, np.int64)  # rows in this occurrence of the scope

    @property
    def open_slots(self) -> int:
        return self._slots - len(self._free)

    def open(self) -> int:
        """A slot with fresh state; the store doubles when none is free."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._pos[slot] = 0
        self._scope[slot] = NO_SCOPE
        for group in self._groups.values():
            group.live[slot] = True
        return slot

    def close(self, slot: int) -> list[Firing]:
        """Decides what waits for the end of the slot's scope, and frees the slot."""
        firings = self._fired(self._end(np.array([slot]), np.zeros(1, np.int64)))
        self._free.append(slot)
        return firings

    def step(
        self, slots: Ints, scopes: Ints, starts: Ints, ns: Ints, rows: Ints, codes: Codes
    ) -> list[Firing]:
        """Takes segments in frame order; rows: index of each segment's first row in codes [T, F].

        Positions before the one a slot expects are ignored, so a replayed frame changes nothing.
        """
        firings: list[Firing] = []
        rest = self._decode(slots, scopes, starts, ns, rows, codes)
        if rest is not None:
            slots, scopes, starts, ns, rows = (a[rest] for a in (slots, scopes, starts, ns, rows))
        while len(slots):
            segments, taken = self._segments(slots, scopes, starts, ns, rows)
            if len(segments.slot):
                firings += self._advance(segments, codes)
            slots, scopes, starts, ns, rows = (a[taken:] for a in (slots, scopes, starts, ns, rows))
        return firings

    def _decode(
        self, slots: Ints, scopes: Ints, starts: Ints, ns: Ints, rows: Ints, codes: Codes
    ) -> Ints | None:
        """Takes the next token of every answer at once; which segments are left, None if all are.

        Each slot may stand only once, since the others are then taken after these.
        """
        usual = (ns == 1) & (scopes == ANSWER) & (self._scope[slots] == ANSWER)
        usual &= starts == self._pos[slots]
        taken = np.flatnonzero(usual)
        if not taken.size or len(set(slots.tolist())) < len(slots):
            return None
        whole = len(taken) == len(slots)
        mine = slots if whole else slots[taken]
        group = self._groups.get(ANSWER)
        if group is not None:
            at = rows if whole else rows[taken]
            here = codes if len(codes) == len(at) else codes[at]
            if not group.decode(mine, self._pos[mine], here):
                return None
        self._pos[mine] += 1
        self._rows[mine] += 1
        return np.flatnonzero(~usual)

    def _segments(
        self, slots: Ints, scopes: Ints, starts: Ints, ns: Ints, rows: Ints
    ) -> tuple[Segments, int]:
        """The longest head of a frame that can be computed together; how many entries it has."""
        pos, scope = self._pos[slots], self._scope[slots]
        last = np.ones(len(slots), np.bool_)
        if len(np.unique(slots)) < len(slots):
            taken = self._chain(slots, scopes, starts, ns, pos, scope, last)
            slots, scopes, starts, ns, rows = (a[:taken] for a in (slots, scopes, starts, ns, rows))
            pos, scope, last = pos[:taken], scope[:taken], last[:taken]
        skip = np.maximum(pos - starts, 0)
        first = starts + skip
        fresh = scope != scopes
        # A gap before a new scope counts there: nothing else says whose those tokens were.
        scope_from = np.where(fresh, pos, self._scope_from[slots])
        first_row = np.where(fresh, first, self._first_row[slots])
        before = np.where(fresh, 0, self._rows[slots])
        segments = Segments(
            slots,
            scopes,
            first,
            ns - skip,
            rows + skip,
            fresh,
            first > pos,
            last,
            scope_from,
            first_row,
            before,
            np.arange(len(slots)),
        )
        kept = np.flatnonzero(skip < ns)
        return (segments if len(kept) == len(slots) else segments.take(kept)), len(slots)

    def _chain(
        self, slots: Ints, scopes: Ints, starts: Ints, ns: Ints, pos: Ints, scope: Ints, last: Bools
    ) -> int:
        """Where a slot comes again: what its earlier segment leaves behind. Fills pos, scope and
        last; stops before a segment that continues an earlier one of the same frame."""
        seen: dict[int, int] = {}  # slot -> index of its latest segment with new rows
        for i, slot in enumerate(slots.tolist()):
            j = seen.get(slot)
            if j is not None:
                pos[i] = int(starts[j] + ns[j])
                scope[i] = scopes[j]
            if starts[i] + ns[i] <= pos[i]:
                continue  # replayed as a whole
            if j is not None:
                if scopes[j] == scopes[i]:
                    return i
                last[j] = False
            seen[slot] = i
        return len(slots)

    def _advance(self, s: Segments, codes: Codes) -> list[Firing]:
        stored = self._scope[s.slot]
        firsts = np.ones(len(s.slot), np.bool_)
        if not s.last.all():
            _, index = np.unique(s.slot, return_index=True)
            firsts[:] = False
            firsts[index] = True
        left = np.flatnonzero(firsts & s.fresh & (stored != NO_SCOPE))
        crossings = self._end(s.slot[left], s.order[left]) if left.size else []
        scopes = np.unique(s.scope).tolist()
        for scope in scopes:
            if (group := self._groups.get(scope)) is not None:
                mine = s if len(scopes) == 1 else s.take(np.flatnonzero(s.scope == scope))
                crossings += group.advance(codes, mine)
        stop = s.slot[s.last]
        self._pos[stop] = (s.start + s.n)[s.last]
        self._scope[stop] = s.scope[s.last]
        self._scope_from[stop] = s.scope_from[s.last]
        self._first_row[stop] = s.first_row[s.last]
        self._rows[stop] = (s.rows_before + s.n)[s.last]
        return self._fired(crossings)

    def _end(self, slots: Ints, order: Ints) -> list[Crossing]:
        """The scope each slot is in is over."""
        crossings: list[Crossing] = []
        scopes, none = self._scope[slots], np.zeros(len(slots), np.bool_)
        for scope, group in self._groups.items():
            index = np.flatnonzero(scopes == scope)
            if not index.size or group.flow == len(group.ids):
                continue
            at = slots[index]
            n = self._rows[at]
            crossings += group.end(
                Segments(
                    at,
                    scopes[index],
                    self._pos[at],
                    n,
                    n,
                    none[index],
                    none[index],
                    none[index],
                    self._scope_from[at],
                    self._first_row[at],
                    n,
                    order[index],
                )
            )
        return crossings

    def _fired(self, crossings: list[Crossing]) -> list[Firing]:
        """Each rule fires once in a slot: the earliest crossing of its atom."""
        if not crossings:
            return []
        firings: list[Firing] = []
        done: set[tuple[int, int]] = set()
        crossings.sort(key=lambda c: (c.order, c.position, c.ended, c.atom))
        for crossing in crossings:
            if (crossing.slot, crossing.atom) not in done:
                done.add((crossing.slot, crossing.atom))
                firings += (Firing(rule, crossing) for rule in self._rules[crossing.atom])
                self._retire(crossing.slot, crossing.atom)
        return firings

    def _retire(self, slot: int, atom: int) -> None:
        for group in self._groups.values():
            if atom in group.ids:
                group.live[slot, group.ids.index(atom)] = False

    def _grow(self) -> None:
        old, self._slots = self._slots, self._slots * 2
        for group in self._groups.values():
            group.grow(self._slots)
        for name in ("_pos", "_scope", "_scope_from", "_first_row", "_rows"):
            setattr(self, name, np.concatenate([getattr(self, name)] * 2))
        self._free.extend(range(self._slots - 1, old - 1, -1))
