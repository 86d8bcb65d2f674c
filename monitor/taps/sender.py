"""How a tap or a front speaks: one socket to the sidecar that never makes the server wait.

`Sender` connects, greets, sends and counts; what does not fit is dropped and the loss is stated in
the next message. It runs inside somebody else's process: standard library and numpy, one short
lock, one daemon thread. It knows nothing of models or rules; the messages are explained in `wire`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import select
import socket
import struct
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import Codes
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.backlog import Backlog, Frame, Frames
from dosimeter.monitor.taps.wire import Kind

log = logging.getLogger(__name__)

RETRY_S = 0.5
BEAT_EVERY = 2  # ticks of RETRY_S
LOCK_WAIT_S = 0.0015
"""A hook gives up on the lock after this long: whoever takes it next sends the step."""
LATE_STEPS = 32
"""Steps that may wait for that; one more is dropped and counted."""
CONTROLS_PER_STEP = 8
"""Queued control records a hook sends before its own frame, so that its time stays bounded."""
SEND_BUFFER = 1 << 20
HELD_BYTES = 16 << 20
"""Of steps that found the socket full. A kernel gives it 416 KiB unless told otherwise; a long prompt takes more."""
ROOM = wire.MAX_MESSAGE - wire.STEP_PREFIX.size


COUNTER = {name: index for index, name in enumerate(wire.COUNTERS.names or ())}
EMITTED, DROPPED, FRAMES_DROPPED, CONTROL_DROPPED, ERROR, SERVED, CLOSED, HOOK, TIME = range(9)


class Sent(NamedTuple):
    """What became of a step: `rows` leading rows were handed over, the rest lost to `reason`."""

    rows: int
    reason: str | None  # None · "no_sidecar" (not connected) · "dropped" (socket full, lock busy)


class Sender:
    """One connection to the sidecar's socket at `path`.

    epoch     random u64 of this server process
    hello     makes the HELLO record; called at every connect, and under our lock: it must not call us
    announce  makes the OPEN records of all requests now live; called at every connect, outside our
              lock, so that it may take one of its own
    """

    def __init__(
        self,
        path: Path | str,
        epoch: int,
        hello: Callable[[], Mapping[str, Any]],
        announce: Callable[[], Iterable[Mapping[str, Any]]],
        *,
        queue_limit: int = 4096,
        queue_bytes: int = 16 << 20,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        self.path = str(path)
        self.epoch = epoch
        self._hello = hello
        self._announce = announce
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._greeting = False  # between connect and the moment announcements are queued
        self._held = Frames(held_bytes)  # they go before all that is queued
        self._queue = Backlog(queue_limit, queue_bytes)
        self._greeted = b""  # the last HELLO
        self._seq = 0
        self._counts = [0] * len(COUNTER)
        self._late: deque[Frame] = deque()
        # Steps (rows, frames) that found the lock busy, and rows nobody could read: any thread adds.
        self._missed: deque[tuple[int, int, int]] = deque()
        self._ticks = 0
        self._stop = threading.Event()
        self._wake = threading.Event()  # there are frames to send, or it is over
        self._thread: threading.Thread | None = None

    # --- called by the tap

    def start(self) -> Sender:
        """Begin to connect and beat in the background."""
        self._thread = threading.Thread(target=self._run, name="dosimeter-sender", daemon=True)
        self._thread.start()
        return self

    def step(self, rows: npt.NDArray[np.void], codes: Codes, hook_ns: int, time_ns: int) -> Sent:
        """Send one engine step, cut into frames that fit. rows: ROWS [R]; codes: int16 [T, F]."""
        total = len(codes)
        if not self._lock.acquire(False) and not self._lock.acquire(timeout=LOCK_WAIT_S):
            if len(self._late) >= LATE_STEPS:
                self._missed.append((total, 1, 0))
                return Sent(0, "dropped")
            self._late.append(Frame(rows, codes, hook_ns, time_ns))
            return Sent(total, None)
        try:
            self._catch_up()
            return self._step(rows, codes, hook_ns, time_ns)
        finally:
            self._lock.release()

    def control(self, kind: Kind, record: Mapping[str, Any]) -> bool:
        """Send or queue one control record, in order; False if the queue was full and it is lost.

        An OPEN needs no queue while nothing is connected: `announce` will name it. A CLOSE enters
        the cumulative `served_closed` at this moment, so that a lost one leaves a difference at the
        receiver.
        """
        body = wire.shrink(record)
        with self._lock:
            self._catch_up()
            if kind is Kind.CLOSE:
                self._counts[SERVED] += wire.served(record)
                self._counts[CLOSED] += 1
            return self._put(kind, record, body)

    def greet(self, change: Callable[[], None] = lambda: None) -> None:
        """Say HELLO as it reads after `change` of it; nothing of ours is sent between the two.

        So the rows of every step before it stand before it, and those of every later one behind it. change: must
        not call the sender.
        """
        with self._lock:
            self._catch_up()
            change()
            record = self._hello()
            self._put(Kind.HELLO, record, wire.shrink(record))

    def failed(self, rows: int) -> None:
        """Count rows that the server ran and the tap could not score. Never waits."""
        self._missed.append((0, 0, rows))

    @property
    def connected(self) -> bool:
        return self._socket is not None

    @property
    def all_said(self) -> bool:
        """Whether a sidecar is connected and has read all: nothing waits here, nor in the socket."""
        with self._lock:
            waits = self._held or self._queue
            return self._socket is not None and not waits and not _unread(self._socket)

    def counters(self) -> dict[str, int]:
        with self._lock:
            self._catch_up()
            return dict(zip(COUNTER, self._counts, strict=True))

    def close(self, patience_s: float = 0.5) -> None:
        """Send what is queued, for as long as the sidecar takes it within `patience_s`; hang up."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(2 * RETRY_S)
        end = time.monotonic() + patience_s
        while self._wait_for_room() and time.monotonic() < end:
            pass
        with self._lock:
            self._disconnect()

    # --- the background thread

    def _run(self) -> None:
        due_s = 0.0
        while not self._stop.is_set():
            try:
                if time.monotonic() >= due_s:
                    due_s = time.monotonic() + RETRY_S
                    self.tick()
                else:
                    self._drain()
            except Exception:
                log.exception("dosimeter sender: background step failed, will try again")
            self._wake.wait(max(0.0, due_s - time.monotonic()))
            self._wake.clear()

    def tick(self) -> None:
        """What the background thread does twice a second: connect if needed, flush, beat.

        A greeting that reads otherwise by now is said again before the beat.
        """
        self._ticks += 1
        if self._socket is None:
            self._connect()
        self._drain()
        if self._ticks % BEAT_EVERY == 0:
            if self._socket is not None and wire.shrink(self._hello()) != self._greeted:
                self.greet()
            with self._lock:
                self._settle()
                if not self._held and not self._queue:
                    self._send_control(Kind.BEAT, b"")

    def _drain(self) -> None:
        while self._wait_for_room() and not self._stop.is_set():
            pass

    def _connect(self) -> None:
        try:
            fresh = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:  # the server has no descriptor left
            return
        fresh.setblocking(False)
        with contextlib.suppress(OSError):
            fresh.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        try:
            fresh.connect(self.path)
        except OSError:  # nobody there, or its backlog is full: the next tick tries again
            fresh.close()
            return
        with self._lock:
            self._greeting = (
                True  # from here on an OPEN is queued, even if `announce` has missed it
            )
        try:
            hello = wire.shrink(self._hello())
            greeting = [(Kind.HELLO, hello)]
            greeting += [
                (Kind.OPEN, wire.shrink({**open_, "again": True})) for open_ in self._announce()
            ]
        except Exception:
            fresh.close()
            with self._lock:
                self._greeting = False
                self._queue.keep_closes()
            raise
        with self._lock:
            self._greeting = False
            self._socket = fresh
            self._greeted = hello
            self._queue.greet(greeting)

    def _wait_for_room(self) -> bool:
        """Send what waits; True if some is left and the sidecar can take more.

        It waits, up to 0.1 s, so it is for our own thread and never for a hook.
        """
        waiting = select.poll()
        with self._lock:
            self._catch_up()
            if self._flush(CONTROLS_PER_STEP) or self._socket is None:
                return False
            waiting.register(self._socket, select.POLLOUT)  # nobody hangs up under the lock
        return bool(waiting.poll(100))

    # --- under the lock

    def _put(self, kind: Kind, record: Mapping[str, Any], body: bytes) -> bool:
        """Send or queue; False if it is lost."""
        if kind is Kind.HELLO:
            self._greeted = body
        if self._socket is None and not self._greeting and kind is not Kind.CLOSE:
            return True
        if not self._queue.add(kind, record, body):
            self._counts[CONTROL_DROPPED] += 1
            self._seq += 1
            self._disconnect()  # greeting anew is the only way to agree again on what is live
            return False
        self._flush(CONTROLS_PER_STEP)
        return True

    def _catch_up(self) -> None:
        """Send the steps that found the lock busy, before anything else is said: a CLOSE counts on them.

        One that cannot be sent ends the connection: only that tells the receiver that rows may be missing.
        """
        self._settle()
        while self._late:
            if self._step(*self._late.popleft()[:4]).reason is not None:
                self._disconnect()

    def _step(self, rows: npt.NDArray[np.void], codes: Codes, hook_ns: int, time_ns: int) -> Sent:
        total, features = codes.shape
        counts = self._counts
        counts[EMITTED] += total
        counts[HOOK], counts[TIME] = hook_ns, time_ns
        whole = 2 * total * features + wire.ROW_BYTES * len(rows) <= ROOM
        sent, reason = 0, None
        for part in ((rows, codes),) if whole else wire.cut(rows, codes):
            if reason is None:
                reason = self._send_step(Frame(*part, hook_ns, time_ns))
            if reason is None:
                sent += part[1].shape[0]
            else:
                self._seq += 1
                counts[DROPPED] += part[1].shape[0]
                counts[FRAMES_DROPPED] += 1
        return Sent(sent, reason)

    def _send_step(self, frame: Frame) -> str | None:
        """Send it, or hold it for our own thread; else why not. It overtakes no record that waits."""
        if (
            self._queue and not self._held
        ):  # what is held our own thread sends: a hook has no time for it
            self._flush(CONTROLS_PER_STEP)
        if self._socket is None:
            return "no_sidecar"
        if not self._queue:
            if not self._held and self._send_frame(frame):
                return None
            closed = self._counts[SERVED], self._counts[CLOSED]
            if self._socket is not None and self._held.add(frame._replace(closed=closed)):
                self._wake.set()
                return None
        return "dropped" if self._socket is not None else "no_sidecar"

    def _flush(self, limit: int) -> bool:
        """Send the frames that wait, then queued records, oldest first; True if none is left."""
        while self._held and limit and self._send_frame(self._held.first()):
            self._held.pop()
            limit -= 1
        while not self._held and self._queue and limit:
            if not self._send_control(*self._queue.first()):
                break
            self._queue.pop()
            limit -= 1
        return not self._held and not self._queue

    def _send_frame(self, frame: Frame) -> bool:
        self._counts[HOOK], self._counts[TIME] = frame.hook_ns, frame.time_ns
        counts = self._counts
        if frame.closed is not None:
            counts = counts.copy()
            counts[SERVED], counts[CLOSED] = frame.closed
        prefix = wire.step_prefix(self.epoch, self._seq, counts, frame.rows, frame.codes)
        return self._send((prefix, frame.rows, frame.codes))

    def _send_control(self, kind: Kind, body: bytes) -> bool:
        self._settle()
        return self._send((wire.control_message(kind, self.epoch, self._seq, self._counts, body),))

    def _send(self, parts: tuple[Any, ...]) -> bool:
        """One message, gathered from its parts without a copy, or nothing."""
        if self._socket is None:
            return False
        try:
            self._socket.sendmsg(parts, (), socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno not in wire.TRY_LATER:
                self._disconnect()
            return False
        self._seq += 1
        return True

    def _settle(self) -> None:
        """Count what hooks have left here without the lock."""
        while self._missed:
            rows, frames, unread = self._missed.popleft()
            self._counts[EMITTED] += rows
            self._counts[DROPPED] += rows
            self._counts[FRAMES_DROPPED] += frames
            self._counts[ERROR] += unread
            self._seq += frames

    def _disconnect(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # A child that the server forked may hold the descriptor: the end must show all the same.
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None
        # Held rows were said to have gone out: the next greeting tells that some may be missing.
        while self._held:
            self._counts[DROPPED] += len(self._held.pop().codes)
            self._counts[FRAMES_DROPPED] += 1
            self._seq += 1
        self._queue.keep_closes()


def _unread(connection: socket.socket) -> int:
    """Bytes that the other end has not read; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        found: int = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]
        return found
    return 0
