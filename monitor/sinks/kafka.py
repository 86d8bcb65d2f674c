"""The Kafka sink: one record per alert, acknowledged by all in-sync replicas before it counts.

It owns one idempotent producer, built by the first batch and thrown away after any failure,
because a producer keeps a fatal error for ever. A batch is sent, flushed and answered for before
the next one: the client bounds no memory of its own. It knows nothing of cursors, retries or the
ledger.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.net.compat import KafkaNetClient

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks import semconv
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, Result, dead, retry

REFUSED = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError)
"""The record is refused for what it is. All else an operator or time can mend."""

log = logging.getLogger(__name__)


class ClientRecorder:
    """Builds kafka-python's network client and remembers it.

    A KafkaProducer or admin client whose constructor raises leaves sockets (and a thread) behind
    with nothing to close them by: passed as `kafka_client`, this is what can still be closed.
    """

    def __init__(self) -> None:
        self._built: list[Any] = []

    def __call__(self, **configs: Any) -> Any:
        client = KafkaNetClient(**configs)
        self._built.append(client)
        return client

    def close(self) -> None:
        while self._built:
            with contextlib.suppress(Exception):
                self._built.pop().close()
        gc.collect()  # sockets of refused connections hang in reference cycles, still open


def build_producer(config: KafkaConfig) -> Any:
    """A connected producer. Blocks up to `connect_timeout_s`. Raises KafkaError."""
    connect_ms = int(config.connect_timeout_s * 1000)
    delivery_ms = int(config.delivery_timeout_s * 1000)
    recorder = ClientRecorder()
    try:
        return KafkaProducer(
            bootstrap_servers=list(config.bootstrap),
            client_id="dosimeter",
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,  # made by accident it has the broker's policy, not ours
            bootstrap_timeout_ms=connect_ms,
            max_block_ms=connect_ms,
            delivery_timeout_ms=delivery_ms,
            request_timeout_ms=max(1000, delivery_ms // 2),
            reconnect_backoff_max_ms=1000,
            linger_ms=5,
            kafka_client=recorder,
            **config.security,
        )
    except BaseException:
        recorder.close()
        raise


class KafkaSink:
    """Delivered means: acknowledged with `acks=all`. Duplicates carry the same `event_id`."""

    def __init__(
        self, config: KafkaConfig, *, connect: Callable[[KafkaConfig], Any] = build_producer
    ) -> None:
        self.name = config.name
        self.config = config
        self._connect = connect
        self._producer: Any = None

    def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
        try:
            if self._producer is None:
                self._producer = self._connect(self.config)
        except (KafkaError, OSError, ValueError) as error:
            brokers = ",".join(self.config.bootstrap)
            return [retry(f"no producer for `{brokers}`: {error}")] * len(batch)
        futures = self._enqueue(batch)
        try:
            # Longer than the delivery timeout, by when every record should have its answer.
            self._producer.flush(self.config.delivery_timeout_s + 1)
        except KafkaError as error:
            log.warning("kafka flush did not finish: %s", error)
        outcomes = [f if isinstance(f, Outcome) else _outcome(f) for f in futures]
        if any(outcome.result is Result.RETRY for outcome in outcomes):
            self.close()
        return outcomes

    def _enqueue(self, batch: Sequence[StoredAlert]) -> list[Any]:
        """Per alert a future, or the outcome when it never got that far."""
        futures: list[Any] = []
        blocked: Outcome | None = None
        for alert in batch:
            if blocked is None:
                try:
                    record = kafka_record(alert)
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
                    hint = "if it does not exist: `dosimeter kafka init`"
                    blocked = retry(f"topic `{self.config.topic}`: {error}; {hint}")
            futures.append(blocked)
        return futures

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.close(timeout=1.0)
        except KafkaError:
            # close() raises before it stops its own thread when records are still in flight.
            producer._sender.force_close()


def kafka_record(alert: StoredAlert) -> dict[str, Any]:
    """Keyword arguments of `send`: the ledger's bytes; the key keeps a conversation in order.

    What is about no request (a digest) has its rule for a key.
    """
    record = alert.record
    request = f"{record.get('epoch', '')}/{record['key']}" if "key" in record else ""
    key = alert.labels.get("conversation") or request or str(record.get("rule", ""))
    headers = [
        ("event_id", alert.event_id.encode()),
        ("content-type", b"application/json"),
        ("schema", f"dosimeter.{record.get('kind')}.v{record.get('v')}".encode()),
    ]
    trace = semconv.TRACEPARENT.fullmatch(alert.labels.get("traceparent", ""))
    if trace:  # anything else is a client's text, and no header
        headers.append(("traceparent", trace[0].encode()))
    return {"key": key.encode("utf-8", "replace"), "value": alert.core, "headers": headers}


def _outcome(future: Any) -> Outcome:
    if future.succeeded():
        return DELIVERED
    error = future.exception
    if error is None:
        return retry("no acknowledgement in time")
    return dead(str(error)) if isinstance(error, REFUSED) else retry(str(error))
