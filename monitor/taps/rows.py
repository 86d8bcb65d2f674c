"""Rows of a step: as a row map names them, and as they go out. Nothing here knows a server."""

from __future__ import annotations

from dataclasses import dataclass

from dosimeter.detectors.frames import ROW_FIRST
from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.score_cache import Ids


@dataclass(frozen=True, slots=True)
class Rows:
    """n consecutive positions of one request, in the order the server packed them.

    ids   the request's token ids, where the server may take a prefix of them from its cache; else None
    salt  what its scores depend on beside tokens and model, as the server's own cache is keyed
    """

    request: Request
    start: int
    n: int
    ids: Ids | None = None
    salt: bytes = b""


@dataclass(slots=True)
class Entry:
    """Rows of a step on their way out.

    new      how many of them were not seen before
    skipped  positions right before them that no step is known to have run
    """

    request: Request
    start: int
    n: int
    new: int
    flags: int
    skipped: int = 0


def entered(row: Rows) -> Entry:
    """Note the rows in their request."""
    skipped = row.start - row.request.next_position
    new, first = row.request.advance(row.start, row.n)
    flags = ROW_FIRST if first else 0
    return Entry(row.request, row.start, row.n, new, flags, skipped if skipped > 0 else 0)
