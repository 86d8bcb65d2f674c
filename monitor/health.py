"""The sidecar's pages: `/livez` for whoever restarts it, `/readyz` for whoever waits, `/status` for whoever asks.

Standard library, one daemon thread, bound to the loopback unless configured otherwise. Whoever asks has a few seconds
for the whole of it, and no more of ours: beyond MOST_AT_ONCE the connection that was first has to go, so that whoever
restarts us is answered. It never touches the line; it calls the functions it was given.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dosimeter.monitor.sinks.deadline import Deadline, TimedSocket

PATIENCE_S = 5.0
MOST_AT_ONCE = 64
"""Connections: each has a thread and a descriptor, of which the line needs some for its taps."""


class HealthError(RuntimeError):
    """The address cannot be listened at."""


class Health:
    """Serves until `close`. port: the one that was bound. unready: why not, in a line; without it no `/readyz`."""

    def __init__(
        self,
        host: str,
        port: int,
        alive: Callable[[], bool],
        status: Callable[[], dict[str, Any]],
        unready: Callable[[], str | None] | None = None,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        listening = _OverIPv6 if ":" in host else _Server
        try:
            self._server = listening((host, port), _handler(alive, status, unready, patience_s))
        except OSError as error:
            raise HealthError(
                f"{host}:{port}: cannot listen: {error.strerror}\n"
                "  hint: set another `http: {port: …}`, or 0 for any free one"
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = MOST_AT_ONCE

    def __init__(self, *given: Any) -> None:
        self._open: deque[socket.socket] = deque()
        self._lock = threading.Lock()
        super().__init__(*given)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            while len(self._open) >= MOST_AT_ONCE:
                with suppress(OSError):  # it may be gone already
                    self._open.popleft().shutdown(socket.SHUT_RDWR)
            self._open.append(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock, suppress(ValueError):  # it may have had to go
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up before the answer is no news either."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _OverIPv6(_Server):
    address_family = socket.AF_INET6


def _handler(
    alive: Callable[[], bool],
    status: Callable[[], dict[str, Any]],
    unready: Callable[[], str | None] | None,
    patience_s: float,
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = patience_s  # for an answer that is not taken

        def setup(self) -> None:
            """A client that sends nothing, or a byte now and then, does not keep its thread."""
            super().setup()
            asking = TimedSocket(self.connection, Deadline(patience_s, time.monotonic))
            self.rfile = asking.makefile("rb")

        def do_GET(self) -> None:
            if self.path == "/livez":
                ok = alive()
                self._answer(200 if ok else 503, "text/plain", b"ok\n" if ok else b"stuck\n")
            elif self.path == "/readyz" and unready is not None:
                reason = unready()
                said = f"{reason or 'ready'}\n".encode()
                self._answer(200 if reason is None else 503, "text/plain", said)
            elif self.path == "/status":
                body = json.dumps(status(), indent=2).encode()
                self._answer(200, "application/json", body)
            else:
                pages = "/livez and /status" if unready is None else "/livez, /readyz and /status"
                self._answer(404, "text/plain", f"there are {pages}\n".encode())

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Health checks are not news."""

    return Handler
