"""The rights that deploy/kafka/README.md hands out, on a broker of Apache Kafka: enough for each part, and no more.

They are read from the page's own command lines, so a line that is missing there is missing here.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ACLOperation, ResourcePattern, ResourceType
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.feed.items import Blob
from dosimeter.monitor.feed.kafka_feed import KafkaFeed
from dosimeter.monitor.feed.topic import record
from dosimeter.monitor.fleet.member import Member
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka import KafkaSink, build_producer
from dosimeter.monitor.sinks.sink import DELIVERED, Result
from dosimeter.monitor.tlog.anchor_kafka import KafkaAnchor
from dosimeter.monitor.tlog.anchors import AnchorFailed
from dosimeter.monitor.tlog.note import Checkpoint, Signer
from dosimeter.rules.canonical import digest
from tests.monitor.sinks.apache_scene import OTHERS, USER, Guarded
from tests.monitor.sinks.deliver_scene import wait_until

pytestmark = pytest.mark.parts
StoredOf = Callable[..., StoredAlert]
PAGE = Path(__file__).parents[3] / "deploy" / "kafka" / "README.md"
ALERTS, CHECKPOINTS = "dosimeter.alerts.v1", "dosimeter.checkpoints"
HISTORY, HITS = "dosimeter.history", "dosimeter.hits"
SIGNER = Signer.generate("example.org/log")
NOTE = SIGNER.sign(str(Checkpoint(SIGNER.name, 7, bytes(32))))


def documented() -> list[tuple[str, ResourcePattern, ACLOperation]]:
    words = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    for name in ("bootstrap-server", "command-config", "allow-principal", "topic", "group"):
        words.add_argument(f"--{name}")
    words.add_argument("--add", action="store_true", required=True)
    words.add_argument("--operation", action="append")
    found = []
    for line in re.findall(r"^kafka-acls\.sh (.*)$", PAGE.read_text(), re.MULTILINE):
        said = words.parse_args(shlex.split(line))
        kind = ResourceType.TOPIC if said.topic else ResourceType.GROUP
        what = ResourcePattern(kind, said.topic or said.group)
        for name in said.operation:
            found.append((said.allow_principal, what, ACLOperation[name.upper()]))
    return found


@pytest.fixture(scope="module")
def broker(guarded: Guarded) -> Guarded:
    for topic in (ALERTS, CHECKPOINTS, HISTORY, HITS):
        init_topic(guarded.kafka.bootstrap(), topic, partitions=1)
    guarded.allow(documented())
    return guarded


def as_(broker: Guarded, user: str, topic: str) -> KafkaConfig:
    where = tuple(broker.kafka.bootstrap("SECURE"))
    return KafkaConfig(where, topic, security=broker.security(user=user))


def test_every_principal_of_the_page_has_rights_and_none_is_forgotten(broker: Guarded) -> None:
    assert {who for who, _, _ in documented()} == {f"User:{name}" for name in (USER, *OTHERS)}
    table = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(table) == sorted((USER, *OTHERS))


def test_the_principal_of_checkpoints_writes_these_and_nothing_else_and_reads_nothing(
    broker: Guarded, stored_of: StoredOf
) -> None:
    KafkaAnchor(as_(broker, "checkpoints", CHECKPOINTS)).put(NOTE)
    sink = KafkaSink(as_(broker, "checkpoints", ALERTS))
    [outcome] = sink.send([stored_of(1)])
    sink.close()
    assert outcome.result is Result.RETRY
    assert "TopicAuthorizationFailed" in outcome.reason
    with pytest.raises(AnchorFailed, match="may this principal use it"):
        KafkaAnchor(as_(broker, "checkpoints", CHECKPOINTS)).notes()


def test_the_principal_of_the_auditor_reads_checkpoints_and_writes_none(broker: Guarded) -> None:
    KafkaAnchor(as_(broker, "checkpoints", CHECKPOINTS)).put(NOTE)
    anchor = KafkaAnchor(as_(broker, "auditor", CHECKPOINTS))
    assert NOTE in anchor.notes()
    with pytest.raises(AnchorFailed, match="may this principal use it"):
        anchor.put(NOTE)


@pytest.mark.parametrize("user", [USER, "history", "fleet"])
def test_nobody_else_writes_a_checkpoint(broker: Guarded, user: str) -> None:
    with pytest.raises(AnchorFailed, match="may this principal use it"):
        KafkaAnchor(as_(broker, user, CHECKPOINTS)).put(NOTE)


def test_none_of_them_deletes_the_topic_of_checkpoints_or_what_is_in_it(broker: Guarded) -> None:
    KafkaAnchor(as_(broker, "checkpoints", CHECKPOINTS)).put(NOTE)
    auditor = KafkaAnchor(as_(broker, "auditor", CHECKPOINTS))
    before = auditor.notes()
    for user in (USER, *OTHERS):
        where, login = broker.kafka.bootstrap("SECURE"), broker.security(user=user)
        with KafkaAdminClient(bootstrap_servers=where, **login) as admin:
            with pytest.raises(TopicAuthorizationFailedError):
                admin.delete_topics([CHECKPOINTS])
            with pytest.raises(KafkaError):
                admin.delete_records({TopicPartition(CHECKPOINTS, 0): 1})
    assert auditor.notes() == before
    assert NOTE in before


def test_alerts_go_out_and_history_and_fleet_read_what_they_have_to(
    broker: Guarded, stored_of: StoredOf
) -> None:
    sink = KafkaSink(as_(broker, USER, ALERTS))
    assert sink.send([stored_of(1)]) == [DELIVERED]
    sink.close()
    item = Blob(digest(b"text"), b"text")
    producer = build_producer(as_(broker, USER, HISTORY))
    producer.send(HISTORY, **record(item, "0" * 32)).get(10)
    producer.close()
    feed = KafkaFeed(as_(broker, "history", HISTORY), "dosimeter-history", dict)
    wait_until(lambda: item in feed.read(1.0).items, lambda: "nothing was read")
    feed.close()
    for topic, group in ((HISTORY, "dosimeter-fleet-hits"), (HITS, "dosimeter-fleet")):
        member = Member(as_(broker, "fleet", topic), group)
        wait_until(lambda one=member: one.poll(0.2, 10) or one.assigned, lambda: "no share")
        member.commit({TopicPartition(topic, 0): (0, "")})
        member.close()
