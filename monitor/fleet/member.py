"""One member of a consumer group: what is its share, from where, and how far it has come.

It owns the connection. Nothing is committed but by `commit`, with a note beside each offset; after any failure the
connection is thrown away, and all partitions with it. It knows nothing of what the records hold.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka_client import explained, keep_joining, known_partitions
from dosimeter.monitor.sinks.kafka_consumer import connected_consumer

log = logging.getLogger(__name__)

SESSION_S = 15.0
"""A member that is not heard of for so long has lost its share to the others."""
Connect = Callable[[KafkaConfig, str], Any]


class FleetAway(RuntimeError):
    """The brokers cannot be read or told anything now; the same may be tried again later."""


def build_member(config: KafkaConfig, group: str, *, session_s: float = SESSION_S) -> Any:
    """A connected consumer that has joined nothing yet. Raises KafkaError."""
    return connected_consumer(
        config,
        group,
        client_id="dosimeter-fleet",
        session_timeout_ms=int(session_s * 1000),
        heartbeat_interval_ms=int(session_s * 200),
    )


class Member:
    """Used from one thread.

    assigned          its share, as of the last `poll`
    topic_partitions  how many there are to be shared, as the brokers said last; None: they never did
    """

    def __init__(self, config: KafkaConfig, group: str, *, connect: Connect = build_member) -> None:
        self._config, self._group, self._connect = config, group, connect
        self._consumer: Any = None
        self.assigned: frozenset[TopicPartition] = frozenset()
        self.topic_partitions: int | None = None
        self._left: set[TopicPartition] = set()

    def poll(self, timeout_s: float, limit: int) -> dict[TopicPartition, list[Any]]:
        """Records of the share, at most `limit`. Raises FleetAway."""
        with self._trouble():
            if self._consumer is None:
                self._consumer = self._connect(self._config, self._group)
                self._consumer.subscribe([self._config.topic], listener=_Listener(self))
            found = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=limit)
            keep_joining(self._consumer)
            known = known_partitions(self._consumer, self._config.topic)
            self.topic_partitions = known or self.topic_partitions
            return dict(found)
        raise AssertionError("unreachable")

    def left(self) -> set[TopicPartition]:
        """What was taken away since this was asked last; it may be here again, and others may have read on since."""
        found, self._left = self._left, set()
        return found

    def end(self, of: TopicPartition) -> int:
        """The offset of the next record that will be written. Raises FleetAway."""
        with self._trouble():
            return int(self._consumer.end_offsets([of])[of])
        raise AssertionError("unreachable")

    def at_end(self, of: TopicPartition) -> bool:
        """Whether all is read that the brokers have told of. Raises FleetAway."""
        with self._trouble():
            high = self._consumer.highwater(of)
            return high is not None and self._consumer.position(of) >= high
        raise AssertionError("unreachable")

    def committed(self, of: TopicPartition) -> tuple[int, str] | None:
        """Offset and note; None: no member ever committed one. Raises FleetAway."""
        with self._trouble():
            found = self._consumer.committed(of, metadata=True)
            return None if found is None else (int(found.offset), str(found.metadata))
        raise AssertionError("unreachable")

    def seek(self, of: TopicPartition, offset: int | None) -> None:
        """None: to the first record that is there. Raises FleetAway."""
        with self._trouble():
            if offset is None:
                self._consumer.seek_to_beginning(of)
            else:
                self._consumer.seek(of, offset)

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        """Raises FleetAway, also where the share went to another member meanwhile."""
        if not offsets:
            return
        with self._trouble():
            told = {of: OffsetAndMetadata(at, note, -1) for of, (at, note) in offsets.items()}
            self._consumer.commit(told)

    def lag(self) -> int:
        """Records of the share that were not read yet, as far as the brokers have said."""
        if self._consumer is None:
            return 0
        lag = 0
        for one in self.assigned:
            with suppress(KafkaError):
                end = self._consumer.highwater(one)
                if end is not None:
                    lag += max(0, end - self._consumer.position(one))
        return lag

    def close(self) -> None:
        """Leaves the group: its share goes to the others at once."""
        consumer, self._consumer = self._consumer, None
        self.assigned = frozenset()
        if consumer is not None:
            with suppress(KafkaError, OSError):
                consumer.close(autocommit=False)

    def _trouble(self) -> _Trouble:
        return _Trouble(self)

    @property
    def topic(self) -> str:
        return self._config.topic

    def where(self) -> str:
        return f"topic `{self._config.topic}` at `{','.join(self._config.bootstrap)}`"


class _Trouble:
    """Whatever the client raises ends the connection, and is a FleetAway."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, KafkaError | OSError | ValueError):
            self._member.close()
            said = explained(error, self._member.topic)
            raise FleetAway(f"{self._member.where()}: {said}") from error


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, member: Member) -> None:
        self._member = member

    def on_partitions_revoked(self, revoked: Any) -> None:
        """What was taken in is committed already. That they were lost, too, is told here."""
        self._member._left |= set(revoked)
        self._member.assigned -= frozenset(revoked)

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._member.assigned = frozenset(assigned)
        log.info("this member's share: %s", sorted(p.partition for p in assigned) or "nothing")
