"""A topic as a stream of items: against a consumer in memory, that is told when to hand over which partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaConnectionError

from dosimeter.monitor.feed.items import Alive, Batch, FeedAway, Refused
from dosimeter.monitor.feed.kafka_feed import KafkaFeed
from dosimeter.monitor.feed.topic import TOPIC, record
from dosimeter.monitor.sinks.config import KafkaConfig

S = "a" * 32
P0, P1 = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


@dataclass
class Consumer:
    """Holds the records of a topic from some offset on. hands: assigned by the next poll."""

    topic: dict[TopicPartition, dict[int, Record]]
    hands: list[TopicPartition] = field(default_factory=list)
    at: dict[TopicPartition, int] = field(default_factory=dict)
    commits: list[Mapping[TopicPartition, int]] = field(default_factory=list)
    listener: Any = None
    closed: bool = False
    broken: bool = False

    def subscribe(self, topics: list[str], listener: Any) -> None:
        assert topics == [TOPIC]
        self.listener = listener

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        if self.broken:
            raise KafkaConnectionError("nobody answers")
        if self.hands:
            self.listener.on_partitions_assigned(self.hands)
            for partition in self.hands:
                self.at[partition] = 0  # what it knows of committed offsets is not ours
            self.hands = []
        found: dict[TopicPartition, list[Record]] = {}
        for partition, at in self.at.items():
            held = self.topic[partition]
            due = [held[offset] for offset in sorted(held) if offset >= at]
            if due[:max_records]:
                found[partition] = due[:max_records]
                self.at[partition] = due[:max_records][-1].offset + 1
        return found

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.at[partition] = offset

    def seek_to_beginning(self, partition: TopicPartition) -> None:
        self.at[partition] = 0

    def assignment(self) -> set[TopicPartition]:
        return set(self.at)

    def commit_async(self, offsets: Mapping[TopicPartition, Any]) -> None:
        self.commits.append({partition: one.offset for partition, one in offsets.items()})

    def close(self, autocommit: bool) -> None:
        assert not autocommit
        self.closed = True


def records(partition: int, offsets: Iterable[int]) -> dict[int, Record]:
    sent = {n: record(Alive(S, n, n), S) for n in offsets}
    return {n: Record(TOPIC, partition, n, one["key"], one["value"]) for n, one in sent.items()}


def feed_of(consumer: Consumer, stored: dict[str, int]) -> KafkaFeed:
    return KafkaFeed(KafkaConfig(topic=TOPIC), "g", lambda: stored, connect=lambda *_: consumer)


def test_each_partition_is_resumed_exactly_where_the_store_stands() -> None:
    consumer = Consumer({P0: records(0, range(9)), P1: records(1, range(3))}, [P0, P1])
    feed = feed_of(consumer, {f"{TOPIC}-0": 7})
    assert feed.read(0) == Batch()  # nothing of what came before it was set
    batch = feed.read(0)
    assert [one.at_ns for one in batch.items if isinstance(one, Alive)] == [7, 8, 0, 1, 2]
    assert batch.cursor == {f"{TOPIC}-0": 9, f"{TOPIC}-1": 3}


def test_a_partition_that_comes_later_is_resumed_and_the_others_go_on() -> None:
    consumer = Consumer({P0: records(0, range(9)), P1: records(1, range(9))}, [P0])
    feed = feed_of(consumer, {f"{TOPIC}-0": 5, f"{TOPIC}-1": 8})
    feed.read(0)
    assert len(feed.read(0, 2).items) == 2
    consumer.hands = [P1]
    assert feed.read(0, 1).cursor == {f"{TOPIC}-0": 8}
    assert feed.read(0, 1).cursor == {f"{TOPIC}-0": 9, f"{TOPIC}-1": 9}


def test_kafka_is_told_of_what_was_stored_alone() -> None:
    consumer = Consumer({P0: records(0, range(4))}, [P0])
    feed = feed_of(consumer, {})
    feed.read(0)
    feed.read(0, 2)
    assert consumer.commits == []
    feed.read(0, 1)
    assert consumer.commits == [{P0: 2}]
    feed.rewind()
    feed.read(0)
    assert consumer.commits == [{P0: 2}]


def test_a_batch_that_was_not_stored_comes_again() -> None:
    consumer, stored = Consumer({P0: records(0, range(4))}, [P0]), {f"{TOPIC}-0": 1}
    feed = feed_of(consumer, stored)
    feed.read(0)
    first = feed.read(0)
    feed.rewind()
    feed.read(0)
    assert feed.read(0) == first


def test_records_that_the_topic_no_longer_has_are_said() -> None:
    consumer = Consumer({P0: records(0, range(6, 8))}, [P0])
    feed = feed_of(consumer, {f"{TOPIC}-0": 2})
    feed.read(0)
    lost, *rest = feed.read(0).items
    assert lost == Refused(
        None,
        f"{TOPIC}-0 offsets 2-5",
        "the topic goes on at offset 6: the records before were not kept so long",
    )
    assert len(rest) == 2


def test_what_was_gone_before_we_ever_read_is_not_said() -> None:
    consumer = Consumer({P0: records(0, range(6, 8))}, [P0])
    feed = feed_of(consumer, {})
    feed.read(0)
    assert len(feed.read(0).items) == 2


def test_a_consumer_that_fails_is_thrown_away_and_the_next_resumes() -> None:
    one = Consumer({P0: records(0, range(4))}, [P0])
    two = Consumer(one.topic, [P0])
    built, stored = iter([one, two]), {f"{TOPIC}-0": 3}
    config = KafkaConfig(("broker:9092",), TOPIC)
    feed = KafkaFeed(config, "g", lambda: stored, connect=lambda *_: next(built))
    feed.read(0)
    one.broken = True
    with pytest.raises(FeedAway, match=r"topic `dosimeter\.history` at `broker:9092`:"):
        feed.read(0)
    assert one.closed
    feed.read(0)
    assert [item.at_ns for item in feed.read(0).items if isinstance(item, Alive)] == [3]
