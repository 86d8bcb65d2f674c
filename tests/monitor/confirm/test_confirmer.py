"""What goes to a confirmer and what counts as its answer, with a real HTTP server and a real import."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.confirm.answer import Answer, NoAnswer
from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.confirm.confirmer import MAX_REPLY, HttpConfirmer, build_confirmer
from tests.monitor.sinks.authority import Authority
from tests.monitor.sinks.dripping import Dripping
from tests.monitor.sinks.receiver import Answer as Reply
from tests.monitor.sinks.receiver import Receiver

CORE = b'{"confirm":"second-look","summary":"\xc3\xa4"}'
YES = b'{"confirm": true, "reason": "it is one", "cost": 0.5}'


class Service(ThreadingHTTPServer):
    """Answers every POST with this status, these headers and this body; keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.more, self.body = 200, dict[str, str](), YES
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/confirm"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, self.path, headers, body))
        self.send_response(self.server.status)
        for name, value in self.server.more.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def do_GET(self) -> None:  # what some clients make of a redirect
        self.do_POST()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.01,))
        thread.start()
        yield service
        service.shutdown()
        thread.join()


def ask(url: str, timeout_s: int = 5) -> Answer:
    headers = {"Authorization": "Bearer s3cret"}
    config = ConfirmerConfig("second-look", url=url, timeout_s=timeout_s, headers=headers)
    return build_confirmer(config).ask(CORE)


def test_it_gets_the_exact_bytes_of_the_record_and_the_headers(service: Service) -> None:
    assert ask(service.url) == Answer(True, "it is one", 0.5)
    ((command, path, headers, body),) = service.seen
    assert (command, path, body) == ("POST", "/confirm", CORE)
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("status", [201, 204, 400, 403, 500, 503])
def test_only_200_is_an_answer(service: Service, status: int) -> None:
    service.status, service.body = status, b"" if status == 204 else YES
    with pytest.raises(NoAnswer, match=f"answered {status}"):
        ask(service.url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_do_not_follow_a_redirect(service: Service, status: int) -> None:
    service.status, service.more = status, {"Location": service.url}
    with pytest.raises(NoAnswer, match=f"answered {status}"):
        ask(service.url)
    assert len(service.seen) == 1


def test_a_body_beyond_the_limit_is_no_answer(service: Service) -> None:
    service.body = YES + b" " * MAX_REPLY
    with pytest.raises(NoAnswer, match="more than 65536 bytes"):
        ask(service.url)


def test_a_body_that_is_no_answer_says_what_it_is(service: Service) -> None:
    service.body = b"<html>"
    with pytest.raises(NoAnswer, match="not JSON"):
        ask(service.url)


def test_nobody_at_the_address_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NoAnswer, match="not reached"):
        ask(f"http://127.0.0.1:{port}/")


def test_a_server_that_says_nothing_is_waited_for_until_the_timeout() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # accepts, and reads nothing
        pytest.raises(NoAnswer, match="no whole answer within 1 s"),
    ):
        ask(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=1)


def test_a_server_that_drips_is_left_when_the_whole_answer_has_taken_its_time() -> None:
    """Until 2026-11-30 each byte had the time-out of its own, and held one of the desk's few threads with it."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(YES) + YES
    with Dripping(answer) as service:
        config = ConfirmerConfig("second-look", url=service.url, timeout_s=len(answer) // 2)
        with pytest.raises(NoAnswer, match="no whole answer"):
            HttpConfirmer(config, monotonic=service.look).ask(CORE)


def test_over_tls_it_trusts_what_the_file_names_shows_its_own_and_sends_the_token_of_another(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.pair("ours", -1, 1)
    token = tmp_path / "token"
    with Receiver(authority.server("good", -1, 1), clients=authority.path) as service:
        service.answers = [Reply(body=YES), Reply(body=YES)]
        config = ConfirmerConfig(
            "second-look",
            url=service.url,
            headers_file=token,
            ca=authority.path,
            client_cert=cert,
            client_key=key,
        )
        confirmer = build_confirmer(config)
        for said in ("Bearer one", "Bearer two"):  # changed while we run
            token.write_text(f"authorization: {said}\n")
            assert confirmer.ask(CORE).confirm
            assert service.came[-1].headers["authorization"] == said
        token.unlink()
        with pytest.raises(NoAnswer, match="token: No such file"):
            confirmer.ask(CORE)


def test_an_authority_that_nobody_named_is_not_trusted_and_the_key_for_it_is(
    tmp_path: Path,
) -> None:
    with (
        Receiver(Authority(tmp_path).server("unknown", -1, 1)) as service,
        pytest.raises(NoAnswer, match="hint: name the file of its authority under `ca`"),
    ):
        ask(service.url)


def test_the_environment_names_no_proxy(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(service.url).confirm


def test_a_function_is_imported_when_it_is_asked_and_gets_a_copy_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    confirmer = build_confirmer(ConfirmerConfig("by-hand", call="own_review:Review.confirm"))
    (tmp_path / "own_review.py").write_text(
        "class Review:\n"
        "    @staticmethod\n"
        "    def confirm(record):\n"
        "        found = record.pop('summary')\n"
        "        return {'confirm': False, 'reason': found, 'cost': 2}\n"
    )
    for _ in range(2):
        assert confirmer.ask(CORE) == Answer(False, "ä", 2.0)
    assert json.loads(CORE)["summary"] == "ä"


@pytest.mark.parametrize("call", ["no_such_module_here:f", "json:no_such_function"])
def test_a_function_that_is_not_there_fails_when_it_is_asked(call: str) -> None:
    confirmer = build_confirmer(ConfirmerConfig("by-hand", call=call))
    with pytest.raises((ImportError, AttributeError)):
        confirmer.ask(CORE)
