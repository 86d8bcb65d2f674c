"""What kcat shows of an alert, as somebody at a terminal reads it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka import KafkaSink
from dosimeter.monitor.sinks.kafka_record import kafka_record
from dosimeter.monitor.sinks.sink import DELIVERED
from tests.monitor.sinks.apache_scene import Guarded

pytestmark = pytest.mark.parts


def test_kcat_reads_the_ledgers_bytes_with_key_and_headers(
    guarded: Guarded, stored_of: Callable[..., StoredAlert]
) -> None:
    (bootstrap,) = guarded.kafka.bootstrap()
    init_topic([bootstrap], "kcat", partitions=1)
    alerts = [stored_of(n, summary=f"täuscht \u2028 {n}") for n in range(1, 51)]
    sink = KafkaSink(KafkaConfig((bootstrap,), "kcat"))
    assert sink.send(alerts) == [DELIVERED] * 50
    sink.close()
    made = [kafka_record(alert) for alert in alerts]
    sent = [
        b"\t".join(
            (
                one["key"],
                b",".join(name.encode() + b"=" + value for name, value in one["headers"]),
                one["value"],
            )
        )
        for one in made
    ]
    form = ["-f", "%k\\t%h\\t%s\\n"]
    shown = subprocess.run(
        ["kcat", "-b", bootstrap, "-C", "-t", "kcat", "-o", "beginning", "-e", "-q", *form],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert shown.split(b"\n") == [*sent, b""]
