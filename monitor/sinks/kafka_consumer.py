"""A consumer of Kafka as all of ours are: it makes no topic, commits nothing by itself, and says why it is not there.

It owns the settings that they share. It knows nothing of what is read, nor by whom.
"""

from __future__ import annotations

from typing import Any

from kafka import KafkaConsumer
from kafka.errors import KafkaError

from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka_client import ClientRecorder


def connected_consumer(
    config: KafkaConfig, group: str | None, *, client_id: str, **more: Any
) -> Any:
    """It has joined and read nothing yet. more: settings of this one alone.

    Raises KafkaError, of what it was that failed, and OSError.
    """
    recorder = ClientRecorder()
    try:
        return KafkaConsumer(
            bootstrap_servers=list(config.bootstrap),
            client_id=client_id,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=int(config.connect_timeout_s * 1000),
            reconnect_backoff_max_ms=1000,
            metadata_max_age_ms=30_000,  # by then a partition that was added is seen
            kafka_client=recorder,
            **more,
            **config.security,
        )
    except BaseException as error:
        recorder.close()
        if recorder.cause is not None and isinstance(error, KafkaError):
            raise recorder.cause from error
        raise
