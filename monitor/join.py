"""Control records and rows become ScoreFrames: every row finds its request and its scope.

One `Join` for one server process (epoch). It owns the live requests, which positions of each
arrived, and the account of each that ends; it never learns what a score means. Rows are taken in
the order of positions: what lies below the furthest one seen was taken before or is a gap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import (
    CODE_UNSCORED,
    SEGMENTS,
    Codes,
    Scope,
    ScoreFrame,
    StepFrame,
)
from dosimeter.monitor.calls import Calls
from dosimeter.monitor.coverage import Account, Positions, settle
from dosimeter.monitor.evidence import KEPT, FollowUp, Ints
from dosimeter.monitor.records import Close, Open, Usage
from dosimeter.monitor.slots import Slots
from dosimeter.monitor.taps.wire import COUNTER_LIMIT, WireError
from dosimeter.monitor.waiting import Waiting

MAX_LIVE = 1 << 16
MAX_RECENT = 1 << 30
"""Bytes of last codes kept for all live requests; of a bank of many columns fewer can be live."""
MAX_HOLES = 4096
"""Holes in what arrived of one request; with more of them it is followed no further, and comes up short."""
REMEMBERED = 4096
"""Closed keys kept, so that a late row is known to be one."""


@dataclass(slots=True, eq=False)
class Request:
    """One live request."""

    opened: Open
    slot: int
    role: str  # whose connection announced it
    loss_reason: str | None  # why sent rows may have been lost on the way; None: they may not
    positions: Positions = field(default_factory=Positions)
    announced: int = 0  # the connect of its role at which it was last named
    follow_ups: list[FollowUp] = field(default_factory=list)

    @property
    def key(self) -> int:
        return self.opened.key


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that is over. request: None if its OPEN never came."""

    request: Request | None
    account: Account


