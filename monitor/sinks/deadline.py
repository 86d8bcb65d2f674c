"""A connection whose every wait ends when the whole exchange has to: connecting, TLS, sending, each piece of a reply.

Time-outs of sockets are for one wait each, so a receiver that sends a byte now and then holds its caller for as long
as it likes. It owns the sockets and knows nothing of what is said over them. Looking a name up is the system's, and
takes as long as `resolv.conf` lets it.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any


class Deadline:
    """`left()`: seconds until then. Raises TimeoutError when it has come."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds, self._monotonic = seconds, monotonic
        self._until = monotonic() + seconds

    def left(self) -> float:
        left = self._until - self._monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> TimeoutError:
        return TimeoutError(f"no whole answer within {self._seconds:g} s")


class TimedSocket:
    """As `http.client` uses a socket. deadline: of the exchange that runs; the next one sets its own."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket, self.deadline = connected, deadline

    def sendall(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        while view:
            self._socket.settimeout(self.deadline.left())
            view = view[self._socket.send(view) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reading(self, self._socket.makefile(mode, buffering=0)))  # type: ignore[call-overload]

    def ended(self) -> bool:
        """Nothing is awaited, and there is something to read: it was closed, or speaks out of turn."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def wait_no_longer_than_left(self) -> None:
        self._socket.settimeout(self.deadline.left())

    def close(self) -> None:
        self._socket.close()


class _Reading(io.RawIOBase):
    """Keeps the system's own count of who still reads: a connection may be closed before its reply is read."""

    def __init__(self, timed: TimedSocket, raw: io.RawIOBase) -> None:
        self._timed, self._raw = timed, raw

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        self._timed.wait_no_longer_than_left()
        return self._raw.readinto(into)

    def close(self) -> None:
        self._raw.close()
        super().close()


def connect(
    host: str, port: int, deadline: Deadline, context: ssl.SSLContext | None
) -> TimedSocket:
    """The first of the host's addresses that answers, each within its share of what is left; with a context over TLS.

    Raises OSError.
    """
    found = _reach(host, port, deadline)
    try:
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.settimeout(deadline.left())
        if context is not None:
            found = context.wrap_socket(found, server_hostname=host)
        return TimedSocket(found, deadline)
    except BaseException:
        found.close()
        raise


def _reach(host: str, port: int, deadline: Deadline) -> socket.socket:
    last: OSError | None = None
    each = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for tried, (family, kind, protocol, _, address) in enumerate(each):
        reaching = socket.socket(family, kind, protocol)
        try:
            reaching.settimeout(deadline.left() / (len(each) - tried))
            reaching.connect(address)
            return reaching
        except OSError as error:
            last = error
            reaching.close()
    raise last or OSError(f"`{host}` has no address")
