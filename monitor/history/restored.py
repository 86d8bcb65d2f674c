"""A ledger that was put back from a backup: how it is found out, and what every sink is owed then.

Each writer of a ledger notes with the first alert that it accepts a random name and the position behind which it
writes. A cursor further on than that stands on alerts that this ledger never had: up to the position both are the same,
and what follows is new to every sink. It knows nothing of lanes, and how a cursor is moved.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

OPENINGS = "openings"
"""In the ledger's `meta`."""
KEPT = 256


@dataclass(frozen=True, slots=True)
class Opening:
    """after: the last position before the first alert of this writer."""

    name: str
    after: int


def read_openings(text: str | None) -> list[Opening]:
    """Of a ledger's `meta`; none of one that an earlier release has written."""
    return [Opening(str(name), int(after)) for name, after in json.loads(text or "[]")]


def write_openings(openings: Iterable[Opening]) -> str:
    return json.dumps([[one.name, one.after] for one in openings])


def with_opening(text: str | None, opening: Opening) -> str:
    """Those before it that wrote nothing say nothing any more."""
    found = [one for one in read_openings(text) if one.after < opening.after]
    return write_openings([*found, opening][-KEPT:])


def same_until(openings: Sequence[Opening], known: Collection[str]) -> int | None:
    """Up to where the ledger is what it was when the known writers were noted; None: nobody new has written."""
    if len(openings) >= KEPT and known and not any(one.name in known for one in openings):
        return 0  # who wrote first of those that are new is not known any more
    return min((one.after for one in openings if one.name not in known), default=None)


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done about it. after: what follows is sent. sinks: where each stood that stood further on."""

    after: int
    sinks: dict[str, int]
    at_ns: int

    def __str__(self) -> str:
        stood = ", ".join(f"`{name}` at {cursor}" for name, cursor in self.sinks.items())
        return (
            f"the ledger was put back from a backup: {stood}, and it is the same only up to {self.after}\n"
            "  hint: what was accepted since is sent now; what the backup lacks is where it had been sent to"
        )
