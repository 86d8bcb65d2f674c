"""What Kafka is told of how far a topic was read, so that its own tools show the lag.

It owns a client of its own that joins no group, and what it is told never waits for it: an offset that cannot be said
now is said later, with what came since. It knows nothing of reading, and nobody reads from what it says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

EVERY_S, AGAIN_S, CLOSE_S = 5.0, 60.0, 1.0
log = logging.getLogger(__name__)


class Lag:
    """The offsets that one group is shown to have; use it from one thread."""

    def __init__(
        self, connect: Callable[[], Any], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """connect: a consumer with the group, not subscribed. May raise KafkaError, OSError, ValueError."""
        self._connect, self._clock = connect, clock
        self._client: Any = None
        self._sent: Any = None
        self._offsets: dict[TopicPartition, int] = {}
        self._said: dict[TopicPartition, int] = {}
        self._not_before = clock()

    def show(self, offsets: Mapping[TopicPartition, int]) -> None:
        """At most one commit is under way, and one in EVERY_S; after a failure none for AGAIN_S. Never raises."""
        self._offsets.update(offsets)
        if self._clock() < self._not_before or (self._sent is not None and not self._sent.is_done):
            return
        try:
            if self._sent is not None and self._sent.failed():
                raise self._sent.exception
            if self._offsets == self._said:
                return
            if self._client is None:
                self._client = self._connect()
            self._sent = self._client.commit_async(_commit(self._offsets))
            self._said = dict(self._offsets)
            self._not_before = self._clock() + EVERY_S
        except Exception as error:  # whatever it is, reading goes on
            log.info("Kafka is not told how far its topic was read: %s", error)
            self._end()
            self._not_before = self._clock() + AGAIN_S

    def close(self) -> None:
        """What was not said yet is said, if that takes no longer than CLOSE_S."""
        if self._client is not None and self._offsets != self._said:
            with suppress(KafkaError, OSError, ValueError):
                self._client.commit(_commit(self._offsets), timeout_ms=int(CLOSE_S * 1000))
                self._said = dict(self._offsets)
        self._end()

    def _end(self) -> None:
        client, self._client = self._client, None
        if self._sent is not None and not self._sent.succeeded():
            self._said = {}
        self._sent = None
        if client is not None:
            with suppress(KafkaError, OSError):
                client.close(autocommit=False)


def _commit(offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    return {partition: OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}
