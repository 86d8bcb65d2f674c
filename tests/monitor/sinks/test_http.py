"""The connection of the sinks that speak HTTP: one host, no detours, and no more of a reply than a reason."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from dosimeter.monitor.sinks.http import MAX_REPLY, HttpClient, HttpError, Reply, origin
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
    assert [one.post(b"x", {}).status for _ in range(2)] == [200] * 2
    one.close()
    assert receiver.connections == 2


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


def test_what_an_operator_or_time_can_mend_is_no_refusal() -> None:
    refusing = {status for status in range(100, 600) if Reply(status).refuses}
    assert refusing == set(range(400, 500)) - {401, 403, 404, 408, 409, 425, 429}
