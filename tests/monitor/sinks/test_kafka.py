"""The Kafka sink without a broker: what is sent, and what each failure means."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumberError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
    UnknownError,
)
from kafka.future import Future

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.lab.broker import free_port
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka import KafkaSink, build_producer
from dosimeter.monitor.sinks.kafka_client import ClientRecorder, explained
from dosimeter.monitor.sinks.kafka_consumer import connected_consumer
from dosimeter.monitor.sinks.sink import Outcome
from tests.monitor.sinks.authority import Authority
from tests.monitor.sinks.receiver import Receiver

StoredOf = Callable[..., StoredAlert]


class FakeProducer:
    """Answers each send with an acknowledgement, a failed future, an exception or nothing."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers, self.closed, self.sent = answers, 0, []
        self.silent = False  # of one that was sent nothing comes

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
        self.silent = self.silent or answer is None
        return future

    def flush(self, timeout: float) -> None:
        assert 0 < timeout <= 11  # the delivery timeout, and a second
        if self.silent:
            raise KafkaTimeoutError("flush")

    def close(self, timeout: float) -> None:
        self.closed += 1


def sink_over(*producers: FakeProducer) -> KafkaSink:
    waiting = list(producers)
    return KafkaSink(KafkaConfig(), connect=lambda config: waiting.pop(0))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def results(outcomes: list[Outcome]) -> list[str]:
    return [outcome.result.value for outcome in outcomes]


def test_an_oversized_record_is_dead_and_the_producer_stays(stored_of: StoredOf) -> None:
    producer = FakeProducer(["ack", (MessageSizeTooLargeError("2 MB"),), "ack"])
    sink = sink_over(producer)
    assert results(sink.send([stored_of(n) for n in (1, 2, 3)])) == [
        "delivered",
        "dead",
        "delivered",
    ]
    assert producer.closed == 0


def test_only_what_a_new_producer_refuses_too_when_sent_alone_is_dead(stored_of: StoredOf) -> None:
    """After one refusal kafka-python's producer gives that same error to all it holds and all it is given."""
    over = MessageSizeTooLargeError("2 MB")
    poisoned = FakeProducer(["ack", over, over, over])
    alone, fresh = FakeProducer(["ack", over]), FakeProducer(["ack"])
    sink = sink_over(poisoned, alone, fresh)
    outcomes = sink.send([stored_of(n) for n in (1, 2, 3, 4)])
    assert results(outcomes) == ["delivered", "delivered", "dead", "delivered"]
    assert "max.message.bytes" in outcomes[2].reason
    assert [one.closed for one in (poisoned, alone, fresh)] == [1, 1, 0]


def test_a_cluster_that_goes_away_between_is_asked_once_and_not_once_a_record(
    stored_of: StoredOf,
) -> None:
    over = MessageSizeTooLargeError("2 MB")
    away = FakeProducer([(KafkaTimeoutError("no metadata"),)])
    sink = sink_over(FakeProducer([over, over, over]), away)
    assert results(sink.send([stored_of(n) for n in (1, 2, 3)])) == ["retry"] * 3
    assert len(away.sent) == 1


def test_the_pieces_of_a_batch_that_the_producer_divided_are_waited_for(
    stored_of: StoredOf,
) -> None:
    """`flush` of kafka-python raises at once where a batch was over the topic's limit."""
    waited: list[float] = []

    class Piece(Future):
        def get(self, timeout: float) -> None:
            waited.append(timeout)
            self.success(None)

    class Divides(FakeProducer):
        def send(self, topic: str, **record: Any) -> Future:
            return Piece()

        def flush(self, timeout: float) -> None:
            raise UnknownError("Future not done")

    sink = sink_over(Divides([]))
    assert results(sink.send([stored_of(1), stored_of(2)])) == ["delivered", "delivered"]
    assert len(waited) == 2
    assert 0 < waited[0] <= 11  # within the delivery timeout of 10 s, and a second


def test_what_a_broker_said_is_told_and_not_that_time_is_up() -> None:
    """kafka-python ends every failed beginning with the same time-out."""
    recorder = ClientRecorder()
    told = SaslAuthenticationFailedError("wrong")
    for error in (KafkaConnectionError("socket disconnected"), told, RequestTimedOutError("late")):
        recorder._remember(error)
    recorder._remember(KafkaConnectionError("socket disconnected"))
    assert recorder.cause is told


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
    assert "dosimeter kafka init --topic dosimeter.alerts.v1" in outcomes[0].reason


def test_a_core_that_is_no_object_is_dead() -> None:
    outcomes = sink_over(FakeProducer([])).send([StoredAlert(1, "e", b"[1]", True, 1)])
    assert results(outcomes) == ["dead"]


def test_silence_is_no_acknowledgement(stored_of: StoredOf) -> None:
    silent = FakeProducer(["ack", None])
    sink = sink_over(silent)
    assert results(sink.send([stored_of(1), stored_of(2)])) == ["delivered", "retry"]
    assert (silent.silent, silent.closed) == (True, 1)


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


def test_that_names_of_brokers_are_not_looked_at_is_said_once(
    stored_of: StoredOf, caplog: pytest.LogCaptureFixture
) -> None:
    where = f"127.0.0.1:{free_port()}"
    for security, said in (
        ({"security_protocol": "SSL"}, 0),
        ({"security_protocol": "SSL", "ssl_check_hostname": False}, 1),
    ):
        sink = KafkaSink(KafkaConfig((where,), security=security, connect_timeout_s=0.05))
        for _ in range(2):
            sink.send([stored_of(1)])
        sink.close()
        ours = [one for one in caplog.records if one.name.startswith("dosimeter")]
        assert len(ours) == said
    assert ours[0].getMessage().startswith(f"kafka at `{where}`: `ssl_check_hostname: false`")


@pytest.mark.parametrize(
    "build",
    [build_producer, lambda config: connected_consumer(config, "g", client_id="c")],
    ids=["producer", "consumer"],
)
def test_why_a_broker_is_not_reached_is_said_to_who_reads_as_to_who_writes(
    tmp_path: Path, build: Callable[[KafkaConfig], Any]
) -> None:
    """Until 2026-11-30 a consumer said "unable to bootstrap" of whatever it was: a password, a certificate, a file."""
    authority = Authority(tmp_path)
    with Receiver(authority.server("broker", -1, 30)) as broker:
        where = broker.url.removeprefix("https://")
        security = {"security_protocol": "SSL"}
        with pytest.raises(KafkaError, match="certificate verify failed"):
            build(KafkaConfig((where,), security=security, connect_timeout_s=2))
        missing = {**security, "ssl_cafile": str(tmp_path / "gone.pem")}
        with pytest.raises(OSError, match=r"gone\.pem"):
            build(KafkaConfig((where,), security=missing, connect_timeout_s=2))


def test_what_can_be_done_depends_on_the_error_and_names_the_topic() -> None:
    """What ships to history said of a wrong password, too, that the topic might not exist."""
    assert "kafka init" not in explained(SaslAuthenticationFailedError("wrong"), "t")
    late = explained(KafkaTimeoutError("no metadata"), "t")
    assert late.endswith("if the topic does not exist: `dosimeter kafka init --topic t`")
