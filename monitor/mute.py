"""Connections that were opened and never greeted: held by the dozen, they would keep every server out.

A tap greets in the moment it connects. Time is passed in; what becomes of those that are overdue is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

GREETS_WITHIN_NS = 5_000_000_000


class Speaker(Protocol):
    """What is asked of a connection."""

    number: int
    role: str | None


S = TypeVar("S", bound=Speaker)


class Mute:
    """Remembers since when each has said nothing."""

    def __init__(self) -> None:
        self._since: dict[int, int] = {}

    def overdue(self, connections: Iterable[S], now_ns: int) -> list[S]:
        mute = [one for one in connections if one.role is None]
        self._since = {one.number: self._since.get(one.number, now_ns) for one in mute}
        return [one for one in mute if now_ns - self._since[one.number] > GREETS_WITHIN_NS]
