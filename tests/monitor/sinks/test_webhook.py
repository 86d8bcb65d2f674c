"""The webhook sink: a receiver's own library believes its signature, and every reply has one meaning."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.config import WebhookConfig
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, Result
from dosimeter.monitor.sinks.webhook import WebhookSink
from tests.monitor.sinks.receiver import Answer, Receiver

StoredOf = Callable[..., StoredAlert]
SECRET, NEXT = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def sink_of(receiver: Receiver) -> Iterator[Callable[..., WebhookSink]]:
    made: list[WebhookSink] = []

    def make(**settings: object) -> WebhookSink:
        config = WebhookConfig(url=f"{receiver.url}/hooks/t0ken", **settings)  # type: ignore[arg-type]
        made.append(WebhookSink(config))
        return made[-1]

    yield make
    for sink in made:
        sink.close()


SinkOf = Callable[..., WebhookSink]


def results(outcomes: list[Outcome]) -> list[str]:
    return [outcome.result.value for outcome in outcomes]


def test_each_alert_is_a_request_of_its_own_with_the_bytes_of_the_ledger(
    receiver: Receiver, sink_of: SinkOf, stored_of: StoredOf
) -> None:
    alerts = [stored_of(1), stored_of(2)]
    assert sink_of(headers={"authorization": "Bearer x"}).send(alerts) == [DELIVERED] * 2
    assert [came.body for came in receiver.came] == [alert.core for alert in alerts]
    assert [came.headers["webhook-id"] for came in receiver.came] == [f"{n:032x}" for n in (1, 2)]
    assert {came.headers["authorization"] for came in receiver.came} == {"Bearer x"}
    assert receiver.came[0].path == "/hooks/t0ken"
    assert "webhook-signature" not in receiver.came[0].headers


def test_the_signature_is_one_that_the_standards_own_library_believes(
    receiver: Receiver, sink_of: SinkOf, stored_of: StoredOf, tmp_path: Path
) -> None:
    """Also while the secret is being changed: then either is believed."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n{NEXT}\n")
    sink_of(secret=file).send([stored_of(1)])
    (came,) = receiver.came
    for secret in (SECRET, NEXT):
        assert Webhook(secret).verify(came.body, dict(came.headers)) == json.loads(came.body)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(came.body.replace(b"high", b"low"), dict(came.headers))
    assert abs(int(came.headers["webhook-timestamp"]) - time.time()) < 300


@pytest.mark.parametrize("body", ["", "s3cret", "whsec_s3cret!", "whsec_czNjcmV0", None])
def test_a_secret_that_cannot_be_used_is_waited_for_and_never_quoted(
    receiver: Receiver, sink_of: SinkOf, stored_of: StoredOf, tmp_path: Path, body: str | None
) -> None:
    file = tmp_path / "secret"
    if body is not None:
        file.write_text(body)
    sink = sink_of(secret=file)
    (outcome,) = sink.send([stored_of(1)])
    assert outcome.result is Result.RETRY
    assert str(file) in outcome.reason
    assert not body or body not in outcome.reason
    assert receiver.came == []
    file.write_text(SECRET)  # the operator mends it
    assert sink.send([stored_of(1)]) == [DELIVERED]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_alert_is_dead_and_its_neighbours_go(
    receiver: Receiver, sink_of: SinkOf, stored_of: StoredOf, status: int
) -> None:
    receiver.answers = [Answer(), Answer(status, body=b"bad \x1b[1mfield"), Answer()]
    outcomes = sink_of().send([stored_of(n) for n in (1, 2, 3)])
    assert results(outcomes) == ["delivered", "dead", "delivered"]
    assert f"answered {status}: 'bad \\x1b[1mfield'" in outcomes[1].reason
    assert "t0ken" not in outcomes[1].reason


@pytest.mark.parametrize(
    "status", [302, 401, 402, 403, 404, 405, 408, 409, 410, 415, 421, 423, 425, 429, 451, 500, 503]
)
def test_what_can_be_mended_keeps_those_behind_it_in_order_and_asks_for_none(
    receiver: Receiver, sink_of: SinkOf, stored_of: StoredOf, status: int
) -> None:
    receiver.answers = [Answer(), Answer(status, {"Retry-After": "3"})]
    outcomes = sink_of().send([stored_of(n) for n in (1, 2, 3, 4)])
    assert results(outcomes) == ["delivered", "retry", "retry", "retry"]
    assert {outcome.after_s for outcome in outcomes[1:]} == {3.0}
    assert len(receiver.came) == 2
    assert ("redirect" in outcomes[1].reason) == (status == 302)


def test_neither_secret_nor_token_is_logged(
    sink_of: SinkOf,
    stored_of: StoredOf,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    with caplog.at_level(logging.DEBUG):
        sink_of(secret=file, headers={"authorization": "b3arer"}).send([stored_of(1)])
    assert not [word for word in ("t0ken", SECRET, "b3arer") if word in caplog.text]
