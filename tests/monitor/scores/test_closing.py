"""No topic is named any more: what waited for one is removed, said and counted, and no alert is touched."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dosimeter.monitor import service, stopping, supervising
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.config import load_config
from dosimeter.monitor.delivery import DeliveryConfig, run_delivery
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.lock import WriterLock
from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.scores.outbox import Outbox, Packed
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome

NAMED = "sinks: {kafka: {bootstrap: a, scores: s}}"
DROPPED = "sinks: {kafka: {bootstrap: a}}"


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    folder = ArchiveFolder(tmp_path / "archive")
    folder.make()
    found = Outbox(folder.outbox)
    found.put(1, 6, [Packed(b"k", b"v", 3)] * 2)
    return found


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`dosimeter sidecar` with this in its file, up to where it starts its processes."""
    monkeypatch.setattr(supervising, "supervise", lambda children, stop: 0)
    monkeypatch.setattr(stopping, "stop_on_signals", threading.Event)

    def run(text: str) -> None:
        file = tmp_path / "sidecar.yaml"
        file.write_text(f"version: 1\ndata-dir: .\narchive: {{}}\n{text}\n")
        assert main(["sidecar", "--config", str(file)]) == 0

    return run


@pytest.mark.parametrize("text", [DROPPED, ""], ids=["the topic alone", "every sink"])
def test_what_waited_is_removed_counted_and_said_in_log_and_status(
    text: str, outbox: Outbox, start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Ledger(tmp_path / "ledger.db"):
        start(text)
        said = service.sinks_status(load_config(tmp_path / "sidecar.yaml"))["scores"]
    assert outbox.waiting() == []
    assert (said["archived"], said["waiting"], said["sent"]) == (6, 0, 0)
    assert said["dropped"]["closed"] == 6
    assert [one for one in caplog.messages if one.startswith("6 scores are not sent: `sinks.kafka")]
    caplog.clear()
    start(text)
    assert caplog.messages == []


def test_while_a_topic_is_named_all_of_it_waits(outbox: Outbox, start: Any) -> None:
    start(NAMED)
    assert len(outbox.waiting()) == 1


@pytest.mark.parametrize("name", ["deliver.db", "archive/work/archive"])
def test_beside_a_process_that_writes_an_account_it_is_left_and_said(
    name: str, outbox: Outbox, start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock = WriterLock(tmp_path / name)
    start(DROPPED)
    lock.close()
    assert len(outbox.waiting()) == 1
    assert f"scores in {outbox.path} wait" in caplog.text
    assert "already being written by process" in caplog.text
    start(DROPPED)
    assert outbox.waiting() == []


def test_an_account_that_makes_no_sense_stops_no_start(
    outbox: Outbox, start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (outbox.path / "sent").write_text("[]")
    start(DROPPED)
    assert len(outbox.waiting()) == 1
    assert "no account of scores" in caplog.text


def test_where_scores_were_never_sent_nothing_is_made(start: Any, tmp_path: Path) -> None:
    start(DROPPED)
    assert [path.name for path in tmp_path.iterdir()] == ["sidecar.yaml"]


def test_delivery_without_a_topic_still_counts_them_in_metrics(
    outbox: Outbox, tmp_path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    outbox.close()
    stop, recorded = threading.Event(), dict[str, float]()

    class Alerts:
        name = "alerts"

        def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
            stop.set()
            return [DELIVERED] * len(batch)

        def close(self) -> None: ...

    def record(name: str, value: float, labels: dict[str, str] | None = None) -> None:
        recorded[name + json.dumps(labels)] = value

    config = DeliveryConfig(tmp_path / "ledger.db", tmp_path / "deliver.db", outbox=outbox)
    with Ledger(config.ledger) as ledger:
        ledger.append([record_of(1)])
        telemetry: Any = SimpleNamespace(record=record)
        run_delivery(config, stop, sinks=[Alerts()], telemetry=telemetry)
    assert recorded['dosimeter.delivery.scores.dropped{"reason": "closed"}'] == 6
    assert recorded["dosimeter.delivery.scores.waitingnull"] == 0
    assert recorded['dosimeter.delivery.delivered{"sink": "alerts"}'] == 1
