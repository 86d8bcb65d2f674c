"""The connection of the sinks that speak HTTP: one host, no detours, and no more of a reply than a reason."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dosimeter.monitor.sinks.deadline import Deadline, connect
from dosimeter.monitor.sinks.http import MAX_REPLY, HttpClient, HttpError, Reply, origin
from tests.monitor.sinks.dripping import Dripping
from tests.monitor.sinks.receiver import Answer, Receiver

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def client(url: str) -> HttpClient:
    return HttpClient(url, timeout_s=5.0, now=lambda: NOON)


def test_one_connection_serves_many_requests(receiver: Receiver) -> None:
    one = client(receiver.url + "/a?b=c")
    assert [one.post(b"x", {}).status for _ in range(3)] == [200] * 3
    one.close()
    assert receiver.connections == 1
    assert receiver.came[0].path == "/a?b=c"


def test_a_connection_that_was_closed_while_idle_is_made_anew(receiver: Receiver) -> None:
    receiver.answers = [Answer(hang_up=True)]
    one = client(receiver.url)
    assert one.post(b"x", {}).status == 200
    assert receiver.ended.acquire(timeout=5)
    assert one.post(b"x", {}).status == 200
    one.close()
    assert receiver.connections == 2


def test_what_got_no_answer_is_not_sent_again_by_itself(receiver: Receiver) -> None:
    """Found 2026-11-30: on a connection that was kept each lost answer repeated all that was in doubt, at once."""
    receiver.answers = [Answer(), Answer(lost=True)]
    one = client(receiver.url)
    assert one.post(b"x", {}).status == 200
    with pytest.raises(HttpError):
        one.post(b"y", {})
    assert [came.body for came in receiver.came] == [b"x", b"y"]


def test_a_redirect_is_a_reply_and_not_followed(receiver: Receiver) -> None:
    with Receiver() as elsewhere:
        receiver.answers = [Answer(status, {"Location": elsewhere.url}) for status in (302, 307)]
        one = client(receiver.url)
        assert [one.post(b"x", {"authorization": "s"}).status for _ in range(2)] == [302, 307]
        one.close()
        assert elsewhere.came == []


def test_the_environment_names_no_proxy(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        one = client(receiver.url)
        assert one.post(b"x", {}).status == 200
        one.close()
        assert (len(receiver.came), len(proxy.came)) == (1, 0)


def test_of_a_long_reply_the_beginning_is_read_and_the_next_request_gets_its_own(
    receiver: Receiver,
) -> None:
    receiver.answers = [Answer(500, body=b"y" * (MAX_REPLY + 1)), Answer(204)]
    one = client(receiver.url)
    assert one.post(b"x", {}).body == b"y" * MAX_REPLY
    assert one.post(b"x", {}).status == 204
    one.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Mon, 30 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 30 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("9" * 400, 999_999_999.0),
    ],
)
def test_a_pause_that_is_asked_for_is_seconds_or_a_date(
    receiver: Receiver, text: str, seconds: float | None
) -> None:
    receiver.answers = [Answer(503, {"Retry-After": text})]
    one = client(receiver.url)
    assert one.post(b"x", {}).retry_after_s == seconds
    one.close()


def test_nobody_there_is_said_with_the_host_and_without_the_path() -> None:
    with Receiver() as gone:
        url = gone.url
    with pytest.raises(HttpError) as caught:
        client(url + "/hooks/s3cret?token=s3cret").post(b"x", {})
    assert url in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert origin("https://user:s3cret@host:1/s3cret") == "https://host:1"


def test_what_is_no_answer_of_http_is_not_repeated(receiver: Receiver) -> None:
    """A port that echoes: the first line that comes back is our own, with the path, which may be a credential."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def echo() -> None:
            here, _ = listener.accept()
            with here:
                here.sendall(here.recv(1 << 16))

        answering = threading.Thread(target=echo)
        answering.start()
        with pytest.raises(HttpError) as caught:
            client(url + "/hooks/s3cret").post(b"x", {"authorization": "s3cret"})
        answering.join()
    assert str(caught.value) == f"`{url}`: what answers does not speak HTTP: BadStatusLine"


