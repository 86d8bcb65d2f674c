"""What a kernel returns: which rule fired, where, and on what values."""

from __future__ import annotations

from typing import NamedTuple


class Met(NamedTuple):
    """A condition of a rule as it was last true."""

    clause: int  # index into the rule's clauses
    atom: int  # index into the program's atoms
    position: int  # the deciding token
    start: int  # the span that satisfied the shape: from here up to the deciding token
    value_sum: (
        int  # the statistic is value_sum / value_n, in codes; of `share` the share of the tokens
    )
    value_n: int
    scored: int  # tokens of this scope with a code in the atom's column, up to the deciding one
    unscored: int


class Firing(NamedTuple):
    """A rule's condition became true for a slot."""

    order: int  # of the segment in the frame
    position: int  # of the token that decided
    ended: bool  # decided because the scope ended
    rule: int  # index into the program's rules
    slot: int
    met: tuple[Met, ...]  # one for each clause that had to be true, in their order
