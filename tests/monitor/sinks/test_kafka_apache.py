"""Apache Kafka: other people's consumers, and what an operator can get wrong, found and mended without a loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Partition
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ACLOperation

from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.fleet.member import Member
from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.lab.readback import read_back
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka import KafkaSink
from dosimeter.monitor.sinks.kafka_record import kafka_record
from dosimeter.monitor.sinks.sink import DELIVERED, Result
from tests.monitor.sinks.apache_scene import Guarded
from tests.monitor.sinks.deliver_scene import Delivering, wait_until

pytestmark = pytest.mark.parts
StoredOf, RecordOf = Callable[..., StoredAlert], Callable[..., LedgerRecord]


@pytest.fixture
def topic(guarded: Guarded, request: pytest.FixtureRequest) -> str:
    name = request.node.name[:60]
    init_topic(guarded.kafka.bootstrap(), name, partitions=3)
    return name


def kafka(
    guarded: Guarded, topic: str, listener: str = "SECURE", **security: str
) -> dict[str, object]:
    """The sink as it stands in the sidecar's file."""
    said = guarded.security() | security
    return {
        "kafka": {"bootstrap": guarded.kafka.bootstrap(listener), "topic": topic, "security": said}
    }


def consumed(guarded: Guarded, topic: str) -> dict[str, bytes]:
    """By event id; what came twice is there once."""
    found = read_back(guarded.kafka.bootstrap(), topic)
    return {one.event_id: one.value for one in found}


def test_librdkafka_and_kafka_python_read_the_ledgers_bytes_with_key_and_headers(
    guarded: Guarded, topic: str, stored_of: StoredOf
) -> None:
    alerts = [stored_of(n, summary=f"täuscht \u2028 {n}") for n in range(1, 301)]
    sink = KafkaSink(KafkaConfig(tuple(guarded.kafka.bootstrap()), topic))
    assert sink.send(alerts) == [DELIVERED] * 300
    sink.close()
    sent = {
        alert.event_id: (made["key"], made["value"], made["headers"])
        for alert in alerts
        for made in [kafka_record(alert)]
    }
    where = {"bootstrap.servers": guarded.kafka.bootstrap()[0], "group.id": "reader"}
    other = Consumer(where | {"enable.auto.commit": False, "auto.offset.reset": "earliest"})
    other.assign([Partition(topic, n, 0) for n in range(3)])
    found = {}
    while len(found) < 300:
        for message in other.consume(300, 30):
            assert message.error() is None
            headers = message.headers()
            found[dict(headers)["ce_id"].decode()] = (message.key(), message.value(), headers)
    other.close()
    assert found == sent
    ours = read_back(guarded.kafka.bootstrap(), topic)
    assert {one.event_id: (one.key, one.value, list(one.headers.items())) for one in ours} == sent


