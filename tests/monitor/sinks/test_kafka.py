"""The Kafka sink without a broker: what is sent, and what each failure means."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumberError,
    TopicAuthorizationFailedError,
)
from kafka.future import Future

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.lab.broker import free_port
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka import KafkaSink, build_producer, kafka_record
from dosimeter.monitor.sinks.sink import Outcome

StoredOf = Callable[..., StoredAlert]


class FakeProducer:
    """Answers each send with an acknowledgement, a failed future, an exception or nothing."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers, self.closed, self.sent = answers, 0, []

    def send(self, topic: str, **record: Any) -> Future:
        self.sent.append(record)
        answer = self.answers.pop(0)
        if isinstance(answer, tuple):  # raised by send itself
            raise answer[0]
        future = Future()
        if answer == "ack":
            future.success(None)
        elif answer is not None:
            future.failure(answer)
        return future

    def flush(self, timeout: float) -> None:
        if None in self.answers:
            raise KafkaTimeoutError("flush")

    def close(self, timeout: float) -> None:
        self.closed += 1


def sink_over(*producers: FakeProducer) -> KafkaSink:
    waiting = list(producers)
    return KafkaSink(KafkaConfig(), connect=lambda config: waiting.pop(0))


TRACE = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def results(outcomes: list[Outcome]) -> list[str]:
    return [outcome.result.value for outcome in outcomes]


def test_the_record_is_the_ledgers_bytes_keyed_by_conversation(stored_of: StoredOf) -> None:
    alert = stored_of(7, labels={"conversation": "c-1", "traceparent": TRACE})
    record = kafka_record(alert)
    assert record["value"] is alert.core
    assert record["key"] == b"c-1"
    assert record["headers"] == [
        ("event_id", f"{7:032x}".encode()),
        ("content-type", b"application/json"),
        ("schema", b"dosimeter.alert.v2"),
        ("traceparent", TRACE.encode()),
    ]


def test_a_digest_has_its_rule_for_a_key_and_says_what_it_is(digest_of: StoredOf) -> None:
    record = kafka_record(digest_of(8))
    assert record["key"] == b"deception.denies"
    assert dict(record["headers"])["schema"] == b"dosimeter.digest.v1"


def test_without_a_conversation_the_request_is_the_key(stored_of: StoredOf) -> None:
    record = kafka_record(stored_of(7, labels={}))
    assert record["key"] == b"00000000000000aa/0000000000000007"
    assert "traceparent" not in dict(record["headers"])


@pytest.mark.parametrize("label", ["garbage", TRACE + "\r\nx: y", TRACE.upper()])
def test_a_label_that_is_no_traceparent_becomes_no_header(stored_of: StoredOf, label: str) -> None:
    """The label is what a client sent under that name."""
    record = kafka_record(stored_of(7, labels={"traceparent": label}))
    assert "traceparent" not in dict(record["headers"])


def test_an_oversized_record_is_dead_and_the_producer_stays(stored_of: StoredOf) -> None:
    producer = FakeProducer(["ack", (MessageSizeTooLargeError("2 MB"),), "ack"])
    sink = sink_over(producer)
    assert results(sink.send([stored_of(n) for n in (1, 2, 3)])) == [
        "delivered",
        "dead",
        "delivered",
    ]
    assert producer.closed == 0


@pytest.mark.parametrize(
    "error", [OutOfOrderSequenceNumberError(), TopicAuthorizationFailedError(), KafkaTimeoutError()]
)
def test_after_any_other_failure_the_producer_is_built_anew(
    stored_of: StoredOf, error: Exception
) -> None:
    """A producer keeps a fatal error for ever: every later send on it fails too."""
    broken, fresh = FakeProducer(["ack", error]), FakeProducer(["ack"])
    sink = sink_over(broken, fresh)
    assert results(sink.send([stored_of(1), stored_of(2)])) == ["delivered", "retry"]
    assert broken.closed == 1
    assert results(sink.send([stored_of(2)])) == ["delivered"]


def test_no_metadata_blocks_once_and_not_once_a_record(stored_of: StoredOf) -> None:
    producer = FakeProducer([(KafkaTimeoutError("no metadata"),)])
    outcomes = sink_over(producer).send([stored_of(n) for n in range(1, 6)])
    assert results(outcomes) == ["retry"] * 5
    assert len(producer.sent) == 1
    assert "dosimeter kafka init" in outcomes[0].reason


def test_a_core_that_is_no_object_is_dead() -> None:
    outcomes = sink_over(FakeProducer([])).send([StoredAlert(1, "e", b"[1]", True, 1)])
    assert results(outcomes) == ["dead"]


def test_silence_is_no_acknowledgement(stored_of: StoredOf) -> None:
    sink = sink_over(FakeProducer(["ack", None]))
    assert results(sink.send([stored_of(1), stored_of(2)])) == ["delivered", "retry"]


def test_a_broker_that_is_away_costs_no_socket_and_no_thread(
    stored_of: StoredOf, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's constructor leaks both when it raises; a night's outage is 10 000 attempts."""
    caplog.set_level(logging.CRITICAL, "kafka")  # a captured record would keep its sockets alive
    port = free_port()
    config = KafkaConfig(bootstrap=(f"127.0.0.1:{port}",), connect_timeout_s=0.2)
    sink = KafkaSink(config, connect=build_producer)
    sink.send([stored_of(1)])
    before = open_files(), threading.active_count()
    for _ in range(3):
        (outcome,) = sink.send([stored_of(1)])
        assert outcome.result.value == "retry"
        assert f"127.0.0.1:{port}" in outcome.reason
    assert (open_files(), threading.active_count()) == before
