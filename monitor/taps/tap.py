"""One step of the server, seen: run its forward, read the scores, hand them on with their requests.

The tap never lets an error of its own reach the server: a failed step is counted for the requests in it,
several in a row open a breaker, and the breaker closes again only after the op passed its self-test. It
knows nothing of any server: a row map says which rows belong to which request.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from dosimeter.monitor.taps.capture_steps import Place
from dosimeter.monitor.taps.probe_op import Array, ReadOut
from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.reuse import with_reused
from dosimeter.monitor.taps.rows import Entries, Rows, entered
from dosimeter.monitor.taps.score_cache import ScoreCache
from dosimeter.monitor.taps.score_tails import Values

R = TypeVar("R")

ASK_S = 1.0
"""How often a tap asks whether the model is still the one it was put on."""


class RowMap(Protocol):
    """What a server must tell: about 30 lines each. Called before the forward, on the server's thread.

    Returns the rows of real requests in packing order, and, where real rows do not come first in the
    step's output, the index of each row.
    """

    def __call__(self) -> tuple[Rows, npt.NDArray[np.int64] | None]: ...


class Sink(Protocol):
    """Takes the rows of a step and never blocks. values: [T, F], as the tap's `encode` left them.

    Returns how many leading rows it took, and why it did not take the rest.
    """

    def __call__(
        self, rows: npt.NDArray[np.void], values: Values, hook_ns: int, /
    ) -> tuple[int, str | None]: ...


@dataclass(slots=True)
class Breaker:
    """Opens after `limit` failed steps in a row; lets one step try again `pause_s` later."""

    limit: int = 5
    pause_s: float = 5.0
    failures: int = 0
    retry_at: float = 0.0

    def allows(self, now: float) -> bool:
        return self.failures < self.limit or now >= self.retry_at

    @property
    def is_open(self) -> bool:
        return self.failures >= self.limit

    def failed(self, now: float) -> None:
        self.failures += 1
        self.retry_at = now + self.pause_s

    def passed(self) -> None:
        self.failures = 0


@dataclass(eq=False, slots=True)
class Step:
    """One forward of the server, from before it to after it. armed: the op reads it."""

    rows: Rows
    select: npt.NDArray[np.int64] | None
    armed: bool
    reason: str = "tap_error"  # why its rows have no scores, if they have none


@dataclass(eq=False, slots=True)
class Held:
    """Rows of a step and their scores, float32 [T, F]; None where they could not be read, for `reason`.

    era: how many times other packs had been taken over by then.
    """

    rows: Rows
    scores: Array | None
    reason: str
    era: int


@dataclass(frozen=True, slots=True)
class Replacement:
    """Other packs for a tap that runs. take: puts them in the op's place and says so; a second call does no harm."""

    take: Callable[[], None]
    self_test: Callable[[], None]


