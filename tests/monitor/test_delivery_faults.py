"""Delivery as a process of its own, with a real broker: absent, and killed in the middle."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.lab.broker import EmbeddedBroker
from dosimeter.monitor.lab.readback import read_back
from dosimeter.monitor.lab.viewer import Viewer
from tests.monitor.conservation import conserved

pytestmark = pytest.mark.parts
RecordOf = Callable[..., LedgerRecord]
PATIENCE_S = 30.0

CHILD = """
import sys, threading
from pathlib import Path
from dosimeter.monitor.delivery import DeliveryConfig, run_delivery
from dosimeter.monitor.sinks.config import KafkaConfig, OtlpConfig
from dosimeter.monitor.cli.deliver import stop_on_signals
folder, bootstrap, otlp = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
sinks = (KafkaConfig((bootstrap,), connect_timeout_s=0.5), OtlpConfig(endpoint=otlp))
config = DeliveryConfig(folder / "ledger.db", folder / "deliver.db", sinks, batch=20)
run_delivery(config, stop_on_signals())
"""


def start(folder: Path, bootstrap: str, otlp: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(folder), bootstrap, otlp])


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def delivered(folder: Path, sink: str) -> int:
    found = conserved(folder).get(sink)
    return 0 if found is None else int(str(found["delivered"]))


def drained(folder: Path) -> bool:
    sinks = conserved(folder)
    return len(sinks) == 2 and all(sink["queued"] == 0 for sink in sinks.values())


def test_killed_again_and_again_it_delivers_everything_and_counts_exactly(
    tmp_path: Path, record_of: RecordOf
) -> None:
    """kill -9 somewhere in each of five lives, while the line goes on accepting."""
    rng = random.Random(20261120)
    accepted: dict[str, bytes] = {}
    with (
        EmbeddedBroker() as broker,
        Viewer() as viewer,
        Ledger(tmp_path / "ledger.db") as ledger,
    ):
        init_topic([broker.bootstrap])
        for life in range(5):
            group = [record_of(life * 1000 + n, deliverable=n % 10 != 0) for n in range(1000)]
            ledger.append(group)
            accepted |= {r.event_id: r.core for r in group if r.deliverable}
            before = delivered(tmp_path, "kafka")
            child = start(tmp_path, broker.bootstrap, viewer.endpoint)
            goal = before + rng.randrange(1, 600)
            wait_until(lambda goal=goal: delivered(tmp_path, "kafka") >= goal)
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        assert 0 < delivered(tmp_path, "kafka") < len(accepted)
        child = start(tmp_path, broker.bootstrap, viewer.endpoint)
        wait_until(lambda: drained(tmp_path))
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_S) == 0
        consumed = read_back(broker.bootstrap)
        seen = viewer.event_ids()
        events = len(viewer.events())
    for sink in conserved(tmp_path).values():
        assert (sink["accepted"], sink["delivered"]) == (4500, 4500)
        assert (sink["dead"], sink["queued"]) == (0, 0)
    assert {c.event_id: c.value for c in consumed} == accepted  # after dedupe, equal to the byte
    assert seen == set(accepted)
    # At least once: at most the batch in hand is sent again, once for each death and sink.
    assert len(consumed) - len(accepted) <= 5 * 20
    assert events - len(accepted) <= 5 * 20


def test_kafka_absent_holds_nothing_else_up_and_gets_everything_when_it_is_there(
    tmp_path: Path, record_of: RecordOf
) -> None:
    broker = EmbeddedBroker()
    accepted = {record.event_id for record in map(record_of, range(300))}
    with Viewer() as viewer, Ledger(tmp_path / "ledger.db") as ledger:
        child = start(tmp_path, broker.bootstrap, viewer.endpoint)
        try:
            ledger.append([record_of(n) for n in range(300)])
            wait_until(lambda: delivered(tmp_path, "otlp") == 300)
            kafka = conserved(tmp_path)["kafka"]
            assert (kafka["accepted"], kafka["delivered"], kafka["queued"]) == (300, 0, 300)
            wait_until(lambda: conserved(tmp_path)["kafka"]["last_error"] is not None)
            with broker:
                init_topic([broker.bootstrap])
                wait_until(lambda: drained(tmp_path))
                child.send_signal(signal.SIGTERM)
                assert child.wait(PATIENCE_S) == 0
                consumed = read_back(broker.bootstrap)
        finally:
            child.kill()
            child.wait()
    assert {c.event_id for c in consumed} == accepted
    assert len(consumed) == 300
    assert viewer.event_ids() == accepted
