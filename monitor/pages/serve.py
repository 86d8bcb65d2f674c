"""The site on a socket, served by uvicorn in a thread of its own, from `start` to `stop`.

It never learns what it serves.
"""

from __future__ import annotations

import asyncio
import socket
import threading

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

STOP_S = 10.0
MOST_AT_ONCE = 64
REQUEST_S = 20.0
"""Until a request has come that was begun, or that a new connection is for."""


class ServeError(RuntimeError):
    """The address cannot be served."""


class _Prompt(H11Protocol):  # type: ignore[misc]  # uvicorn is not followed
    """Whoever opened MOST_AT_ONCE connections and sent nothing kept everybody else out, for as long as they liked."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._late = self.loop.call_later(REQUEST_S, self._look, None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def _look(self, before: object) -> None:
        """before: the last request, if all was as now when we looked before."""
        waiting = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if waiting and self.cycle is before:
            self.transport.close()
        else:
            last = self.cycle if waiting else object()
            self._late = self.loop.call_later(REQUEST_S, self._look, last)


class Served:
    """port 0: one that is free."""

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> None:
        self._app, self._host, self._port = app, host, port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    @property
    def url(self) -> str:
        if self._socket is None:
            raise ServeError("not started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._socket.getsockname()[1]}"

    def start(self) -> Served:
        """Listens when it returns. Raises ServeError."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._host, self._port))
            listening.listen(128)
        except OSError as error:
            listening.close()
            reason = (error.strerror or type(error).__name__).lower()
            raise ServeError(
                f"`{self._host}:{self._port}` cannot be served: {reason}\n  hint: choose another port"
            ) from None
        self._socket = listening
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                http=_Prompt,
                log_level="warning",
                access_log=False,
                lifespan="off",
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MOST_AT_ONCE,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=int(STOP_S / 2),
                h11_max_incomplete_event_size=32 << 10,
                ws="none",
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([listening],), name="pages", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """What is being answered is finished first, for as long as STOP_S."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(STOP_S)
        if self._socket is not None:
            self._socket.close()
        self._server = self._thread = self._socket = None