def test_the_topic_is_made_with_the_login_of_the_sink(
    guarded: Guarded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dosimeter.yaml"
    file.write_text(json.dumps({"version": 1, "sinks": kafka(guarded, "made")}))
    words = ["kafka", "init", "--config", str(file), "--partitions", "1"]
    assert main(words) == 3
    assert "may you create topics?" in capsys.readouterr().err
    guarded.grant("made", ACLOperation.CREATE, ACLOperation.DESCRIBE)
    assert main(words) == 0
    assert capsys.readouterr().out == "topic `made` created\n"


def test_a_wrong_password_is_told_and_costs_nothing(
    guarded: Guarded, topic: str, tmp_path: Path, record_of: RecordOf
) -> None:
    guarded.grant(topic)
    with Delivering(tmp_path, kafka(guarded, topic, sasl_plain_password="wrong")) as run:
        run.accept([record_of(n) for n in range(20)])
        run.fails_with("hint: ", "check `")  # its login, where the broker's answer was read in time
        assert json.loads(run.said("--status"))["sinks"]["kafka"]["queued"] == 20
        run.begin(kafka(guarded, topic))
        assert run.drained()["delivered"] == 20
        assert consumed(guarded, topic) == run.accepted


def test_a_principal_without_rights_waits_for_them_and_goes_on_by_itself(
    guarded: Guarded, topic: str, tmp_path: Path, record_of: RecordOf
) -> None:
    with Delivering(tmp_path, kafka(guarded, topic)) as run:
        run.accept([record_of(n) for n in range(20)])
        run.fails_with(topic, "TopicAuthorizationFailed", "the rights Write and Describe")
        guarded.grant(topic)
        assert run.drained()["delivered"] == 20
        assert consumed(guarded, topic) == run.accepted


def test_an_expired_certificate_is_named_and_once_renewed_all_arrives(
    guarded: Guarded, topic: str, tmp_path: Path, record_of: RecordOf
) -> None:
    guarded.grant(topic)
    with Delivering(tmp_path, kafka(guarded, topic, "STALE")) as run:
        run.accept([record_of(n) for n in range(20)])
        run.fails_with("certificate has expired", "`ssl_cafile`")
        guarded.renew()
        assert run.drained()["delivered"] == 20
        assert consumed(guarded, topic) == run.accepted


def test_a_certificate_is_shown_to_a_broker_that_asks_for_one_and_without_it_the_alerts_wait(
    guarded: Guarded, topic: str, stored_of: StoredOf
) -> None:
    guarded.grant(topic, to="CN=broker")
    where, own = tuple(guarded.kafka.bootstrap("MUTUAL")), guarded.mutual()
    bare = {name: own[name] for name in ("security_protocol", "ssl_cafile")}
    for security, result in ((bare, Result.RETRY), (own, Result.DELIVERED)):
        sink = KafkaSink(KafkaConfig(where, topic, connect_timeout_s=2.0, security=security))
        [outcome] = sink.send([stored_of(1)])
        sink.close()
        assert outcome.result is result, outcome
    assert len(consumed(guarded, topic)) == 1


def test_of_a_batch_beyond_the_topics_limit_only_the_record_that_is_itself_too_large_is_dead(
    guarded: Guarded, topic: str, tmp_path: Path, record_of: RecordOf
) -> None:
    """Twenty of about 1 kB are one batch of kafka-python, far over 3000 bytes, though none of them is."""
    guarded.grant(topic)
    guarded.limit(topic, 3000)
    with Delivering(tmp_path, kafka(guarded, topic)) as run:
        run.accept([record_of(n, summary="x" * (9000 if n == 7 else 9)) for n in range(20)])
        found = run.drained()
        assert (found["delivered"], found["dead"]) == (19, 1)
        over = f"{7:032x}"
        kept = {key: core for key, core in run.accepted.items() if key != over}
        assert consumed(guarded, topic) == kept
        assert "`max.message.bytes`" in run.said("dead").decode()
        guarded.limit(topic, 100_000)
        run.said("replay", "--all")
        wait_until(lambda: run.sink()["delivered"] == 20, run.sink)
        assert run.sink()["dead"] == 0
        assert consumed(guarded, topic) == run.accepted


def test_a_member_that_had_no_time_for_its_join_gets_its_share_with_a_later_poll(
    guarded: Guarded, topic: str
) -> None:
    """A join without an answer in time is forgotten by kafka-python alone, if new partitions were its reason."""
    bootstrap = guarded.kafka.bootstrap()
    member = Member(KafkaConfig(tuple(bootstrap), topic), "short-polls")
    wait_until(lambda: member.poll(0.2, 10) or len(member.assigned) == 3)
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_partitions({topic: 6})
    member._consumer._cluster.request_update()  # as every five minutes
    wait_until(lambda: member.poll(0.001, 10) or not member.assigned)  # given back, to join again
    for _ in range(100):
        member.poll(0.001, 10)
    wait_until(lambda: member.poll(0.2, 10) or len(member.assigned) == 6, lambda: member.assigned)
    member.commit({TopicPartition(topic, 5): (0, "")})
    member.close()
