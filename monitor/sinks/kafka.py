"""The Kafka sink: one record per alert, acknowledged by all in-sync replicas before it counts.

It owns one idempotent producer, built by the first batch and thrown away after any failure,
because a producer keeps a fatal error for ever. A batch is sent, flushed and answered for before
the next one: the client bounds no memory of its own. What a record is made of is `kafka_record`'s,
what an error means to an operator `kafka_client`'s. It knows nothing of cursors, retries or the ledger.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownError,
)

from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka_client import ClientRecorder, explained
from dosimeter.monitor.sinks.kafka_record import kafka_record
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, Result, dead, retry

REFUSED = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError)
"""The record is refused for what it is. All else an operator or time can mend."""

BATCH_BYTES = 1 << 16
"""Of one partition in a request. At the client's own 16 KiB ten alerts fill one, and cost less than its bookkeeping."""

log = logging.getLogger(__name__)


def build_producer(config: KafkaConfig, client_id: str = "dosimeter") -> Any:
    """A connected producer. Blocks up to `connect_timeout_s`. Raises KafkaError, of what it was that failed."""
    connect_ms = int(config.connect_timeout_s * 1000)
    delivery_ms = int(config.delivery_timeout_s * 1000)
    recorder = ClientRecorder()
    try:
        return KafkaProducer(
            bootstrap_servers=list(config.bootstrap),
            client_id=client_id,
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,  # made by accident it has the broker's policy, not ours
            bootstrap_timeout_ms=connect_ms,
            max_block_ms=connect_ms,
            delivery_timeout_ms=delivery_ms,
            request_timeout_ms=max(1000, delivery_ms // 2),
            reconnect_backoff_max_ms=1000,
            linger_ms=5,
            batch_size=BATCH_BYTES,
            kafka_client=recorder,
            **config.security,
        )
    except BaseException as error:
        recorder.close()
        if recorder.cause is not None and isinstance(error, KafkaError):
            raise recorder.cause from error
        raise


class KafkaSink:
    """Delivered means: acknowledged with `acks=all`. Duplicates carry the same `event_id`."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        connect: Callable[[KafkaConfig], Any] = build_producer,
        record: Callable[[Any], dict[str, Any]] = kafka_record,
    ) -> None:
        """record: what one of a batch is in Kafka, as keyword arguments of `send`."""
        self.name = config.name
        self._record = record
        self.config = config
        self._connect = connect
        self._producer: Any = None

    def send(self, batch: Sequence[Any]) -> list[Outcome]:
        outcomes, refused = self._attempt(batch)
        if len(batch) > 1:
            # A producer of which one record was refused gives the same answer to all that it still holds, and to all
            # that follow: only alone, and from a new producer, does each get its own.
            gone: Outcome | None = None
            for place in refused:
                outcomes[place] = one = gone or self._attempt([batch[place]])[0][0]
                if one.result is Result.RETRY:  # the cluster went away: each would block as long
                    gone = one
        return outcomes

    def _attempt(self, batch: Sequence[Any]) -> tuple[list[Outcome], list[int]]:
        """What became of each, and places of those that the broker refused for what they are."""
        try:
            if self._producer is None:
                self._producer = self._connect(self.config)
        except (KafkaError, OSError, ValueError) as error:
            brokers = ",".join(self.config.bootstrap)
            return [retry(f"no producer for `{brokers}`: {self._said(error)}")] * len(batch), []
        futures = self._enqueue(batch)
        # Longer than the delivery timeout, by when every record should have its answer.
        deadline = time.monotonic() + self.config.delivery_timeout_s + 1
        try:
            self._producer.flush(deadline - time.monotonic())
        except UnknownError:
            wait_for(futures, deadline)
        except KafkaError as error:
            log.warning("kafka flush did not finish: %s", error)
        outcomes = [f if isinstance(f, Outcome) else self._outcome(f) for f in futures]
        refused = [
            place
            for place, (future, outcome) in enumerate(zip(futures, outcomes, strict=True))
            if outcome.result is Result.DEAD and not isinstance(future, Outcome)
        ]
        if refused or any(outcome.result is Result.RETRY for outcome in outcomes):
            self.close()
        return outcomes, refused

    def _enqueue(self, batch: Sequence[Any]) -> list[Any]:
        """Per record a future, or the outcome when it never got that far."""
        futures: list[Any] = []
        blocked: Outcome | None = None
        for one in batch:
            if blocked is None:
                try:
                    record = self._record(one)
                except (ValueError, TypeError, AttributeError) as error:
                    futures.append(dead(f"cannot be written as a Kafka record: {error!r}"))
                    continue
                try:
                    futures.append(self._producer.send(self.config.topic, **record))
                    continue
                except REFUSED as error:
                    futures.append(dead(str(error)))
                    continue
                except (KafkaError, ValueError) as error:
                    # No metadata: each further record would block for as long again.
                    blocked = retry(f"topic `{self.config.topic}`: {self._said(error)}")
            futures.append(blocked)
        return futures

    def _outcome(self, future: Any) -> Outcome:
        if future.succeeded():
            return DELIVERED
        error = future.exception
        if error is None:
            return retry("no acknowledgement in time")
        said = f"topic `{self.config.topic}`: {self._said(error)}"
        return dead(said) if isinstance(error, REFUSED) else retry(said)

    def _said(self, error: BaseException) -> str:
        return explained(error, self.config.topic)

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.close(timeout=1.0)
        except KafkaError:
            # close() raises before it stops its own thread when records are still in flight.
            producer._sender.force_close()


def wait_for(futures: Sequence[Any], deadline: float) -> None:
    """For the pieces of a batch that was over the topic's limit: the producer divides it, and `flush` does not wait
    for what it becomes."""
    for future in futures:
        if not isinstance(future, Outcome):
            with contextlib.suppress(KafkaError):
                future.get(max(0.0, deadline - time.monotonic()))
