"""The site on a real socket."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.request

import pytest
from starlette.types import Receive, Scope, Send

from dosimeter.monitor.pages import serve
from dosimeter.monitor.pages.app import make_app
from dosimeter.monitor.pages.local import LocalLink
from dosimeter.monitor.pages.serve import Served, ServeError

from .fake import FakeHistory

pytestmark = pytest.mark.parts


def test_serves_between_start_and_stop_and_leaves_the_port_free() -> None:
    served = Served(make_app(FakeHistory(), LocalLink("me"))).start()
    url = served.url
    with urllib.request.urlopen(f"{url}/api/v1/healthz") as answer:
        assert answer.read() == b'{"status":"ok"}'
        assert "server" not in answer.headers
    served.stop()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", int(url.rpartition(":")[2])))


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"127.0.0.1:{port}.*\n  hint: "):
            Served(make_app(FakeHistory(), LocalLink("me")), port=port).start()


def test_nothing_is_served_before_the_start() -> None:
    with pytest.raises(ServeError, match="not started"):
        _ = Served(make_app(FakeHistory(), LocalLink("me"))).url


def _ended(sent: bytes, port: int) -> None:
    """Returns when a connection on which only this is sent was closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as one:
        one.sendall(sent)
        assert one.recv(1000) == b""


def test_a_connection_on_which_no_whole_request_comes_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """64 of them kept all others out, health included, until whoever had opened them went."""
    monkeypatch.setattr(serve, "REQUEST_S", 0.05)
    begun, answer = threading.Event(), threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        if scope["path"] == "/slow":
            await asyncio.to_thread(answer.wait)
        else:
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"all"})

    served = Served(app).start()
    port = int(served.url.rpartition(":")[2])
    found: list[bytes] = []

    def ask() -> None:
        with urllib.request.urlopen(f"{served.url}/slow") as said:
            found.append(said.read())

    slow = threading.Thread(target=ask)
    slow.start()
    begun.wait()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
    for sent in (b"", b"GE", head, head + b"\r\nhalf"):
        _ended(sent, port)
    answer.set()  # what takes long to answer is not cut, however long the others took
    slow.join()
    served.stop()
    assert found == [b"all"]
