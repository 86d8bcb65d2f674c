"""The asker's side of a capture: listen where the server was told to look, hand over the order, take what comes.

It owns the socket and its bounds, and ends on a signal, a full disk or a tap that goes. Where the rows go is
`folder`'s; what a tap does with an order, `taps/capturing`'s.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.capture import heard
from dosimeter.monitor.taps.capture_wire import (
    CaptureError,
    Floats,
    Kind,
    Order,
    message,
    parsed,
    peer_uid,
    read,
    untrusted,
)

FOUND_S = 10.0
"""A tap that may be asked looks once a second."""
LATE_S = 20.0
"""Past its time, or told to stop, a tap ends; one that has not after so long is left."""
TURN_S = 0.2


class Writer(Protocol):
    def rows(self, key: int, start: int, values: Floats) -> None: ...

    def request(self, record: Mapping[str, Any]) -> None: ...

    def close(self, why: str, counts: Mapping[str, Any]) -> None: ...


class NotTaken(RuntimeError):
    """Nothing was captured, and why."""


@dataclass(slots=True)
class Came:
    """So far. whole: requests without a gap; why: it ended."""

    rows: int = 0
    bytes: int = 0
    requests: int = 0
    whole: int = 0
    with_ids: int = 0
    why: str | None = None
    done: bool = False  # as the tap itself says
    lost: Mapping[str, int] = field(default_factory=dict)  # as it says at the end

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows, "bytes": self.bytes, "requests": self.requests, "whole": self.whole,
            "with_ids": self.with_ids, "lost": self.lost,
        }  # fmt: skip


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket at `path` for the owner of its folder alone; gone afterwards. Raises InputError."""
    wrong = untrusted(path)
    if wrong is not None and os.geteuid():  # root asks in the place of whoever owns the folder
        raise InputError.at(path, wrong)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise InputError.at(path, "another capture is asked for here", "wait for its end")
        path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError as error:
            raise InputError.at(path, f"cannot listen: {error.strerror or error}") from None
        finally:
            os.umask(before)
        try:
            if not os.geteuid():
                # The folder is theirs: what is at this path by now may be a link of theirs to anything.
                os.chown(path, path.parent.stat().st_uid, -1, follow_symlinks=False)
            listener.listen(1)
            yield listener
        finally:
            path.unlink(missing_ok=True)


def tap_of(listener: socket.socket, path: Path, stop: Callable[[], bool]) -> socket.socket:
    """The tap that comes. Raises NotTaken."""
    owner = path.parent.stat().st_uid
    until_s = time.monotonic() + FOUND_S
    while time.monotonic() < until_s and not stop():
        listener.settimeout(TURN_S)
        try:
            tap, _ = listener.accept()
        except TimeoutError:
            continue
        if peer_uid(tap) in (0, os.geteuid(), owner):
            return tap
        tap.close()
    raise NotTaken(
        f"no tap came to {path} within {FOUND_S:.0f} s\n"
        f"  hint: start the server with `dosimeter attach --allow-capture {path}`"
    )


def take(
    tap: socket.socket,
    order: Order,
    opened: Callable[[Mapping[str, Any]], Writer],
    stop: Callable[[], bool],
    tell: Callable[[Came], None] = lambda came: None,
) -> Came:
    """Until it ends. opened: told the tap's greeting, gives where what comes is written.

    Raises NotTaken, CaptureError, OSError.
    """
    tap.settimeout(FOUND_S)
    try:
        tap.sendall(message(Kind.ORDER, order.as_json()))
        first = read(tap)
    except ConnectionError:
        first = None
    if first is None:
        raise NotTaken("the tap went away without a word: what does the server's log say?")
    kind, body = first
    if kind is Kind.REFUSED:
        raise NotTaken(f"the tap refuses: {parsed(body).get('why', 'it does not say why')}")
    if kind is not Kind.HELLO:
        raise CaptureError(f"a `{kind.name.lower()}` before `hello`")
    about = heard.about(parsed(body))
    width = about["width"] * len(order.layers)
    writer, came = opened(about), Came()
    try:
        _until_end(tap, order, width, writer, came, stop, tell)
    except ConnectionError:
        came.why = "the tap has gone"
    except CaptureError as error:
        came.why = str(error)
        raise
    except OSError as error:
        came.why = came.why or f"{error.strerror or error}".lower()
        with contextlib.suppress(OSError):
            tap.sendall(message(Kind.STOP, {"why": came.why}))
    finally:
        with contextlib.suppress(OSError):  # a full disk: what is there is there
            writer.close(came.why or "broken off", came.as_json())
    return came


def _until_end(
    tap: socket.socket,
    order: Order,
    width: int,
    writer: Writer,
    came: Came,
    stop: Callable[[], bool],
    tell: Callable[[Came], None],
) -> None:
    tap.settimeout(TURN_S)
    late_s, stopped = time.monotonic() + order.for_s + LATE_S, False
    while True:
        if stop() and not stopped:
            stopped = True
            late_s = min(late_s, time.monotonic() + LATE_S)  # a tap that hangs hears nothing
            tap.settimeout(FOUND_S)
            with contextlib.suppress(
                ConnectionError
            ):  # it ended by itself: what it said last is still to be read
                tap.sendall(message(Kind.STOP, {"why": "whoever asked has ended it"}))
            tap.settimeout(TURN_S)
        if time.monotonic() >= late_s:
            came.why = "the tap did not end in time, and was left"
            return
        try:
            if not tap.recv(1, socket.MSG_PEEK):
                came.why = "the tap has gone"
                return
        except TimeoutError:
            tell(came)
            continue
        tap.settimeout(FOUND_S)
        found = read(tap)
        tap.settimeout(TURN_S)
        if found is None:
            came.why = "the tap has gone"
            return
        kind, body = found
        if kind is Kind.ROWS:
            key, start, values = heard.rows(body, width)
            came.rows += len(values)
            came.bytes += values.nbytes
            _bounded(came, order)
            writer.rows(key, start, values)
        elif kind is Kind.REQUEST:
            record = heard.request(parsed(body))
            came.requests += 1
            came.whole += record["whole"]
            came.with_ids += "ids" in record
            _bounded(came, order)
            writer.request(record)
        elif kind is Kind.DONE:
            over = heard.over(parsed(body))
            came.why, came.lost, came.done = over.why, over.lost, True
            return
        tell(came)


def _bounded(came: Came, order: Order) -> None:
    """A tap keeps to them by itself; what speaks in its place may not. Raises CaptureError."""
    if came.bytes > order.max_bytes or came.requests > order.max_requests:
        raise CaptureError("more came than was asked for")
