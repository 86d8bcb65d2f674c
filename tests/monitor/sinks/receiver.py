"""A fake receiver of POSTs on 127.0.0.1, for the sinks that speak HTTP: answers as it is told, keeps what came."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Came:
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    lost: bool = False  # it is read, and the connection closed in its place
    hang_up: bool = False  # close the connection after this, without a word


class Receiver:
    """`answers` in turn, then 200 to everything."""

    def __init__(self, certificate: Path | None = None, *, clients: Path | None = None) -> None:
        """certificate: a file with key and certificate, for TLS. clients: whose certificates they have to show."""
        self.came: list[Came] = []
        self.connections = 0
        self.ended = threading.Semaphore(0)  # released for each connection that is closed
        self.answers: list[Answer] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads, self._server.ended = True, self.ended
        if certificate is not None:
            self._server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._server.context.load_cert_chain(certificate)
            if clients is not None:
                self._server.context.verify_mode = ssl.CERT_REQUIRED
                self._server.context.load_verify_locations(clients)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    def renew(self, certificate: Path) -> None:
        assert self._server.context is not None
        self._server.context.load_cert_chain(certificate)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    context: ssl.SSLContext | None = None
    ended: threading.Semaphore

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.ended.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread; a client that turns away in the handshake is no error."""
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            if self.context is not None:
                request = self.context.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer: in two, Nagle's rule makes the second wait

        def setup(self) -> None:
            super().setup()
            receiver.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.came.append(Came(self.path, headers, body))
            answer = receiver.answers.pop(0) if receiver.answers else Answer()
            if answer.lost:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
            self.close_connection = answer.hang_up

        def log_message(self, format: str, *args: object) -> None: ...

    return Handler