class Join:
    """Requests and coverage of one server process.

    features  columns of its codes
    account   totals of this epoch that an earlier sidecar process has stored, if any
    """

    def __init__(self, features: int, account: Account | None) -> None:
        self.features = features
        self.returned = account is not None
        self.account = account or Account()
        self.live: dict[int, Request] = {}
        self.slots = Slots(features)
        self.waiting = Waiting()
        self.late_rows = 0  # of closed requests
        self.excess = 0  # tokens counted here beyond the server's own total; must be 0
        self.calls = Calls()
        self.restated = 0  # tokens that a front counted beyond the tap's CLOSE records
        self._closed: OrderedDict[int, None] = OrderedDict()
        self._connects: dict[str, int] = {}  # role -> how often it connected
        self._unsettled: set[str] = set()  # roles that connected and have not finished announcing
        self.stated: dict[str, Mapping[str, int]] = {}  # role -> its counters as of last

    def rebind(self, features: int) -> None:
        """The tap scores other columns from now on; what was kept of the old ones is of no use."""
        if len(self.live) > _most_live(features):
            raise WireError(f"{features} columns are too many for {len(self.live)} open requests")
        self.features = features
        self.slots.rebind(features)
        self.waiting.clear()

    # --- control

    def connect(self, role: str) -> None:
        """A HELLO on a new connection: everything alive will be named again, then rows follow."""
        self._connects[role] = self._times(role) + 1
        self._unsettled.add(role)
        for request in self.live.values():
            if request.role == role and request.loss_reason is None:
                request.loss_reason = "dropped"

    def open(self, record: Open, role: str) -> list[ScoreFrame]:
        """A request begins; returns its rows that came before. Named again, it keeps its state."""
        known = self.live.get(record.key)
        if known is not None:
            known.announced = self._times(role)
            return []
        if record.key in self._closed:
            return []
        if len(self.live) >= _most_live(self.features):
            raise WireError(f"more than {len(self.live)} requests are open")
        slot = self.slots.take(record.key, record.prompt_len)
        loss = "sidecar_restart" if record.again else None
        self.live[record.key] = Request(record, slot, role, loss, announced=self._times(role))
        early = self.waiting.take(record.key)
        found = (self.step(frame, paused=paused) for frame, paused in early)
        return [joined for joined in found if joined is not None]

    def close(self, record: Close) -> Ended | None:
        """A request ends: its account enters the totals. None for a key that has ended before."""
        if record.key in self._closed:
            return None
        self.waiting.drop(record.key)
        request = self.live.get(record.key)
        settled = partial(
            settle,
            self.positions(request) if request is not None else Positions(),
            emitted=record.emitted,
            cached=record.cached,
            errors=record.errors,
            # A CLOSE without an OPEN: its rows, if any were sent, went to a process before us.
            loss_reason="sidecar_restart" if request is None else request.loss_reason,
            reused=record.reused,
        )
        account = settled(served=record.served, source=record.served_source)
        self.account.add(account)
        self._forget(record.key)
        if request is not None and request.opened.call:
            self._restate(self.calls.closed(request.opened.call, account, settled))
        return Ended(request, account)

    def usage(self, record: Usage) -> None:
        """A front counted a call: its requests are held against that instead of the tap's own count."""
        self._restate(self.calls.counted(record))

    def _restate(self, changes: Sequence[tuple[Account, Account]]) -> None:
        for before, after in changes:
            self.account.add(before, -1)
            self.account.add(after)
            self.restated += after.served - before.served

    def counters(self, role: str, counters: Mapping[str, int]) -> list[Request]:
        """Compare with the speaker's own totals, at a STEP or BEAT: no record is queued then.

        What its closed requests served beyond what we have in our totals belongs to requests whose
        CLOSE we never saw. Returns live requests that it no longer names: they are over.
        """
        stated = {**self.stated, role: counters}
        served = sum(one["served_closed"] for one in stated.values())
        requests = sum(one["requests_closed"] for one in stated.values())
        if max(served, requests) >= COUNTER_LIMIT:
            raise WireError(f"the counters of {len(stated)} roles add up beyond their range")
        self.stated = stated
        orphans: list[Request] = []
        if role in self._unsettled:
            self._unsettled.discard(role)
            orphans = [
                request
                for request in self.live.values()
                if request.role == role and request.announced < self._times(role)
            ]
            for request in orphans:
                self._forget(request.key)
        missing = served + self.restated - self.account.served
        self.excess = max(0, -missing)
        if missing > 0:
            closes = max(0, requests - self.account.requests)
            unscored, by = {self._lost_close(role): missing}, {"counters": missing}
            self.account.add(Account(missing, 0, unscored, 0, closes, by))
        return orphans

    def abandon(self) -> list[Request]:
        """The server is gone for good: everything alive is over, and no count tells of it."""
        gone = list(self.live.values())
        for request in gone:
            self._forget(request.key)
        return gone

    def positions(self, request: Request) -> Positions:
        request.positions.next = int(self.slots.next[request.slot])
        return request.positions

    # --- rows

    def step(self, frame: StepFrame, *, paused: bool = False) -> ScoreFrame | None:
        """The frame's rows with their scopes, or None if nothing of it is new.

        paused: nobody is to look at its scores; the rules then meet tokens without one, as wherever a score is missing.
        The next token of an answer is the usual row: all of those are taken at once, and stand first.
        The others are taken one by one, and a prompt is cut where its scope changes.
        """
        rows, codes = frame.rows, frame.codes
        if paused:
            codes = np.full_like(codes, CODE_UNSCORED)
        keys = rows["key"].tolist()
        slots = self.slots.of(keys)
        starts, n = rows["start"].astype(np.int64), rows["n"].astype(np.int64)
        ends = np.cumsum(n)
        usual = (n == 1) & (slots >= 0) & (starts == self.slots.next[slots])
        usual &= starts >= self.slots.prompt[slots]
        if not paused and codes.size and codes.min() == CODE_UNSCORED:
            usual &= ~(codes == CODE_UNSCORED).all(axis=1)[ends - 1]
        if len(set(keys)) < len(keys):
            usual[:] = False
        segments, parts = [], []
        if usual.any():
            taken = codes if len(codes) == usual.sum() else codes[ends[usual] - 1]
            segments.append(self._decode(rows["key"][usual], slots[usual], starts[usual], taken))
            parts.append(taken)
            if paused:
                for key, at in zip(
                    rows["key"][usual].tolist(), starts[usual].tolist(), strict=True
                ):
                    self.live[key].positions.unscored(at, at + 1, paused=True)
        for i in np.flatnonzero(~usual).tolist():
            part = codes[ends[i] - n[i] : ends[i]]
            pieces = list(self._take(keys[i], rows[i], part, frame, paused=paused))
            if pieces:
                segments.append(np.array([piece[:4] for piece in pieces], SEGMENTS))
                parts += [piece[4] for piece in pieces]
        if not parts:
            return None
        if len(parts) == 1:
            return ScoreFrame(segments[0], parts[0], frame.hook_ns, frame.time_ns)
        joined = np.concatenate(parts)
        return ScoreFrame(np.concatenate(segments), joined, frame.hook_ns, frame.time_ns)

    def _decode(
        self, keys: npt.NDArray[np.uint64], slots: Ints, starts: Ints, codes: Codes
    ) -> npt.NDArray[np.void]:
        """One next token each of many requests, all of the answer, all scored."""
        self.slots.next[slots] += 1
        self.slots.recent.put_tokens(slots, starts, codes)
        segments = np.empty(len(slots), SEGMENTS)
        segments["key"], segments["start"] = keys, starts
        segments["n"], segments["scope"] = 1, int(Scope.ANSWER)
        return segments

    def _take(
        self,
        key: int,
        row: npt.NDArray[np.void],
        codes: Codes,
        frame: StepFrame,
        *,
        paused: bool,
    ) -> Iterator[tuple[int, int, int, int, Codes]]:
        """One row entry -> (key, start, n, scope, codes) for what is new of it."""
        request = self.live.get(key)
        if request is None:
            if key in self._closed:
                self.late_rows += len(codes)
            else:
                self.waiting.add(key, row, codes, frame, paused=paused)
            return
        slot, start, end = request.slot, int(row["start"]), int(row["start"]) + len(codes)
        at = int(self.slots.next[slot])
        if end <= at or not len(codes):
            return
        if request.positions.holes >= MAX_HOLES:
            return
        if start > at:
            request.positions.gaps.append((at, start))
            self.slots.recent.skip(slot, at, start)
        codes, start = codes[max(0, at - start) :], max(at, start)
        self.slots.next[slot] = end
        self.slots.recent.put_run(slot, start, codes)
        for lost in _ranges((codes == CODE_UNSCORED).all(axis=1), start):
            request.positions.unscored(*lost, paused=paused)
        spans = request.opened.spans
        for index in range(bisect_right(spans, start, key=_end), len(spans)):
            scope, low, high = spans[index]
            low, high = max(low, start), min(high, end)
            if low >= high:
                break
            yield key, low, high - low, scope, codes[low - start : high - start]
        low = max(start, request.opened.prompt_len)
        if low < end:
            yield key, low, end - low, int(Scope.ANSWER), codes[low - start :]

    def _forget(self, key: int) -> None:
        request = self.live.pop(key, None)
        if request is not None:
            self.positions(request)
            self.slots.release(key)
        self._closed[key] = None
        if len(self._closed) > REMEMBERED:
            self._closed.popitem(last=False)

    def _times(self, role: str) -> int:
        return self._connects.get(role, 0)

    def _lost_close(self, role: str) -> str:
        """Why a CLOSE of this role never came to this process."""
        if self.returned:
            return "sidecar_restart"
        return "no_sidecar" if self._times(role) <= 1 else "dropped"


def _most_live(features: int) -> int:
    """A power of two, as the slots grow by doubling."""
    room = MAX_RECENT // (2 * KEPT * max(1, features))
    return min(MAX_LIVE, 1 << room.bit_length() - 1)


def _end(span: tuple[int, int, int]) -> int:
    return span[2]


def _ranges(marked: npt.NDArray[np.bool_], start: int) -> list[tuple[int, int]]:
    """Half open ranges of the marked rows; row 0 is position `start`."""
    if not marked.any():
        return []
    edges = np.flatnonzero(np.diff(marked, prepend=False, append=False)) + start
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