def test_a_host_whose_first_address_swallows_everything_is_reached_at_its_next() -> None:
    """Such as one of IPv6 that no route leads to: until 2026-11-30 it took all of the time, each time."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        port = listener.getsockname()[1]
        full = stack.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
        for _ in range(4):  # more than wait to be accepted: what comes then is not answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host in ("127.0.0.2", "127.0.0.1")
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            connected = connect("two.example", port, Deadline(0.4, time.monotonic), None)
        connected.close()


def test_of_one_header_in_two_spellings_the_sinks_own_goes_then_the_one_in_the_file(
    tmp_path: Path,
) -> None:
    """Two `Content-Type` are refused by many a receiver, and what it refuses is a dead letter."""
    file = tmp_path / "headers"
    file.write_text("AUTHORIZATION: new\ncontent-type: text/plain\n")
    told = {"Authorization": "old", "X-Team": "a"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        one = HttpClient(url, timeout_s=5.0, headers=told, headers_file=file)
        sending = threading.Thread(target=one.post, args=(b"", {"Content-Type": "a/json"}))
        sending.start()
        here, _ = listener.accept()
        with here, here.makefile("rb") as lines:
            sent = [line.decode().strip().lower() for line in iter(lines.readline, b"\r\n")]
            here.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            sending.join()
        one.close()
    names = ("authorization", "content-type", "x-team")
    found = sorted(line for line in sent if line.partition(":")[0] in names)
    assert found == ["authorization: new", "content-type: a/json", "x-team: a"]


def test_of_a_reply_what_repeats_path_or_headers_is_left_out(receiver: Receiver) -> None:
    """Error pages like to name the address, and gateways the token; reasons go to logs, `/status` and dead letters."""
    said = b"POST /hooks/s3cret?x=tok3n is not allowed (/hooks/s3cret for Bearer h1dden): h1dden"
    receiver.answers = [Answer(405, body=said)]
    one = HttpClient(
        receiver.url + "/hooks/s3cret?x=tok3n",
        timeout_s=5.0,
        headers={"authorization": "Bearer h1dden", "x-flag": "1"},
    )
    reply = one.post(b"x", {})
    one.close()
    assert one.quoted(reply.body) == repr("POST … is not allowed (… for …): …")
    assert one.quoted(b"y" * 300 + b"1") == repr("y" * 200)
    assert client(receiver.url).quoted(b"/ is not \xff") == repr("/ is not \ufffd")


def test_what_an_operator_or_time_can_mend_is_no_refusal() -> None:
    refusing = {status for status in range(100, 600) if Reply(status).refuses}
    assert refusing == {400, 413, 422}


WHOLE = b"HTTP/1.1 200 OK\r\nX-Slow: yes\r\nContent-Length: 9\r\n\r\nbutslowly"


@pytest.mark.parametrize(
    "looks", [12, 30, WHOLE.index(b"slowly")], ids=["status", "headers", "body"]
)
def test_a_receiver_that_drips_is_left_when_the_whole_exchange_has_taken_its_time(
    looks: int,
) -> None:
    """Each byte comes in time for a socket's own time-out: until 2026-11-30 such a receiver held a sink for ever."""
    with Dripping(WHOLE) as receiver:
        one = HttpClient(receiver.url, timeout_s=looks, monotonic=receiver.look)
        with pytest.raises(HttpError) as caught:
            one.post(b"x", {})
        assert str(caught.value) == f"`{receiver.url}`: no whole answer within {looks} s"


def test_a_receiver_that_drips_and_ends_in_time_is_believed() -> None:
    with Dripping(WHOLE) as receiver:
        one = HttpClient(receiver.url, timeout_s=10 * len(WHOLE), monotonic=receiver.look)
        assert one.post(b"x", {}) == Reply(200, b"butslowly")
        one.close()


def test_a_receiver_that_takes_in_nothing_is_left_too() -> None:
    """Far more than the buffers between us hold; the time is up after a few looks at the clock."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        seconds = iter(range(1 << 30))
        port = deaf.getsockname()[1]
        one = HttpClient(f"http://127.0.0.1:{port}", timeout_s=4.0, monotonic=lambda: next(seconds))
        with pytest.raises(HttpError, match="no whole answer within 4 s"):
            one.post(bytes(64 << 20), {})
        assert next(seconds) == 5  # it ended at a look between two pieces, not in a wait for one


def test_an_answer_that_ends_the_connection_is_read_whole_and_the_next_one_gets_its_own(
    receiver: Receiver,
) -> None:
    receiver.answers = [Answer(500, {"Connection": "close"}, b"later"), Answer(204)]
    one = client(receiver.url)
    assert one.post(b"x", {}) == Reply(500, b"later")
    assert one.post(b"x", {}).status == 204
    one.close()
    assert receiver.connections == 2


def test_headers_of_a_file_are_read_for_each_request_and_stand_behind_the_clients_own(
    receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "headers"
    one = HttpClient(receiver.url, timeout_s=5.0, headers={"a": "1"}, headers_file=file)
    for token in ("old", "new"):
        file.write_text(f"authorization: Bearer {token}\n\nContent-Type: text/plain\n")
        one.post(b"x", {"Content-Type": "application/json"})
    one.close()
    assert [came.headers["authorization"] for came in receiver.came] == ["Bearer old", "Bearer new"]
    assert {came.headers["content-type"] for came in receiver.came} == {"application/json"}
    assert {came.headers["a"] for came in receiver.came} == {"1"}
    assert receiver.connections == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, ": No such file or directory"),
        ("", ": no header in it"),
        ("a: 1\nBearer s3cret\n", ":2: not a header"),
        ("a: s3cret\x00\n", ":1: not a header"),
        ("a: s3cretä\n", ":1: not a header"),
        ("a: " + "s3cret" * 20_000, ": more than 65536 bytes"),
    ],
)
def test_a_file_of_headers_that_cannot_be_used_is_named_and_not_quoted(
    receiver: Receiver, tmp_path: Path, body: str | None, said: str
) -> None:
    file = tmp_path / "headers"
    if body is not None:
        file.write_text(body)
    with pytest.raises(HttpError) as caught:
        HttpClient(receiver.url, timeout_s=5.0, headers_file=file).post(b"x", {})
    assert str(caught.value).startswith(f"{file}{said}\n  hint: ")
    assert "s3cret" not in str(caught.value)
    assert receiver.came == []


@pytest.mark.parametrize(
    "said",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<center>The plain HTTP request was sent to HTTPS port</center>",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ],
    ids=["Go", "nginx", "Apache"],
)
def test_a_port_for_tls_refuses_nothing_that_was_sent(receiver: Receiver, said: bytes) -> None:
    """Its 400 had made dead letters of all that waited; only the scheme of the URL was wrong."""
    receiver.answers = [Answer(400, body=said), Answer(400, body=b"no such field")]
    one = client(receiver.url)
    with pytest.raises(HttpError) as caught:
        one.post(b"x", {})
    assert str(caught.value) == (
        f"`{receiver.url}`: what answers speaks TLS alone\n  hint: `https://…`"
    )
    assert one.post(b"x", {}).refuses
    one.close()
