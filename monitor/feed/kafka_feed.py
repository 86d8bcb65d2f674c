"""A topic as a stream of items, read by a consumer group whose offsets history itself keeps.

It owns one consumer and resumes every partition it is given exactly where the store stands; what Kafka is told of
offsets is for the display of lag alone. Whatever is in the topic comes out as an item or as `Refused`. It knows
nothing of the store, nor what an item means.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from dosimeter.monitor.feed.items import Batch, FeedAway, Item, Refused
from dosimeter.monitor.feed.topic import item_at
from dosimeter.monitor.feed.wire import MAX_WIRE
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka import ClientRecorder

log = logging.getLogger(__name__)


def build_consumer(config: KafkaConfig, group: str) -> Any:
    """A connected consumer that commits nothing by itself. Raises KafkaError."""
    recorder = ClientRecorder()
    try:
        return KafkaConsumer(
            bootstrap_servers=list(config.bootstrap),
            client_id="dosimeter-history",
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            max_partition_fetch_bytes=MAX_WIRE,
            bootstrap_timeout_ms=int(config.connect_timeout_s * 1000),
            reconnect_backoff_max_ms=1000,
            metadata_max_age_ms=30_000,
            kafka_client=recorder,
            **config.security,
        )
    except BaseException:
        recorder.close()
        raise


class KafkaFeed:
    """One member of the group, used from one thread. To read again is to say that the batch before was stored."""

    def __init__(
        self,
        config: KafkaConfig,
        group: str,
        stored: Callable[[], Mapping[str, Any]],
        *,
        connect: Callable[[KafkaConfig, str], Any] = build_consumer,
    ) -> None:
        """stored: the next offset of each partition by name, merged from the cursors of all stored batches."""
        self._config, self._group, self._stored = config, group, stored
        self._connect = connect
        self._consumer: Any = None
        self._assigned = _Assigned()
        self._next: dict[TopicPartition, int] = {}  # of partitions that were resumed
        self._given: dict[TopicPartition, int] = {}  # of the last batch

    def read(self, timeout_s: float, limit: int = 500) -> Batch:
        """What came, at most `limit` records; waits for the first at most so long. Raises FeedAway."""
        try:
            if self._consumer is None:
                self._consumer = self._connect(self._config, self._group)
                self._consumer.subscribe([self._config.topic], listener=self._assigned)
            self._show_lag()
            polled = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=limit)
            self._resume(polled)
        except (KafkaError, OSError, ValueError) as error:
            self.close()
            where = f"topic `{self._config.topic}` at `{','.join(self._config.bootstrap)}`"
            raise FeedAway(f"{where}: {error}") from error
        items = [item for partition in sorted(polled) for item in self._items(polled[partition])]
        self._given = {partition: self._next[partition] for partition in polled}
        return Batch(tuple(items), {_name(p): offset for p, offset in self._given.items()})

    def rewind(self) -> None:
        """The last batch was not stored: go on from the store."""
        self._given = {}
        self._assigned.again()

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        self._assigned, self._given = _Assigned(), {}
        if consumer is not None:
            with suppress(KafkaError, OSError):
                consumer.close(autocommit=False)

    def _resume(self, polled: dict[TopicPartition, list[Any]]) -> None:
        """Set what was newly assigned to where the store stands; what came of it before that is not ours to give."""
        fresh = self._assigned.take()
        stored = self._stored() if fresh else {}
        for partition in fresh:
            polled.pop(partition, None)
            offset = stored.get(_name(partition))
            if offset is None:
                self._next.pop(partition, None)
                self._consumer.seek_to_beginning(partition)
            else:
                self._next[partition] = offset
                self._consumer.seek(partition, offset)

    def _items(self, records: Iterable[Any]) -> Iterable[Item]:
        for one in records:
            partition = TopicPartition(one.topic, one.partition)
            due = self._next.get(partition)
            if due is not None and due != one.offset:
                yield _lost(partition, due, one.offset)
            self._next[partition] = one.offset + 1
            yield item_at(f"{_name(partition)} offset {one.offset}", one.key, one.value)

    def _show_lag(self) -> None:
        given, self._given = self._given, {}
        mine = {p: offset for p, offset in given.items() if p in self._consumer.assignment()}
        if mine:
            with suppress(KafkaError):
                self._consumer.commit_async(
                    {p: OffsetAndMetadata(offset, "", -1) for p, offset in mine.items()}
                )


class _Assigned(ConsumerRebalanceListener):  # type: ignore[misc]
    """Which partitions have to be set to the store's offset. Called by the client, from a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mine: set[TopicPartition] = set()
        self._fresh: set[TopicPartition] = set()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        with self._lock:
            self._mine -= set(revoked)
            self._fresh -= set(revoked)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        with self._lock:
            self._mine |= set(assigned)
            self._fresh |= set(assigned)

    def again(self) -> None:
        with self._lock:
            self._fresh |= self._mine

    def take(self) -> set[TopicPartition]:
        with self._lock:
            fresh, self._fresh = self._fresh, set()
        return fresh


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}-{partition.partition}"


def _lost(partition: TopicPartition, due: int, found: int) -> Refused:
    if found > due:
        because = f"the topic goes on at offset {found}: the records before were not kept so long"
        return Refused(None, f"{_name(partition)} offsets {due}-{found - 1}", because)
    because = f"the topic goes on at offset {found}: it was made anew"
    return Refused(None, f"{_name(partition)} offset {due}", because)
