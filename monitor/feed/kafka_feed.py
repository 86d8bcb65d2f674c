"""A topic as a stream of items: every partition is read, from the offset that history itself keeps.

One log has one writer, so there is nobody to share partitions with, and no group is joined: two that did by accident
would each see half of the sources, and neither would miss anything. Whatever is in the topic comes out as an item or as
`Refused`. It knows nothing of the store, nor what an item means.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from dosimeter.monitor.feed.items import Batch, FeedAway, Item, Refused
from dosimeter.monitor.feed.lag import Lag
from dosimeter.monitor.feed.topic import item_at
from dosimeter.monitor.feed.wire import MAX_WIRE
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka_client import explained
from dosimeter.monitor.sinks.kafka_consumer import connected_consumer

QUIET_S = 10.0
"""After so long a partition that gave nothing is asked where it ends: that it answers, and that we are not past it."""
MADE_ANEW = "it was made anew, or lost its end"


def build_consumer(config: KafkaConfig, group: str | None) -> Any:
    """One that has a group does not poll while the group's coordinator is away: what reads has none.

    Raises KafkaError.
    """
    return connected_consumer(
        config, group, client_id="dosimeter-history", max_partition_fetch_bytes=MAX_WIRE
    )


class KafkaFeed:
    """All of a topic, used from one thread. To read again is to say that the batch before was stored."""

    def __init__(
        self,
        config: KafkaConfig,
        group: str,
        stored: Callable[[], Mapping[str, Any]],
        *,
        connect: Callable[[KafkaConfig, str | None], Any] = build_consumer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """group: whose offsets Kafka shows, and no more. stored: the next offset of each partition by name, merged
        from the cursors of all stored batches."""
        self._config, self._stored, self._connect, self._clock = config, stored, connect, clock
        self._lag = Lag(partial(connect, config, group), clock=clock)
        self._consumer: Any = None
        self._mine: set[TopicPartition] = set()  # that were resumed
        self._next: dict[TopicPartition, int] = {}  # where it is known
        self._heard: dict[TopicPartition, float] = {}
        self._given: dict[TopicPartition, int] = {}  # of the last batch

    def read(self, timeout_s: float, limit: int = 500) -> Batch:
        """What came, at most `limit` records; waits for the first at most so long. Raises FeedAway."""
        given, self._given = self._given, {}
        try:
            if self._consumer is None:
                self._consumer = self._connect(self._config, None)
            self._lag.show(given)
            self._resume()
            polled = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=limit)
            anew = self._made_anew(polled)
        except (KafkaError, OSError, ValueError) as error:
            raise self._away(explained(error, self._config.topic)) from error
        items = [item for partition in sorted(polled) for item in self._items(polled[partition])]
        for partition in anew:
            items.append(_lost(partition, self._next[partition], 0))
            self._next[partition] = 0
        self._given = {partition: self._next[partition] for partition in (*polled, *anew)}
        return Batch(tuple(items), {_name(p): offset for p, offset in self._given.items()})

    def rewind(self) -> None:
        """The last batch was not stored: go on from the store."""
        self._given, self._mine = {}, set()

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        self.rewind()
        if consumer is not None:
            with suppress(KafkaError, OSError):
                consumer.close(autocommit=False)
        self._lag.close()

    def _away(self, because: str) -> FeedAway:
        self.close()
        brokers = ",".join(self._config.bootstrap)
        return FeedAway(f"topic `{self._config.topic}` at `{brokers}`: {because}")

    def _resume(self) -> None:
        """Set every partition that is new to us to where the store stands."""
        topic = self._config.topic
        there = {TopicPartition(topic, n) for n in self._consumer.partitions_for_topic(topic)}
        if not there:
            where = f"--bootstrap {','.join(self._config.bootstrap)} --topic {topic}"
            hint = f"make it: `dosimeter kafka init {where}`"
            raise self._away(f"it does not exist, or may not be read\n  hint: {hint}")
        if there == self._mine:
            return
        self._consumer.assign(sorted(there))
        stored = self._stored()
        for one in there - self._mine:
            offset = stored.get(_name(one))
            self._heard[one] = self._clock()
            if offset is None:
                self._next.pop(one, None)
                self._consumer.seek_to_beginning(one)
            else:
                self._next[one] = offset
                self._consumer.seek(one, offset)
        self._mine = there

    def _made_anew(self, polled: Iterable[TopicPartition]) -> list[TopicPartition]:
        """The partitions that end before where we are: they are read from their beginning from now on.

        Apache Kafka answers a fetch beyond the end with an error, and the client begins again by itself. Other
        brokers answer with nothing, for ever. And while brokers are away `poll` only gives nothing: this raises.
        """
        now = self._clock()
        self._heard.update(dict.fromkeys(polled, now))
        quiet = [one for one in sorted(self._mine) if now - self._heard[one] >= QUIET_S]
        if not quiet:
            return []
        ends = self._consumer.end_offsets(
            quiet, timeout_ms=int(self._config.connect_timeout_s * 1000)
        )
        self._heard.update(dict.fromkeys(quiet, now))
        found = [one for one in quiet if self._is_past_end(one, ends.get(one))]
        for one in found:
            self._consumer.seek(one, 0)
        return found

    def _is_past_end(self, one: TopicPartition, end: int | None) -> bool:
        """By both accounts: that of a fetch may be old after a change of leader, and some brokers list a lower end."""
        fetched = self._consumer.highwater(one)
        if end is None or fetched is None:
            return False
        return bool(max(end, fetched) < self._next.get(one, 0))

    def _items(self, records: Iterable[Any]) -> Iterable[Item]:
        for one in records:
            partition = TopicPartition(one.topic, one.partition)
            due = self._next.get(partition)
            if due is not None and due != one.offset:
                yield _lost(partition, due, one.offset)
            self._next[partition] = one.offset + 1
            yield item_at(f"{_name(partition)} offset {one.offset}", one.key, one.value)


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}-{partition.partition}"


def _lost(partition: TopicPartition, due: int, found: int) -> Refused:
    if found > due:
        because = f"the topic goes on at offset {found}: the records before were not kept so long"
        return Refused(None, f"{_name(partition)} offsets {due}-{found - 1}", because)
    because = f"the topic goes on at offset {found}: {MADE_ANEW}"
    return Refused(None, f"{_name(partition)} offset {due}", because)
