"""One step of the server, seen: run its forward, read the scores, hand them on with their requests.

The tap never lets an error of its own reach the server: a failed step is counted for the requests in it,
several in a row open a breaker, and the breaker closes again only after the op passed its self-test. It
knows nothing of any server: a row map says which rows belong to which request.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import ROW_FIRST, ROWS
from dosimeter.monitor.taps.probe_op import Array, ReadOut
from dosimeter.monitor.taps.requests import Request

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Rows:
    """n consecutive positions of one request, in the order the server packed them."""

    request: Request
    start: int
    n: int


class RowMap(Protocol):
    """What a server must tell: about 30 lines each. Called before the forward, on the server's thread.

    Returns the rows of real requests in packing order, and, where real rows do not come first in the
    step's output, the index of each row.
    """

    def __call__(self) -> tuple[Sequence[Rows], npt.NDArray[np.int64] | None]: ...


class Sink(Protocol):
    """Takes the scores of a step, float32 [T, F], and never blocks.

    Returns how many leading rows it took, and why it did not take the rest.
    """

    def __call__(
        self, rows: npt.NDArray[np.void], scores: Array, hook_ns: int
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

    rows: Sequence[Rows]
    select: npt.NDArray[np.int64] | None
    armed: bool


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
    ) -> None:
        """self_test: raises if the op is wrong; on_state: told why the breaker opened, None when it closes.

        on_unread: told how many rows of a step the server ran and nothing was read of. Must not block.
        """
        self.op = op
        self._sink = sink
        self._self_test = self_test
        self.on_state = on_state
        self.on_unread = on_unread
        self.breaker = breaker or Breaker()
        self.rows_emitted = 0
        self.rows_error = 0
        self._reading = threading.Lock()  # held from begin to end of the step that the op reads
        self._lost_ns = -1  # wall clock of the last step whose rows nobody could name

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
            self._lost_ns = time.time_ns()
            self._failed(error)
            return Step((), None, False)
        return Step(rows, select, bool(rows) and self._arm())

    def end(self, step: Step) -> None:
        """After the forward."""
        try:
            self._after(step)
        except Exception as error:
            self._failed(error)
        finally:
            if step.armed:
                self._reading.release()

    def abandon(self, step: Step) -> None:
        """The server's own forward raised: its rows were never served."""
        if step.armed:
            self._reading.release()
        for row in step.rows:
            row.request.undone += row.n

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
        if not self.breaker.allows(time.monotonic()):
            return False
        if self.breaker.is_open:
            self._self_test()
        return True

    def _after(self, step: Step) -> None:
        rows = step.rows
        if not rows:
            return
        table = np.zeros(len(rows), ROWS)
        news: list[int] = []
        for index, row in enumerate(rows):
            new, first = row.request.advance(row.start, row.n)
            if first and row.start and row.request.opened_ns <= self._lost_ns:
                # A step that could not be read may have been its first: no cache held these.
                row.request.cached = 0
                row.request.miss("tap_error", row.start)
            news.append(new)
            flags = ROW_FIRST if first else 0
            table[index] = (row.request.key, row.start, row.n, row.request.cached, flags)
        if not step.armed:
            self._unread(rows, news)
            return
        total = int(table["n"].sum())
        try:
            scores = self.op.read(total, step.select)
        except Exception as error:
            self._unread(rows, news)
            self._failed(error)
            return
        if self.breaker.failures:
            was_open = self.breaker.is_open
            self.breaker.passed()
            if was_open:
                self._tell(None)
        self._emit(rows, news, table, scores)

    def _emit(
        self, rows: Sequence[Rows], news: list[int], table: npt.NDArray[np.void], scores: Array
    ) -> None:
        """Hand over; what the sink did not take is charged to the requests from the end of the step."""
        try:
            taken, lost = self._sink(table, scores, time.monotonic_ns())
        except Exception as error:
            self._unread(rows, news)
            self._failed(error)
            return
        reason = lost or "tap_error"
        for row, new in zip(rows, news, strict=True):
            kept = min(row.n, max(0, taken))
            taken -= row.n
            row.request.emitted += new
            self.rows_emitted += row.n
            if kept < row.n:
                row.request.miss(reason, min(new, row.n - kept))
                row.request.emitted -= min(new, row.n - kept)

    def _unread(self, rows: Sequence[Rows], news: list[int]) -> None:
        for row, new in zip(rows, news, strict=True):
            row.request.miss("tap_error", new)
        total = sum(row.n for row in rows)
        self.rows_error += total
        with contextlib.suppress(Exception):  # as in `_tell`
            self.on_unread(total)

    def _failed(self, error: Exception) -> None:
        was_open = self.breaker.is_open
        self.breaker.failed(time.monotonic())
        if self.breaker.is_open and not was_open:
            self._tell(f"{self.breaker.failures} failed steps in a row, the last: {error}")

    def _tell(self, reason: str | None) -> None:
        with contextlib.suppress(Exception):  # whoever listens must not cost the server its step
            self.on_state(reason)
