"""Rows of a step: as a row map names them, and as they go out. Nothing here knows a server.

Lists side by side and no object for each: a step of a busy server has hundreds of requests, of one row each, and the
server waits while they are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import ROW_FIRST, ROW_REUSED, ROWS
from dosimeter.monitor.taps.requests import Request


@dataclass(slots=True, eq=False)
class Rows:
    """Of each of `requests` n consecutive positions from `start` on, in the order the server packed them.

    A request stands in a step once.
    """

    requests: list[Request] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    n: list[int] = field(default_factory=list)

    def add(self, request: Request, start: int, n: int) -> None:
        self.requests.append(request)
        self.start.append(start)
        self.n.append(n)

    def __len__(self) -> int:
        """Requests."""
        return len(self.requests)

    def __iter__(self) -> Iterator[tuple[Request, int, int]]:
        return zip(self.requests, self.start, self.n, strict=True)

    @property
    def total(self) -> int:
        """Rows of all of them, T."""
        return sum(self.n)


@dataclass(slots=True, eq=False)
class Entries(Rows):
    """Rows on their way out.

    new      of each, how many were not seen before
    flags    of each, as the wire has them
    skipped  of each, positions right before them that no step is known to have run
    """

    new: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)

    def enter(
        self, request: Request, start: int, n: int, new: int, flags: int = 0, skipped: int = 0
    ) -> None:
        self.add(request, start, n)
        self.new.append(new)
        self.flags.append(flags)
        self.skipped.append(skipped)

    def only(self, kept: Sequence[bool]) -> Entries:
        names = ("requests", "start", "n", "new", "flags", "skipped")
        return Entries(*(list(compress(getattr(self, name), kept)) for name in names))

    def table(self) -> npt.NDArray[np.void]:
        """ROWS [R], as they are sent."""
        table = np.zeros(len(self), ROWS)
        table["key"] = [request.key for request in self.requests]
        table["start"], table["n"], table["flags"] = self.start, self.n, self.flags
        if any(self.flags):
            for index, (request, flags) in enumerate(zip(self.requests, self.flags, strict=True)):
                table["cached"][index] = request.cached if flags & ROW_FIRST else 0
        return table

    def charge(self, taken: int, reason: str) -> None:
        """So many of the leading rows went out; the others did not, for `reason`."""
        if taken >= self.total and not any(self.flags):  # as most steps
            for request, new in zip(self.requests, self.new, strict=True):
                request.emitted += new
            return
        for request, n, new, flags in zip(self.requests, self.n, self.new, self.flags, strict=True):
            kept = min(n, max(0, taken))
            taken -= n
            lost = min(new, n - kept)
            request.emitted += new - lost
            request.miss(reason, lost)
            if flags & ROW_REUSED:
                request.reused += new - lost

    def charge_lost(self, lost_s: float) -> None:
        """A step whose rows had no name, at that time, may have run what a request passed over: no cache held it."""
        if not any(self.skipped):
            return
        for request, skipped in zip(self.requests, self.skipped, strict=True):
            if skipped and request.opened_s <= lost_s:
                ran = min(skipped, request.cached)  # of the rest the scores were known
                request.cached -= ran
                request.miss("tap_error", ran)


def entered(
    rows: Rows, failed: Callable[[Request, int, int, Exception], None]
) -> tuple[Entries, list[bool] | None]:
    """Note the rows in their requests; those that could be, and which of the step's they are. None: all.

    failed: told of a request that our bookkeeping fails on, and of its rows. It costs the others nothing.
    """
    out = Entries(rows.requests, rows.start, rows.n, [*rows.n], [0] * len(rows), [0] * len(rows))
    ill: set[int] = set()
    for index, (request, start, n) in enumerate(rows):
        try:
            if start and start == request.next_position:  # it goes on, as most rows do
                request.next_position = start + n
                continue
            skipped = start - request.next_position
            out.new[index], first = request.advance(start, n)
            out.flags[index] = ROW_FIRST if first else 0
            out.skipped[index] = max(0, skipped)
        except Exception as error:
            ill.add(index)
            failed(request, start, n, error)
    if not ill:
        return out, None
    kept = [index not in ill for index in range(len(rows))]
    return out.only(kept), kept
