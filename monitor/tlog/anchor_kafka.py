"""A Kafka topic as an anchor: one record a checkpoint, under credentials of its own.

Give the writer a principal that may only append to this topic, and whoever verifies one that may
only read it: then neither the alerts' producer nor the auditor can change what was anchored. The
topic needs unlimited retention and no compaction.
"""

from __future__ import annotations

import time
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka import build_producer
from dosimeter.monitor.sinks.kafka_client import ClientRecorder
from dosimeter.monitor.tlog.anchors import AnchorFailed

READ_TIMEOUT_S = 30.0


class KafkaAnchor:
    outside, readable = False, True

    def __init__(self, config: KafkaConfig, *, reader: KafkaConfig | None = None) -> None:
        """reader: what to read with, where the writer's principal may not."""
        self.name = config.name
        self._config, self._reader = config, reader or config

    def put(self, note: str) -> None:
        try:
            producer = build_producer(self._config)
            try:
                origin = note.partition("\n")[0].encode()
                sent = producer.send(self._config.topic, key=origin, value=note.encode())
                producer.flush(self._config.delivery_timeout_s + 1)
                sent.get(0)
            finally:
                producer.close(timeout=1.0)
        except (KafkaError, OSError, ValueError) as error:
            raise self._failed(self._config, error) from error

    def notes(self) -> list[str]:
        try:
            consumer = self._consumer()
            try:
                found = self._consume(consumer, time.monotonic() + READ_TIMEOUT_S)
            finally:
                consumer.close()
        except (KafkaError, OSError, ValueError) as error:
            raise self._failed(self._reader, error) from error
        found.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
        return [(record.value or b"").decode("utf-8", "replace") for record in found]

    def _failed(self, config: KafkaConfig, error: Exception) -> AnchorFailed:
        where = ",".join(config.bootstrap)
        return AnchorFailed(
            f"anchor `{self.name}`: topic `{config.topic}` at `{where}`: {str(error) or type(error).__name__}\n"
            "  hint: does the topic exist, and may this principal use it?"
        )

    def _consumer(self) -> Any:
        recorder = ClientRecorder()
        try:
            return KafkaConsumer(
                bootstrap_servers=list(self._reader.bootstrap),
                client_id="dosimeter-anchor",
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=int(self._reader.connect_timeout_s * 1000),
                kafka_client=recorder,
                **self._reader.security,
            )
        except BaseException:
            recorder.close()
            raise

    def _consume(self, consumer: Any, deadline: float) -> list[Any]:
        """All records up to where each partition ended when its first fetch was answered."""
        numbers = consumer.partitions_for_topic(self._reader.topic)
        if not numbers:
            raise ValueError("no such topic")
        partitions = [TopicPartition(self._reader.topic, number) for number in numbers]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        found: list[Any] = []
        ends: dict[Any, int] = {}
        while any(p not in ends or consumer.position(p) < ends[p] for p in partitions):
            if time.monotonic() > deadline:
                raise OSError(f"read {len(found)} records, then no more in time")
            for records in consumer.poll(timeout_ms=200).values():
                found += records
            for partition in partitions:
                end = consumer.highwater(partition)
                if end is not None:
                    ends.setdefault(partition, end)
        return found
