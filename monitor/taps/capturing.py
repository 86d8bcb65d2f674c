"""A capture as its own thread sees it: somebody listens at the permitted path, says what, and gets it until it ends.

Without `--allow-capture` there is no such thread. Once a second it looks whether a socket is at the path; it trusts
one that lies in a folder only its owner may write, and that a process of this user (or root) listens at. Before the
first row leaves, the greeting on the wire of scores says that a capture runs, so the sidecar has it on record whoever
asked; without a sidecar to hear it nothing begins. Rows are copied in `capture_steps`; here they are only sent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dosimeter.monitor.taps.capture_steps import Job, Place, over
from dosimeter.monitor.taps.capture_wire import (
    MAX_ORDER,
    CaptureError,
    Kind,
    Order,
    message,
    parsed,
    peer_uid,
    read,
    rows_messages,
    send,
    untrusted,
)

log = logging.getLogger(__name__)

LOOK_S = 1.0
ORDER_S = 3.0
"""For an asker to say what it wants."""
STALL_S = 5.0
"""A reader that takes nothing for so long is gone."""
TURN_S = 0.05


class Capturing:
    """One for one tap. path: where an asker may listen."""

    def __init__(
        self,
        path: Path | str,
        place: Place,
        model: nn.Module,
        about: Callable[[], Mapping[str, Any]],
        say: Callable[[Mapping[str, Any]], bool],
        compiled: Callable[[], bool] = lambda: False,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """about: what the asker is told of server and model. compiled: whether graphs run, which Python does not see.

        say: the state of a capture, for the greeting; False: there is no sidecar to hear it.
        """
        self.path = Path(path)
        self._place, self._model = place, weakref.ref(model)
        self._about, self._say, self._compiled = about, say, compiled
        self._monotonic, self._time_ns = monotonic, time_ns
        self._stop = threading.Event()
        self._told: str | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Capturing:
        self._thread = threading.Thread(target=self._run, name="dosimeter-capture", daemon=True)
        self._thread.start()
        return self

    def end(self) -> None:
        """End what runs, and look no more: soon. Never waits."""
        self._stop.set()

    def close(self) -> None:
        self.end()
        if self._thread is not None:
            self._thread.join(STALL_S + LOOK_S)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S) and self._model() is not None:
            try:
                self.look()
            except Exception as error:  # a thread that died would look like nobody asking
                self._warn(f"{self.path}: a capture failed: {error!r}")

    def look(self) -> None:
        """Follow the order of whoever listens, to its end; at once where nobody does."""
        if not self.path.is_socket():
            return
        wrong = untrusted(self.path)
        if wrong is not None:
            self._warn(f"{self.path}: no capture is made here: {wrong}")
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
            asker.settimeout(ORDER_S)
            try:
                asker.connect(str(self.path))
            except OSError:  # a file that was left behind
                return
            uid = peer_uid(asker)
            if uid not in (0, os.geteuid()):
                self._warn(f"{self.path}: user {uid} may not ask for a capture")
                return
            self._told = None
            with contextlib.suppress(OSError):  # whoever asked has gone: that is on record
                self._serve(asker, uid)

    def _serve(self, asker: socket.socket, uid: int) -> None:
        try:
            found = read(asker, MAX_ORDER)
            if found is None:
                return
            if found[0] is not Kind.ORDER:
                raise CaptureError("the first message is no order")
            order = Order.parse(parsed(found[1]))
        except CaptureError as error:
            send(asker, message(Kind.REFUSED, {"why": str(error)}))
            return
        why = self._refused(order)
        if why is None:
            began_ns = self._time_ns()
            said = {
                **order.as_json(), "by_uid": uid, "since_ns": began_ns,
                "until_ns": began_ns + order.for_s * 10**9,
            }  # fmt: skip
            if not self._say(said | {"state": "began"}):
                why = "the tap has no sidecar that hears of it: no capture without a record"
        if why is not None:
            send(asker, message(Kind.REFUSED, {"why": why}))
            return
        self._capture(asker, order, said)

    def _refused(self, order: Order) -> str | None:
        if order.layers[-1] >= self._place.blocks:
            return (
                f"layer {order.layers[-1]} is asked for, the model has {self._place.blocks} blocks"
            )
        if self._compiled():
            return "the server runs compiled graphs, which are not captured: start it without"
        return None

    def _capture(self, asker: socket.socket, order: Order, said: Mapping[str, Any]) -> None:
        about = dict(self._about())
        job = Job(order, int(about["width"]), self._place.op(order.layers), self._monotonic)
        try:
            asker.settimeout(STALL_S)
            self._place.wanted = job
            send(asker, message(Kind.HELLO, {**about, **said}))
            while job.over is None:
                self._turn(asker, job)
                if job.over is None:
                    self._stop.wait(TURN_S)
            self._turn(asker, job, last=True)
        except TimeoutError:
            job.end("whoever asked took nothing any more")
        except OSError:
            with contextlib.suppress(OSError, CaptureError):
                self._hear(asker, job)  # why, if it has said so
            job.end("whoever asked has gone")
        except Exception as error:
            job.end(f"an error: {error!s:.200}")
            log.exception("a capture failed")
        finally:
            job.end("it was broken off")
            self._place.wanted = None
            job.queue.clear()  # an idle server lets go of the rest only at its next step
            ended = counts(job) | {"why": job.over, "ended_ns": self._time_ns()}
            self._say({**said, **ended, "state": "ended"})
        with contextlib.suppress(OSError):
            send(asker, message(Kind.DONE, ended))

    def _turn(self, asker: socket.socket, job: Job, last: bool = False) -> None:
        """Send what waits, then what is over; see whether a bound is met. Raises OSError."""
        ended = [one for one in list(job.open.values()) if last or one.request.ended is not None]
        give_up_s = self._monotonic() + STALL_S
        for _ in range(len(job.queue)):  # what comes meanwhile is for the next turn
            if self._monotonic() >= give_up_s:  # a slow reader may have said that it has had enough
                if last:
                    job.forsake()
                else:
                    ended = []
                break
            of, start, values = job.queue.popleft()
            for part in rows_messages(of.request.key, start, values):
                send(asker, part)
            job.sent += values.nbytes
        for one in ended:
            send(asker, message(Kind.REQUEST, over(one)))
            del job.open[one.request.key]
        if last:
            return
        self._hear(asker, job)
        if self._stop.is_set() or self._model() is None:
            job.end("the model is gone")
        elif self._monotonic() >= job.until_s:
            job.end("its time is up")
        elif job.requests >= job.order.max_requests and not job.open:
            job.end("as many requests as were asked for")

    def _hear(self, asker: socket.socket, job: Job) -> None:
        """Whether the asker has had enough. Never waits for it."""
        asker.settimeout(0)
        try:
            waiting = asker.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        finally:
            asker.settimeout(STALL_S)
        if not waiting:
            job.end("whoever asked has gone")
            return
        found = read(asker, MAX_ORDER)
        if found is not None and found[0] is Kind.STOP:
            job.end(str(parsed(found[1]).get("why", "stopped"))[:200])

    def _warn(self, trouble: str) -> None:
        """Once, until it is another."""
        if trouble != self._told:
            log.warning("%s", trouble)
        self._told = trouble


def counts(job: Job) -> dict[str, Any]:
    """What a capture came to. lost: requests that miss a row, by why."""
    return {
        "requests": job.requests,
        "rows": job.rows,
        "bytes": job.bytes,
        "lost": dict(sorted(job.lost.items())),
    }
