"""Reading a topic back, as a consumer of the alerts would: what was delivered, byte for byte.

It owns no group and commits nothing: every partition, from its first offset to its end. It knows
nothing of the ledger, so what it returns can be compared with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from dosimeter.monitor.sinks.config import TOPIC
from dosimeter.monitor.sinks.kafka_client import ClientRecorder


class ReadBackTimeout(RuntimeError):
    """The end of the topic was not reached, and no more records came."""


@dataclass(frozen=True, slots=True)
class Consumed:
    """One record as it stands in the topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]

    @property
    def event_id(self) -> str:
        return self.headers.get("event_id", b"").decode("ascii", "replace")


def read_back(
    bootstrap: str | Sequence[str], topic: str = TOPIC, *, timeout_s: float = 15.0
) -> list[Consumed]:
    """Every record of the topic, duplicates included, by partition and offset.

    An absent topic is an empty one. timeout_s: how long to wait for a broker, and for one more record.
    Raises kafka.errors.KafkaError when no broker answers, ReadBackTimeout.
    """
    consumer = _consumer(bootstrap, timeout_s)
    try:
        return _consume(consumer, topic, timeout_s)
    finally:
        consumer.close()


def follow(
    bootstrap: str | Sequence[str], stop: Callable[[], bool], topic: str = TOPIC
) -> Iterator[Consumed]:
    """Records from the first on, as they come, until `stop` says so; waits for an absent topic."""
    consumer = _consumer(bootstrap, 15.0)
    try:
        while not stop():
            partitions = [
                TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()
            ]
            if partitions and not consumer.assignment():
                consumer.assign(partitions)
                consumer.seek_to_beginning(*partitions)
            for records in consumer.poll(timeout_ms=200).values():
                yield from map(_consumed, records)
    finally:
        consumer.close()


def _consumer(bootstrap: str | Sequence[str], timeout_s: float) -> KafkaConsumer:
    recorder = ClientRecorder()
    try:
        return KafkaConsumer(
            bootstrap_servers=[bootstrap] if isinstance(bootstrap, str) else list(bootstrap),
            client_id="dosimeter-read-back",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=int(timeout_s * 1000),
            fetch_max_wait_ms=50,
            metadata_max_age_ms=1000,
            kafka_client=recorder,
        )
    except BaseException:
        recorder.close()
        raise


def _consumed(record: Any) -> Consumed:
    return Consumed(record.partition, record.offset, record.key, record.value, dict(record.headers))


def _consume(consumer: KafkaConsumer, topic: str, timeout_s: float) -> list[Consumed]:
    partitions = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()]
    if not partitions:
        return []
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    found: list[Consumed] = []
    # The end is the high watermark that comes with each fetch. `end_offsets` asks ListOffsets, to
    # which the embedded broker answers the first offset of the last batch, not the one after its
    # last record.
    deadline = time.monotonic() + timeout_s
    while any(_behind(consumer, partition) for partition in partitions):
        if time.monotonic() > deadline:
            raise ReadBackTimeout(
                f"`{topic}`: read {len(found)} records, then none for {timeout_s:g} s"
            )
        for records in consumer.poll(timeout_ms=200).values():
            found += map(_consumed, records)
            deadline = time.monotonic() + timeout_s
    return sorted(found, key=lambda c: (c.partition, c.offset))


def _behind(consumer: KafkaConsumer, partition: TopicPartition) -> bool:
    end = consumer.highwater(partition)  # None until the first fetch has answered
    return end is None or consumer.position(partition) < end
