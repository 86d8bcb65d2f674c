"""A topic as a stream of items: against a consumer in memory, over a topic that the test changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaConnectionError, KafkaTimeoutError
from kafka.future import Future

from dosimeter.monitor.feed.items import Alive, Batch, FeedAway, Refused
from dosimeter.monitor.feed.kafka_feed import QUIET_S, KafkaFeed
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
    """Gives the records of a topic from some offset on; what it knows of committed offsets is not ours."""

    topic: dict[TopicPartition, dict[int, Record]]
    at: dict[TopicPartition, int] = field(default_factory=dict)
    asked: list[list[TopicPartition]] = field(default_factory=list)  # where they end
    closed: bool = False
    broken: bool = False
    mute: bool = False

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {one.partition for one in self.topic if one.topic == topic}

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.at = {one: self.at.get(one, 10**9) for one in partitions}

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        if self.broken:
            raise KafkaConnectionError("nobody answers")
        found: dict[TopicPartition, list[Record]] = {}
        for partition, at in self.at.items():
            held = self.topic[partition]
            due = [held[offset] for offset in sorted(held) if offset >= at]
            if due[:max_records] and not self.mute:
                found[partition] = due[:max_records]
                self.at[partition] = due[:max_records][-1].offset + 1
        return found

    def seek(self, partition: TopicPartition, offset: int) -> None:
        assert partition in self.at
        self.at[partition] = offset

    def seek_to_beginning(self, partition: TopicPartition) -> None:
        self.seek(partition, 0)

    def highwater(self, partition: TopicPartition) -> int:
        return max(self.topic[partition], default=-1) + 1

    def end_offsets(
        self, partitions: list[TopicPartition], timeout_ms: int
    ) -> dict[TopicPartition, int]:
        if self.mute:
            raise KafkaTimeoutError("not in time")
        self.asked.append(partitions)
        return {one: self.highwater(one) for one in partitions}

    def close(self, autocommit: bool) -> None:
        assert not autocommit
        self.closed = True


@dataclass
class Display:
    """The client with the group. refuses: every commit."""

    refuses: bool = False
    commits: list[Mapping[TopicPartition, int]] = field(default_factory=list)

    def commit_async(self, offsets: Mapping[TopicPartition, Any]) -> Any:
        if self.refuses:
            raise KafkaConnectionError("no coordinator")
        self.commits.append({partition: one.offset for partition, one in offsets.items()})
        return Future().success(None)

    def close(self, autocommit: bool) -> None: ...


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def records(partition: int, offsets: Iterable[int]) -> dict[int, Record]:
    sent = {n: record(Alive(S, n, n), S) for n in offsets}
    return {n: Record(TOPIC, partition, n, one["key"], one["value"]) for n, one in sent.items()}


def feed_of(
    consumer: Consumer,
    stored: dict[str, int],
    display: Display | None = None,
    clock: Clock | None = None,
) -> KafkaFeed:
    display = display or Display()
    return KafkaFeed(
        KafkaConfig(("broker:9092",), TOPIC),
        "g",
        lambda: stored,
        connect=lambda _, group: consumer if group is None else display,
        clock=clock or Clock(),
    )


def times(batch: Batch) -> list[int]:
    return [one.at_ns for one in batch.items if isinstance(one, Alive)]


def test_every_partition_is_resumed_at_once_exactly_where_the_store_stands() -> None:
    consumer = Consumer({P0: records(0, range(9)), P1: records(1, range(3))})
    batch = feed_of(consumer, {f"{TOPIC}-0": 7}).read(0)
    assert times(batch) == [7, 8, 0, 1, 2]
    assert batch.cursor == {f"{TOPIC}-0": 9, f"{TOPIC}-1": 3}


def test_a_partition_that_is_added_is_read_from_its_beginning_and_the_others_go_on() -> None:
    consumer = Consumer({P0: records(0, range(9))})
    feed = feed_of(consumer, {f"{TOPIC}-0": 5})
    assert times(feed.read(0, 2)) == [5, 6]
    consumer.topic[P1] = records(1, range(3))
    batch = feed.read(0, 1)
    assert times(batch) == [7, 0]
    assert batch.cursor == {f"{TOPIC}-0": 8, f"{TOPIC}-1": 1}


def test_kafka_is_told_of_what_was_stored_alone() -> None:
    display = Display()
    feed = feed_of(Consumer({P0: records(0, range(4))}), {}, display)
    feed.read(0, 2)
    assert display.commits == []
    feed.read(0, 1)
    assert display.commits == [{P0: 2}]
    feed.rewind()
    feed.read(0)
    assert display.commits == [{P0: 2}]


def test_a_commit_that_fails_changes_nothing_of_what_is_read() -> None:
    feed = feed_of(Consumer({P0: records(0, range(4))}), {}, Display(refuses=True))
    assert [times(feed.read(0, 1)) for _ in range(5)] == [[0], [1], [2], [3], []]


def test_a_batch_that_was_not_stored_comes_again() -> None:
    feed = feed_of(Consumer({P0: records(0, range(4))}), {f"{TOPIC}-0": 1})
    first = feed.read(0)
    assert times(first) == [1, 2, 3]
    feed.rewind()
    assert feed.read(0) == first


def test_records_that_the_topic_no_longer_has_are_said() -> None:
    lost, *rest = feed_of(Consumer({P0: records(0, range(6, 8))}), {f"{TOPIC}-0": 2}).read(0).items
    assert lost == Refused(
        None,
        f"{TOPIC}-0 offsets 2-5",
        "the topic goes on at offset 6: the records before were not kept so long",
    )
    assert len(rest) == 2


def test_what_was_gone_before_we_ever_read_is_not_said() -> None:
    assert len(feed_of(Consumer({P0: records(0, range(6, 8))}), {}).read(0).items) == 2


ANEW = Refused(
    None,
    f"{TOPIC}-0 offset 8",
    "the topic goes on at offset 0: it was made anew, or lost its end",
)


def test_a_client_that_was_sent_back_to_the_beginning_is_said() -> None:
    consumer, stored = Consumer({P0: records(0, range(8))}), {f"{TOPIC}-0": 7}
    feed = feed_of(consumer, stored)
    feed.read(0)
    consumer.topic[P0], consumer.at[P0] = records(0, range(2)), 0  # as Apache Kafka's does
    batch = feed.read(0)
    assert (batch.items[0], times(batch), batch.cursor) == (ANEW, [0, 1], {f"{TOPIC}-0": 2})


def test_an_offset_beyond_the_end_is_said_once_and_the_topic_read_from_its_beginning() -> None:
    consumer, clock = Consumer({P0: records(0, range(3)), P1: records(1, range(2))}), Clock()
    stored = {f"{TOPIC}-0": 8, f"{TOPIC}-1": 2}
    feed = feed_of(consumer, stored, clock=clock)
    assert feed.read(0) == Batch()
    clock.now += QUIET_S
    batch = feed.read(0)
    assert batch == Batch((ANEW,), {f"{TOPIC}-0": 0})
    stored.update(batch.cursor)
    assert times(feed.read(0)) == [0, 1, 2]
    clock.now += QUIET_S
    assert feed.read(0) == Batch()


def test_only_partitions_that_gave_nothing_are_asked_where_they_end_and_seldom() -> None:
    consumer, clock = Consumer({P0: records(0, range(9)), P1: {}}), Clock()
    feed = feed_of(consumer, {}, clock=clock)
    for _ in range(6):
        feed.read(0, 1)
        clock.now += QUIET_S / 2
    assert consumer.asked == [[P1], [P1]]


def test_brokers_that_answer_nothing_are_away_though_the_client_does_not_say_so() -> None:
    consumer, clock = Consumer({P0: records(0, range(4))}, mute=True), Clock()
    feed = feed_of(consumer, {}, clock=clock)
    assert feed.read(0) == Batch()
    clock.now += QUIET_S
    with pytest.raises(FeedAway, match=r"topic `dosimeter\.history` at `broker:9092`: .*not in"):
        feed.read(0)
    assert consumer.closed


def test_no_topic_is_away_with_the_next_step_and_it_is_read_when_it_is_there() -> None:
    consumer = Consumer({})
    feed = feed_of(consumer, {})
    with pytest.raises(FeedAway) as caught:
        feed.read(0)
    assert str(caught.value) == (
        "topic `dosimeter.history` at `broker:9092`: it does not exist, or may not be read\n"
        "  hint: make it: `dosimeter kafka init --bootstrap broker:9092 --topic dosimeter.history`"
    )
    assert consumer.closed
    consumer.topic[P0] = records(0, range(2))
    assert times(feed.read(0)) == [0, 1]


def test_a_consumer_that_fails_is_thrown_away_and_the_next_resumes() -> None:
    one = Consumer({P0: records(0, range(4))})
    built = iter([one, Consumer(one.topic)])
    stored, config = {f"{TOPIC}-0": 3}, KafkaConfig(("broker:9092",), TOPIC)
    feed = KafkaFeed(
        config, "g", lambda: stored, connect=lambda _, group: Display() if group else next(built)
    )
    feed.read(0)
    one.broken = True
    with pytest.raises(FeedAway, match=r"topic `dosimeter\.history` at `broker:9092`:"):
        feed.read(0)
    assert one.closed
    assert times(feed.read(0)) == [3]