class Tap:
    """Scores every step of one model: one at a time, and a second one meanwhile is counted, not read."""

    def __init__(
        self,
        op: ReadOut,
        sink: Sink,
        self_test: Callable[[], None] = lambda: None,
        on_state: Callable[[str | None], None] = lambda reason: None,
        breaker: Breaker | None = None,
        on_unread: Callable[[int], None] = lambda rows: None,
        encode: Callable[[Array], Values] = lambda scores: scores,
        cache: ScoreCache | None = None,
        changed: Callable[[], str | None] = lambda: None,
        on_error: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        """self_test: raises if the op is wrong; on_state: told why the breaker opened, None when it closes.

        on_unread: told how many rows of a step the server ran and nothing was read of. Must not block.
        encode: scores, float32 [T, F], as the sink and the cache take them.
        changed: why the model is not any more the one that may be read; None: it is. Asked once a second.
        on_error: told of an error that costs one request its rows or its reuse, and no step. Must not block.
        """
        self.op = op
        self._encode = encode
        self.cache = cache
        self._sink = sink
        self._self_test = self_test
        self.on_state = on_state
        self.on_unread = on_unread
        self.on_error = on_error
        self.breaker = breaker or Breaker()
        self.captures: Place | None = (
            None  # only where the server was started with leave to capture
        )
        self.rows_emitted = 0
        self.rows_error = 0
        self._reading = threading.Lock()  # held from begin to end of the step that the op reads
        self._changed = changed
        self._changed_why: str | None = None
        self._ask_at = 0.0
        self._lost_s = -math.inf  # when a step last ran whose rows nobody could name
        self._next: Replacement | None = None
        self._era = 0  # times that other packs were taken over
        self._releasing = threading.Lock()  # held rows go out before other packs come, or never

    def load(self, new: Replacement) -> None:
        """Score with other packs from the next step on that is read; the thread that begins it takes them over.

        So a step is scored by one set of packs, no row is lost for it, and the server waits for a copy, once.
        Any thread may call it; of two before one step, the later holds.
        """
        self._next = new

    def step(self, row_map: RowMap, forward: Callable[[], R]) -> R:
        """Run `forward`, whose exceptions are the server's own and pass through; ours stay here."""
        step = self.begin(row_map)
        try:
            result = forward()
        except BaseException:
            self.abandon(step)
            raise
        self.end(step)
        return result

    def begin(self, row_map: RowMap) -> Step:
        """Before the forward. Every step ends in `end`, or in `abandon` if its forward raised."""
        try:
            rows, select = row_map()
        except Exception as error:
            # Whose rows these were cannot be told: the requests come up short against the server's count.
            self.lost()
            self._failed(error)
            return Step(Rows(), None, False)
        armed = len(rows) > 0 and self._arm()
        if armed and self.captures is not None:
            self.captures.begin(rows, select)
        return Step(rows, select, armed, "model_changed" if self._changed_why else "tap_error")

    def lost(self) -> None:
        """Rows ran now that no request can be charged with: what one misses from before is no prefix of a cache."""
        self._lost_s = time.monotonic()

    def end(self, step: Step) -> None:
        """After the forward."""
        if step.armed and self.captures is not None:
            self.captures.end()
        try:
            self._after(step)
        except Exception as error:
            self.lost()
            self._failed(error)
        finally:
            if step.armed:
                self._reading.release()

    def hold(self, step: Step) -> Held:
        """After a forward whose rows the server may yet take back: its scores, for `release`."""
        scores, era = None, self._era
        self._drop_captured(step, "drafted")
        try:
            if step.armed:
                scores = self.op.read(step.rows.total, step.select)
        except Exception as error:
            self._failed(error)
        finally:
            if step.armed:
                self._reading.release()
        return Held(step.rows, scores, step.reason, era)

    def release(self, held: Held, kept: Sequence[int]) -> None:
        """Hand on what the server kept: of each of the held rows' requests the first so many; it took back the rest."""
        try:
            rows, places, at = Rows(), [np.empty(0, np.int64)], 0
            for (request, start, ran), wanted in zip(held.rows, kept, strict=True):
                n = min(wanted, ran)
                if n > 0:
                    rows.add(request, start, n)
                    places.append(np.arange(at, at + n))
                at += ran
            if not len(rows):
                return
            with self._releasing:
                if held.scores is None or held.era != self._era:
                    reason = held.reason if held.scores is None else "pack_changed"
                    self._hand_on(rows, None, reason)
                else:
                    self._hand_on(rows, held.scores[np.concatenate(places)], held.reason)
        except Exception as error:
            self.lost()
            self._failed(error)

    def abandon(self, step: Step) -> None:
        """The server's own forward raised: its rows were never served."""
        self._drop_captured(step, "not_read")
        if step.armed:
            self._reading.release()
        for request, _, n in step.rows:
            request.undone += n

    def _drop_captured(self, step: Step, why: str) -> None:
        if step.armed and self.captures is not None:
            self.captures.drop(why)

    def _arm(self) -> bool:
        """Whether the op reads this step: not while the breaker is open, nor beside another step."""
        if not self._reading.acquire(blocking=False):
            return False
        armed = False
        try:
            armed = self._ready()
            if armed:
                self.op.begin()
        except Exception as error:
            armed = False
            self._failed(error)
        finally:
            if not armed:
                self._reading.release()
        return armed

    def _ready(self) -> bool:
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask()
            # A model of very many modules takes long to look at: never more than a hundredth of the time.
            self._ask_at = now + max(ASK_S, 100 * (time.monotonic() - now))
        if self._changed_why is not None or not self.breaker.allows(now):
            return False
        if self._next is not None:
            self._take_over(self._next)
        if self.breaker.is_open:
            self._self_test()
        return True

    def _take_over(self, new: Replacement) -> None:
        """No step is being read, and rows of the one before are out. An error leaves it for the next step to do."""
        with self._releasing:
            self._era += 1  # whatever is held is of packs that may be half gone
            new.take()
        self._self_test = new.self_test
        if self._next is new:
            self._next = None

    def _ask(self) -> None:
        why = self._changed()
        if why != self._changed_why:
            self._changed_why = why
            if not self.breaker.is_open:
                self._tell(why)

    def _after(self, step: Step) -> None:
        if not len(step.rows):
            return
        scores = None
        try:
            if step.armed:
                scores = self.op.read(step.rows.total, step.select)
        except Exception as error:
            self._failed(error)
        self._hand_on(step.rows, scores, step.reason)

    def _hand_on(self, rows: Rows, scores: Array | None, reason: str) -> None:
        """Rows that the server ran and kept, and their scores if they were read."""
        entries, noted = entered(rows, self._unnoted)
        if scores is None:
            self._unread(entries, reason)
            return
        try:
            if noted is not None:
                scores = scores[np.repeat(noted, rows.n)]
            values = self._encode(scores)
            if self.cache is not None:
                entries, values = with_reused(self.cache, entries, values, self.on_error)
        except Exception as error:
            self._unread(entries, reason)
            self._failed(error)
            return
        entries.charge_lost(self._lost_s)
        self._emit(entries, values)

    def _passed(self) -> None:
        if self.breaker.failures:
            was_open = self.breaker.is_open
            self.breaker.passed()
            if was_open:
                self._tell(self._changed_why)

    def _unnoted(self, request: Request, start: int, n: int, error: Exception) -> None:
        """Our bookkeeping failed on a request. No breaker opens for it: a client may have a say in what it is."""
        stop = start + n
        request.miss("tap_error", max(0, stop - request.next_position))
        request.next_position = max(stop, request.next_position)  # else the next row finds a gap
        self._count_unread(n)
        self.on_error(error)

    def _emit(self, entries: Entries, values: Values) -> None:
        """Hand over; what the sink did not take is charged to the requests from the end of the step."""
        reason, failure = None, None
        try:
            taken, reason = self._sink(entries.table(), values, time.monotonic_ns())
        except Exception as error:
            taken, failure = 0, error
        entries.charge(taken, reason or "tap_error")
        if failure is None:
            self.rows_emitted += len(values)
            self._passed()
        else:
            self._count_unread(len(values))
            self._failed(failure)

    def _unread(self, entries: Entries, reason: str) -> None:
        for request, new in zip(entries.requests, entries.new, strict=True):
            request.miss(reason, new)
        entries.charge_lost(self._lost_s)
        self._count_unread(entries.total)

    def _count_unread(self, rows: int) -> None:
        self.rows_error += rows
        with contextlib.suppress(Exception):  # as in `_tell`
            self.on_unread(rows)

    def _failed(self, error: Exception) -> None:
        was_open = self.breaker.is_open
        self.breaker.failed(time.monotonic())
        if self.breaker.is_open and not was_open:
            self._tell(f"{self.breaker.failures} failed steps in a row, the last: {error}")

    def _tell(self, reason: str | None) -> None:
        with contextlib.suppress(Exception):  # whoever listens must not cost the server its step
            self.on_state(reason)
