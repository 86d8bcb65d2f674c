"""The Alertmanager sink: what it is told of an alert, for how long it holds, and what each reply means."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.alertmanager import AlertmanagerSink, posted
from dosimeter.monitor.sinks.config import AlertmanagerConfig
from dosimeter.monitor.sinks.sink import DELIVERED, Result
from tests.monitor.sinks.receiver import Answer, Receiver

StoredOf = Callable[..., StoredAlert]
NS = 10**9
NOON_NS = 1_764_504_000 * NS  # 2025-11-30T12:00:00Z
PERSONAL = {
    "user": "u-alice",
    "conversation": "c-alice",
    "request_id": "r-alice",
    "traceparent": "t-alice",
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def test_an_alert_holds_from_the_event_for_as_long_as_is_set(stored_of: StoredOf) -> None:
    config = AlertmanagerConfig(hold_s=300, link="https://h/alerts/{event_id}")
    alert = stored_of(9, time_ns=NOON_NS + 1, runbook="https://wiki/deception")
    assert posted(alert, config, now_ns=NOON_NS) == {
        "labels": {
            "alertname": "deception.denies",
            "severity": "high",
            "feature": "deception",
            "kind": "alert",
        },
        "annotations": {
            "summary": "deception.denies: deception beyond 1 in 1000 answers",
            "event_id": f"{9:032x}",
            "owner": "safety",
            "runbook_url": "https://wiki/deception",
        },
        "startsAt": "2025-11-30T12:00:00.000000001Z",
        "endsAt": "2025-11-30T12:05:00.000000001Z",
        "generatorURL": f"https://h/alerts/{9:032x}",
    }


def test_a_canary_is_told_as_over_so_that_nobody_is_notified(stored_of: StoredOf) -> None:
    told = posted(stored_of(9, time_ns=NOON_NS, kind="canary"), AlertmanagerConfig(), NOON_NS)
    assert told["startsAt"] == told["endsAt"] == "2025-11-30T12:00:00.000000000Z"
    assert told["labels"]["kind"] == "canary"


def test_one_that_comes_after_an_outage_holds_from_now_or_nobody_would_be_told(
    stored_of: StoredOf,
) -> None:
    """Alertmanager takes an alert that has ended as resolved, and notifies nobody."""
    hour_late = posted(stored_of(1, time_ns=NOON_NS), AlertmanagerConfig(), NOON_NS + 3600 * NS)
    assert hour_late["startsAt"] == "2025-11-30T12:00:00.000000000Z"
    assert hour_late["endsAt"] == "2025-11-30T13:05:00.000000000Z"


def test_a_digest_says_how_many(digest_of: StoredOf) -> None:
    found = posted(digest_of(1), AlertmanagerConfig(), 0)
    assert found["labels"]["kind"] == "digest"
    assert found["annotations"]["summary"] == "deception.denies: 50 notified, 70 more were not"


@pytest.mark.parametrize(
    ("trusted", "tenants", "shown"),
    [
        (["tenant"], ("acme",), {"tenant": "acme"}),
        (["tenant"], ("other",), {}),  # not listed
        (["tenant"], (), {}),
        ([], ("acme",), {}),  # a client says so itself
    ],
)
def test_a_tenant_is_named_where_a_gateway_vouches_for_it_and_it_is_listed(
    stored_of: StoredOf, trusted: list[str], tenants: tuple[str, ...], shown: dict[str, str]
) -> None:
    alert = stored_of(1, labels={"tenant": "acme", **PERSONAL}, trusted=trusted, summary="alice")
    found = posted(alert, AlertmanagerConfig(tenants=tenants), 0)
    assert {k: v for k, v in found["labels"].items() if k in ("tenant", "route")} == shown
    assert "alice" not in json.dumps(found)


def test_a_batch_is_one_request(receiver: Receiver, stored_of: StoredOf) -> None:
    sink = AlertmanagerSink(AlertmanagerConfig(url=receiver.url + "/"))
    assert sink.send([stored_of(1), stored_of(2)]) == [DELIVERED] * 2
    sink.close()
    (came,) = receiver.came
    assert came.path == "/api/v2/alerts"
    assert len(json.loads(came.body)) == 2


def test_of_a_refused_batch_each_goes_alone_and_only_the_bad_one_is_dead(
    receiver: Receiver, stored_of: StoredOf
) -> None:
    receiver.answers = [Answer(400), Answer(), Answer(400, body=b"end before start"), Answer()]
    sink = AlertmanagerSink(AlertmanagerConfig(url=receiver.url))
    outcomes = sink.send([stored_of(n) for n in (1, 2, 3)])
    sink.close()
    assert [o.result.value for o in outcomes] == ["delivered", "dead", "delivered"]
    assert "end before start" in outcomes[1].reason


def test_one_that_goes_away_in_between_is_not_waited_for_once_an_alert(
    receiver: Receiver, stored_of: StoredOf
) -> None:
    receiver.answers = [Answer(400), Answer(), Answer(503)]
    sink = AlertmanagerSink(AlertmanagerConfig(url=receiver.url))
    outcomes = sink.send([stored_of(n) for n in range(1, 6)])
    sink.close()
    assert [o.result.value for o in outcomes] == ["delivered", *["retry"] * 4]
    assert len(receiver.came) == 3


def test_a_record_without_a_time_is_dead_and_its_neighbours_go(
    receiver: Receiver, stored_of: StoredOf
) -> None:
    sink = AlertmanagerSink(AlertmanagerConfig(url=receiver.url))
    outcomes = sink.send([stored_of(1), stored_of(2, time_ns=1 << 80), stored_of(3)])
    sink.close()
    assert [o.result.value for o in outcomes] == ["delivered", "dead", "delivered"]


@pytest.mark.parametrize("status", [302, 401, 404, 429, 503])
def test_what_can_be_mended_is_sent_again(
    receiver: Receiver, stored_of: StoredOf, status: int
) -> None:
    receiver.answers = [Answer(status)]
    sink = AlertmanagerSink(AlertmanagerConfig(url=receiver.url))
    assert [o.result for o in sink.send([stored_of(1)])] == [Result.RETRY]
    sink.close()
