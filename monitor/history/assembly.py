"""Records become requests again: the tokens of each in the order of its sequence, whole or marked as not.

It owns what is open between two chunks, and can write that down as records and take it up again. It decides nothing
about a request, and counts every token that it can attach to none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import SEGMENTS, Codes
from dosimeter.monitor.history.chunk import (
    MAX_RECORD,
    Bank,
    Ended,
    Fired,
    Lost,
    Opened,
    ProgramText,
    Record,
    Rows,
)

Ints = npt.NDArray[np.int64]
STALE_NS = 3_600_000_000_000
"""After an hour without a word a request is over: its end was lost."""
PIECE_ROWS, PIECE_BYTES = 1 << 14, MAX_RECORD // 2
"""Of codes in one record that `records` makes, whichever is less."""


@dataclass(slots=True, eq=False)
class Request:
    """One request, open or over.

    segments  SEGMENTS [S], rising; what lies between two of them was not scored, or was lost
    codes     int16 [T, F]
    whole     nothing of it is known to be missing
    heard_ns  wall clock of the last chunk that held something of it: first_ns and last_ns are of the server's clock
    """

    opened: Opened
    bank: Bank
    heard_ns: int
    first_ns: int = 0
    last_ns: int = 0
    fired: list[Fired] = field(default_factory=list)
    whole: bool = True
    ended: Ended | None = None
    _segments: list[npt.NDArray[np.void]] = field(default_factory=list)
    _codes: list[Codes] = field(default_factory=list)
    _next: int = 0  # position behind the furthest token

    @property
    def epoch(self) -> int:
        return self.opened.epoch

    @property
    def key(self) -> int:
        return self.opened.key

    @property
    def segments(self) -> npt.NDArray[np.void]:
        """Neighbours that continue each other are one."""
        if len(self._segments) != 1:
            self._segments = [np.concatenate([np.empty(0, SEGMENTS), *self._segments])]
        found = self._segments[0]
        if len(found) > 1:
            apart = found["start"][1:] != (found["start"] + found["n"])[:-1]
            apart |= found["scope"][1:] != found["scope"][:-1]
            first = np.flatnonzero(np.concatenate([[True], apart]))
            merged = found[first]
            merged["n"] = np.add.reduceat(found["n"], first)
            self._segments = [merged]
        return self._segments[0]

    @property
    def codes(self) -> Codes:
        if len(self._codes) != 1:
            none = np.empty((0, len(self.bank.columns)), np.int16)
            self._codes = [np.concatenate([none, *self._codes])]
        return self._codes[0]

    def add(self, segments: npt.NDArray[np.void], codes: Codes, times: tuple[int, int]) -> int:
        """Tokens beyond the furthest one; returns how many were not."""
        starts, ends = segments["start"], segments["start"] + segments["n"]
        below = np.concatenate([[self._next], ends[:-1]])
        if (starts < below).any():
            fresh = _fresh(segments, self._next)
            segments, codes, refused = segments[fresh[0]], codes[fresh[1]], int((~fresh[1]).sum())
            self.whole = False
        else:
            refused = 0
        if len(codes):
            self._segments.append(segments.copy())
            self._codes.append(codes.copy())  # its own: a view would keep the whole chunk
            self.first_ns = self.first_ns or times[0]
            self.last_ns = times[1]
            self._next = int(segments["start"][-1] + segments["n"][-1])
        return refused


def _fresh(
    segments: npt.NDArray[np.void], at: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(segments, rows) that lie behind everything before them; one that overlaps is not taken at all."""
    taken = np.zeros(len(segments), bool)
    for index, (start, n) in enumerate(zip(segments["start"], segments["n"], strict=True)):
        if start >= at:
            taken[index], at = True, int(start + n)
    return taken, np.repeat(taken, segments["n"])


