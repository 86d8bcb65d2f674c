"""The site on a real socket."""

from __future__ import annotations

import socket
import urllib.request

import pytest

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
