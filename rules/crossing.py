"""What a kernel returns: which condition became true, where, and on what value."""

from __future__ import annotations

from typing import NamedTuple


class Crossing(NamedTuple):
    """An atom became true for a slot, for the first time."""

    order: int  # of the segment in the frame
    position: int  # the deciding token
    ended: bool  # decided because the scope ended
    atom: int  # index into the program's atoms
    slot: int
    start: int  # the span that satisfied the shape, half open
    end: int
    value_sum: int  # the statistic is value_sum / value_n, in codes
    value_n: int
    scored: int  # tokens of this scope with a code in the atom's column, up to the deciding one
    unscored: int


class Firing(NamedTuple):
    """A rule's condition became true for a slot, for the first time."""

    rule: int  # index into the program's rules
    crossing: Crossing
