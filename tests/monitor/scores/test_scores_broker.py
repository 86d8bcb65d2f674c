"""Kept scores through a real broker: read back equal to the archive, and given up before any alert waits for them."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer

from dosimeter.monitor.cli import kafka as cli
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.lab.broker import EmbeddedBroker, free_port
from dosimeter.monitor.lab.readback import read_back
from dosimeter.monitor.scores import packed
from dosimeter.monitor.scores.outbox import read_packed
from tests.monitor.scores.scores_scene import ALERTS, SCORES, Sidecar, archived, content
from tests.monitor.sinks.deliver_scene import COMMAND, wait_until

pytestmark = pytest.mark.parts


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def sidecar(tmp_path: Path, broker: EmbeddedBroker) -> Iterator[Sidecar]:
    scene = Sidecar(tmp_path, bootstrap=broker.bootstrap)
    yield scene
    scene.close()


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    args = parser.parse_args(["kafka", *words])
    code: int = args.run(args)
    return code


def test_what_the_archive_kept_is_read_back_from_the_topic_as_an_archive_equal_to_the_bit(
    sidecar: Sidecar,
    broker: EmbeddedBroker,
    record_of: Callable[..., LedgerRecord],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("init", "--config", str(sidecar.config)) == 0
    assert capsys.readouterr().out.split("\n")[:2] == [
        f"topic `{ALERTS}` created",
        f"topic `{SCORES}` created",
    ]
    archive = sidecar.folder / "archive"
    done = archived(archive, sidecar.outbox)
    values = {
        one.value: one.key
        for file in sidecar.outbox.waiting()
        for one, _ in read_packed(file.path, 0, 10**6)
    }
    sidecar.ledger.append([record_of(n) for n in range(1, 301)])
    sidecar.start()
    wait_until(lambda: sidecar.account.waiting == 0, lambda: sidecar.account)
    wait_until(lambda: sidecar.alerts["queued"] == 0, lambda: sidecar.alerts)
    sidecar.end()
    account = sidecar.account
    assert account.archived == account.sent == done["kept_tokens"] > 0
    assert set(account.dropped.values()) == {0}
    consumed = read_back(broker.bootstrap, SCORES)
    assert {one.value: one.key for one in consumed} == values
    assert len(consumed) == len(values) == account.records
    assert all(one.headers["schema"] == b"dosimeter.scores.v1" for one in consumed)
    assert len({one.event_id for one in read_back(broker.bootstrap, ALERTS)}) == 300

    said = json.loads(subprocess.check_output([*COMMAND, str(sidecar.config), "--status"]))
    assert said["scores"]["sent"] == done["kept_tokens"]

    out = sidecar.folder / "elsewhere"
    assert run("scores", "--config", str(sidecar.config), "--out", str(out)) == 0
    assert f"{done['kept_requests']} requests of {account.sent} tokens" in capsys.readouterr().out
    assert content(out) == content(archive)
    assert run("scores", "--config", str(sidecar.config), "--out", str(out)) == 2
    assert "there is something already" in capsys.readouterr().err


def test_kafka_is_away_and_alerts_are_conserved_while_scores_are_dropped_and_counted(
    tmp_path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    """The outbox holds one file; then the broker comes back: what waited is sent, and every alert."""
    port = free_port()
    sidecar = Sidecar(tmp_path, bootstrap=f"127.0.0.1:{port}")
    sidecar.outbox.full_bytes = 1
    try:
        sidecar.start()
        done = archived(sidecar.folder / "archive", sidecar.outbox)
        sidecar.ledger.append([record_of(n) for n in range(1, 301)])
        wait_until(lambda: sidecar.account.last_error is not None, lambda: sidecar.account)
        account = sidecar.account
        assert account.archived == account.waiting + account.dropped["full"] == done["kept_tokens"]
        assert account.waiting > 0
        assert account.dropped["full"] > 0
        wait_until(lambda: sidecar.alerts["queued"] == 300)
        with EmbeddedBroker(port=port) as broker:
            for topic in (ALERTS, SCORES):
                cli.init_topic([broker.bootstrap], topic)
            wait_until(lambda: sidecar.alerts["queued"] == 0, lambda: sidecar.alerts)
            wait_until(lambda: sidecar.account.waiting == 0, lambda: sidecar.account)
            after = sidecar.account
            assert after.sent == account.waiting
            assert after.archived == after.sent + after.dropped["full"]
            assert sidecar.alerts["delivered"] == sidecar.alerts["accepted"] == 300
            ids = {one.event_id for one in read_back(broker.bootstrap, ALERTS)}
            assert ids == {f"{n:032x}" for n in range(1, 301)}
            tokens = {
                (one.opened.key, one.piece.part): len(one.rows.codes)
                for record in read_back(broker.bootstrap, SCORES)
                for one in [packed.unpack(record.value, "x")]
            }
            assert sum(tokens.values()) == after.sent
    finally:
        sidecar.close()


def test_killed_while_it_sends_it_goes_on_and_counts_each_token_once(
    sidecar: Sidecar, broker: EmbeddedBroker
) -> None:
    for topic in (ALERTS, SCORES):
        cli.init_topic([broker.bootstrap], topic)
    done = archived(sidecar.folder / "archive", sidecar.outbox, pieces=40)
    for _ in range(3):
        before = sidecar.account.sent
        sidecar.start()
        wait_until(lambda: sidecar.account.sent > before or not sidecar.account.waiting)  # noqa: B023
        sidecar.end(signal.SIGKILL)
        account = sidecar.account
        assert account.archived == account.sent + account.waiting == done["kept_tokens"]
    sidecar.start()
    wait_until(lambda: sidecar.account.waiting == 0)
    sidecar.end()
    assert sidecar.account.sent == done["kept_tokens"]
    out = sidecar.folder / "elsewhere"
    assert run("scores", "--config", str(sidecar.config), "--out", str(out)) == 0
    assert content(out) == content(sidecar.folder / "archive")


def test_strangers_records_are_named_and_the_rest_is_read(
    sidecar: Sidecar, broker: EmbeddedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    for topic in (ALERTS, SCORES):
        cli.init_topic([broker.bootstrap], topic, partitions=1)
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    producer.send(SCORES, b"not ours")
    producer.send(SCORES, None, key=b"k")
    producer.flush()
    producer.close()
    archived(sidecar.folder / "archive", sidecar.outbox)
    sidecar.start()
    wait_until(lambda: sidecar.account.waiting == 0)
    out = sidecar.folder / "elsewhere"
    where = ("--bootstrap", broker.bootstrap, "--topic", SCORES)
    assert run("scores", *where, "--out", str(out)) == 4
    said = capsys.readouterr()
    assert f"{SCORES}-0 offset 0:0: begins with" in said.err
    assert "2 refused" in said.out
    assert content(out) == content(sidecar.folder / "archive")


def test_no_broker_and_no_topic_are_exit_code_3_with_a_hint(
    broker: EmbeddedBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--out", str(tmp_path / "a"), "--timeout", "0.5")
    away = f"127.0.0.1:{free_port()}"
    no_topic = broker.bootstrap, "topic `dosimeter.scores.v1` does not"
    for where, words in ((away, away), ("kafka:ninety", "'ninety'"), no_topic):
        assert run("scores", "--bootstrap", where, *more) == 3
        said = capsys.readouterr().err
        assert words in said
        assert "  hint: " in said