class Assembly:
    """Requests that are open. counts: what could be attached to none, by name."""

    def __init__(self) -> None:
        self.open: dict[tuple[int, int], Request] = {}
        self.banks: dict[str, Bank] = {}
        self.programs: dict[str, ProgramText] = {}
        self.counts: Counter[str] = Counter()
        self._waiting: dict[tuple[int, int], list[Rows]] = {}  # (epoch, columns) -> rows

    def take(self, records: Iterable[Record], now_ns: int | None = None) -> list[Request]:
        """Everything a chunk holds; returns the requests that are over, in the order of their ends.

        now_ns: wall clock of the chunk; None: each request says itself when it was heard, as `records` has it.
        """
        over: list[Request] = []
        for record in records:
            if isinstance(record, Rows):
                at = record.epoch, record.codes.shape[1]
                self._waiting.setdefault(at, []).append(record)
            elif isinstance(record, Bank):
                self.banks[record.digest] = record
            elif isinstance(record, ProgramText):
                self.programs[record.digest] = record
            elif isinstance(record, Opened):
                over += self._begin(record, now_ns)
            elif isinstance(record, Fired):
                if (found := self.open.get((record.epoch, record.key))) is not None:
                    found.fired.append(record)
                else:
                    self.counts["hits_unknown"] += 1
            elif isinstance(record, Lost):
                self.counts["tokens_lost"] += record.rows
                self._mark(record.epoch, record.keys)
            elif isinstance(record, Ended):
                found = self.open.get((record.epoch, record.key))
                if found is not None and found.ended is None:
                    found.ended = record
                    over.append(found)
        self._attach(now_ns)
        for request in over:
            at = request.epoch, request.key
            if self.open.get(at) is request:  # not the one that goes on in its place
                del self.open[at]
        return over

    def break_off(self) -> None:
        """Something of the stream is missing: whatever is open may have lost tokens."""
        for request in self.open.values():
            request.whole = False

    def stale(self, now_ns: int) -> list[Request]:
        """Requests of which nothing was heard for long, no longer open; now_ns: wall clock of the chunk."""
        limit = now_ns - STALE_NS
        gone = [request for request in self.open.values() if request.heard_ns < limit]
        for request in gone:
            request.whole = False
            del self.open[request.epoch, request.key]
        return gone

    def records(self) -> Iterator[Record]:
        """What is open, as records that `take` makes the same of."""
        for request in self.open.values():
            yield request.bank
            if (program := self.programs.get(request.opened.program)) is not None:
                yield program
            yield replace(request.opened, whole=request.whole, time_ns=request.heard_ns)
            yield from request.fired
            yield from _rows(request)

    def forget(self) -> None:
        """Banks and programs that no open request has; a chunk names its own again."""
        banks = {request.opened.bank for request in self.open.values()}
        programs = {request.opened.program for request in self.open.values()}
        self.banks = {name: bank for name, bank in self.banks.items() if name in banks}
        self.programs = {name: one for name, one in self.programs.items() if name in programs}

    def _begin(self, opened: Opened, now_ns: int | None) -> list[Request]:
        """The request as it was so far is over where it was open: the bank changed, or our sidecar came back."""
        at = opened.epoch, opened.key
        bank = self.banks.get(opened.bank)
        if bank is None:
            self.counts["requests_unknown"] += 1
            return []
        heard_ns = opened.time_ns if now_ns is None else now_ns
        before = self.open.get(at)
        if before is None:
            self.open[at] = Request(opened, bank, heard_ns, whole=opened.whole)
            return []
        if before.ended is not None:  # its key came twice: keys are never given again
            self.counts["requests_unknown"] += 1
            return []
        if before.opened.bank == opened.bank and before.opened.program == opened.program:
            before.whole, before.heard_ns = False, heard_ns
            return []
        self._attach(now_ns)
        before.whole = False
        self.open[at] = Request(opened, bank, heard_ns, whole=False)
        return [before]

    def _mark(self, epoch: int, keys: tuple[int, ...]) -> None:
        for key in keys:
            if (found := self.open.get((epoch, key))) is not None:
                found.whole = False
        if not keys:
            for request in self.open.values():
                request.whole &= request.epoch != epoch

    def _attach(self, now_ns: int | None) -> None:
        """Give the rows that wait to their requests, all of one request at once."""
        for (epoch, columns), rows in self._waiting.items():
            segments = np.concatenate([one.segments for one in rows])
            codes = np.concatenate([one.codes for one in rows])
            times = np.repeat([one.time_ns for one in rows], [len(one.segments) for one in rows])
            for key, part, mine, seen in _by_key(segments, codes, times):
                request = self.open.get((epoch, key))
                if request is None or len(request.bank.columns) != columns:
                    self.counts["tokens_unknown"] += len(mine)
                else:
                    self.counts["tokens_unknown"] += request.add(part, mine, seen)
                    request.heard_ns = request.heard_ns if now_ns is None else now_ns
        self._waiting.clear()


def _by_key(
    segments: npt.NDArray[np.void], codes: Codes, times: Ints
) -> Iterator[tuple[int, npt.NDArray[np.void], Codes, tuple[int, int]]]:
    """(key, its segments, their codes, its first and last time), in the order in which they came."""
    scored = segments["n"] > 0
    rows = (np.cumsum(segments["n"]) - segments["n"])[scored]
    segments, times = segments[scored], times[scored]
    if not len(segments):
        return
    order = np.argsort(segments["key"], kind="stable")
    segments, times, rows = segments[order], times[order], rows[order]
    ns = segments["n"]
    ends = np.cumsum(ns)
    sorted_codes = codes[np.repeat(rows - (ends - ns), ns) + np.arange(len(codes))]
    edges = np.flatnonzero(np.diff(segments["key"]) != 0) + 1
    for low, high in zip([0, *edges.tolist()], [*edges.tolist(), len(segments)], strict=True):
        first, last = int(ends[low] - ns[low]), int(ends[high - 1])
        seen = int(times[low]), int(times[high - 1])
        yield int(segments["key"][low]), segments[low:high], sorted_codes[first:last], seen


def _rows(request: Request) -> Iterator[Rows]:
    """Its tokens in pieces; the first and the last say when these came."""
    segments, codes = request.segments, request.codes
    piece = min(PIECE_ROWS, PIECE_BYTES // (2 * codes.shape[1]))
    cuts = sorted({*range(0, len(codes), piece), max(0, len(codes) - 1), len(codes)})
    for low, high in pairwise(cuts):
        time_ns = request.last_ns if high == len(codes) else request.first_ns
        yield Rows(request.epoch, time_ns, cut(segments, low, high), codes[low:high])


def cut(segments: npt.NDArray[np.void], low: int, high: int) -> npt.NDArray[np.void]:
    """The segments of rows low up to high."""
    ends = np.cumsum(segments["n"])
    before = ends - segments["n"]
    touched = (ends > low) & (before < high)
    found: npt.NDArray[np.void] = segments[touched].copy()
    skipped = np.maximum(low - before[touched], 0)
    found["start"] += skipped
    found["n"] = np.minimum(ends[touched], high) - before[touched] - skipped
    return found
