"""Evidence that may still grow: the line writes it at the decision, and once more when the tokens after it have come.

It owns the list of alerts whose evidence was given as it stood at the decision, and its bounds. It knows no ledger.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from dosimeter.monitor.feed.items import Evidence

PATIENCE_NS = 600 * 10**9
"""After its commit; an answer that stops without a word is never completed."""
MOST = 2_000
"""Alerts waited for at once. In a flood the oldest are completed with what there is."""

Waiting = tuple[str, int, int]
"""Event id, time of the commit, checksum of the body that was given."""


def may_grow(kind: object, committed_ns: int, now_ns: int) -> bool:
    """Only hits on tokens have evidence."""
    return kind == "alert" and now_ns - committed_ns < PATIENCE_NS


class Growing:
    def __init__(self, source: str, waiting: Sequence[Sequence[int | str]] = ()) -> None:
        self._source = source
        self._waiting: list[Waiting] = [(str(e), int(ns), int(crc)) for e, ns, crc in waiting]

    def state(self) -> list[list[int | str]]:
        return [list(one) for one in self._waiting]

    def expect(self, event_id: str, committed_ns: int, given: bytes | None) -> None:
        self._waiting.append((event_id, committed_ns, _mark(given)))

    def look(self, read: Callable[[str], bytes | None], now_ns: int) -> list[Evidence]:
        """What is complete by now, or is taken to be, each once. read: the evidence of an alert as it is now."""
        done: list[Evidence] = []
        kept: list[Waiting] = []
        surplus = len(self._waiting) - MOST
        for n, (event_id, committed_ns, mark) in enumerate(self._waiting):
            body = read(event_id)
            late = now_ns - committed_ns >= PATIENCE_NS or n < surplus
            if body is not None and (late or _mark(body) != mark):
                done.append(Evidence(self._source, event_id, body))
            elif not late:
                kept.append((event_id, committed_ns, mark))
        self._waiting = kept
        return done


def _mark(body: bytes | None) -> int:
    return -1 if body is None else zlib.crc32(body)
