"""Checkpoints anchored in a topic of a real broker, and read back from it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.lab.broker import EmbeddedBroker, free_port
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.tlog.anchor_kafka import KafkaAnchor
from dosimeter.monitor.tlog.anchors import AnchorFailed
from dosimeter.monitor.tlog.note import Checkpoint, Signer

pytestmark = pytest.mark.parts
SIGNER = Signer.generate("example.org/log")
NOTES = [SIGNER.sign(str(Checkpoint(SIGNER.name, n, bytes([n]) * 32))) for n in range(6)]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def config(broker: EmbeddedBroker, topic: str) -> KafkaConfig:
    return KafkaConfig(
        (broker.bootstrap,), topic, "checkpoints", connect_timeout_s=2.0, delivery_timeout_s=2.0
    )


def test_what_is_read_is_what_was_put_in_its_order(broker: EmbeddedBroker) -> None:
    init_topic([broker.bootstrap], "anchored", partitions=3)
    anchor = KafkaAnchor(config(broker, "anchored"))
    for note in NOTES:
        anchor.put(note)
    assert KafkaAnchor(config(broker, "anchored")).notes() == NOTES


def test_a_topic_still_empty_holds_nothing(broker: EmbeddedBroker) -> None:
    init_topic([broker.bootstrap], "empty", partitions=1)
    assert KafkaAnchor(config(broker, "empty")).notes() == []


def test_an_absent_topic_and_an_absent_broker_are_errors(broker: EmbeddedBroker) -> None:
    absent = KafkaAnchor(config(broker, "absent"))
    with pytest.raises(
        AnchorFailed, match=r"topic `absent`.*no such topic\n  hint: does the topic exist"
    ):
        absent.notes()
    nobody = KafkaConfig((f"127.0.0.1:{free_port()}",), "anchored", connect_timeout_s=0.3)
    with pytest.raises(AnchorFailed, match="anchor `kafka`"):
        KafkaAnchor(nobody).put(NOTES[0])


def test_it_is_read_with_credentials_of_its_own(broker: EmbeddedBroker) -> None:
    init_topic([broker.bootstrap], "apart", partitions=1)
    nobody = KafkaConfig((f"127.0.0.1:{free_port()}",), "apart", connect_timeout_s=0.3)
    KafkaAnchor(config(broker, "apart"), reader=nobody).put(NOTES[0])
    with pytest.raises(AnchorFailed):
        KafkaAnchor(config(broker, "apart"), reader=nobody).notes()
    assert KafkaAnchor(nobody, reader=config(broker, "apart")).notes() == NOTES[:1]
