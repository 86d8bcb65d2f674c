"""What waits for the sidecar: frames of steps, then control records in order, bounded in number and in bytes.

A greeting goes first and is not bounded, being as long as there are live requests. Text is the first to
give way: it is left out of records while much waits. It knows nothing of sockets; its owner holds the lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import Codes
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.wire import Kind

Entry = tuple[Kind, bytes]


class Frame(NamedTuple):
    """A step, or what of it fits a message.

    rows: ROWS [R]; codes: int16 [T, F]
    closed: where it waits, `served_closed` and `requests_closed` as of then: ends said since stand behind it
    """

    rows: npt.NDArray[np.void]
    codes: Codes
    hook_ns: int
    time_ns: int
    closed: tuple[int, int] | None = None


class Frames:
    """Of steps that found the socket full, oldest first. size: bytes of all of them."""

    def __init__(self, size: int) -> None:
        self._size, self._bytes = size, 0
        self._queue: deque[Frame] = deque()

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, frame: Frame) -> bool:
        """False if there is no room for it."""
        size = frame.rows.nbytes + frame.codes.nbytes
        if self._bytes + size > self._size:
            return False
        self._queue.append(frame)
        self._bytes += size
        return True

    def first(self) -> Frame:
        return self._queue[0]

    def pop(self) -> Frame:
        frame = self._queue.popleft()
        self._bytes -= frame.rows.nbytes + frame.codes.nbytes
        return frame


class Backlog:
    """Records not sent yet. limit: of their number; size: of their bytes, half of which text may use."""

    def __init__(self, limit: int, size: int) -> None:
        self._limit, self._size = limit, size
        self._greeting: deque[Entry] = deque()
        self._queue: deque[Entry] = deque()
        self._bytes = 0  # of the queue

    def __bool__(self) -> bool:
        return bool(self._greeting or self._queue)

    def add(self, kind: Kind, record: Mapping[str, Any], body: bytes) -> bool:
        """Queue a record, whose `body` fits a message; False if there is no room for it."""
        if self._bytes + len(body) > self._size // 2:
            body = wire.shrink(record, texts=False)
        if len(self._queue) >= self._limit or self._bytes + len(body) > self._size:
            return False
        self._queue.append((kind, body))
        self._bytes += len(body)
        return True

    def greet(self, greeting: Iterable[Entry]) -> None:
        """What a new connection hears before anything that is queued."""
        self._greeting = deque(greeting)

    def first(self) -> Entry:
        """The oldest; raises IndexError if there is none."""
        return (self._greeting or self._queue)[0]

    def pop(self) -> None:
        """Take the oldest away."""
        if self._greeting:
            self._greeting.popleft()
        else:
            self._bytes -= len(self._queue.popleft()[1])

    def keep_closes(self) -> None:
        """A connection ended: the next greeting says what is live, and only ends are still news."""
        self._greeting.clear()
        self._queue = deque(entry for entry in self._queue if entry[0] is Kind.CLOSE)
        self._bytes = sum(len(body) for _, body in self._queue)
