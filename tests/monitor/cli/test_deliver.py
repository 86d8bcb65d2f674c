"""`dosimeter deliver`: where its settings come from, and what it answers without any."""

from __future__ import annotations

import argparse
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.monitor import delivery
from dosimeter.monitor.cli import deliver
from dosimeter.monitor.cli.deliver import merge_sinks, sinks_of
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.sinks.config import KafkaConfig, OtlpConfig, StdoutConfig


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    deliver.add_parser(parser.add_subparsers())
    return parser.parse_args(["deliver", *words])


def test_sinks_are_named_on_the_command_line() -> None:
    args = parse("--kafka", "a:1,b:2", "--topic", "t", "--otlp", "http://c:4318", "--jsonl", "-")
    assert sinks_of(args) == (
        KafkaConfig(bootstrap=("a:1", "b:2"), topic="t"),
        OtlpConfig(endpoint="http://c:4318"),
        StdoutConfig(),
    )


def test_the_command_line_replaces_the_sink_of_the_same_kind() -> None:
    file = (KafkaConfig(("a:1",)), OtlpConfig())
    assert merge_sinks(file, (KafkaConfig(("b:1",)),)) == (KafkaConfig(("b:1",)), OtlpConfig())


def test_without_a_sink_it_says_how_to_name_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = parse("--data-dir", str(tmp_path))
    assert args.run(args) == 2
    assert "hint: `sinks:`" in capsys.readouterr().err


def test_status_is_json_and_delivers_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record_of: Callable[..., LedgerRecord],
) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.append([record_of(1)])
        args = parse("--data-dir", str(tmp_path), "--status")
        assert args.run(args) == 0
    assert json.loads(capsys.readouterr().out) == {"sinks": {}, "confirm": {}}


def test_status_without_a_ledger_is_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = parse("--data-dir", str(tmp_path), "--status")
    assert args.run(args) == 3
    assert "no ledger here" in capsys.readouterr().err


def test_its_warnings_are_written_although_they_are_counted_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 2026-11-30 a handler that only counts kept Python from writing them."""

    def deliver_nothing(*_: object, **__: object) -> None:
        logging.getLogger("dosimeter.monitor.lane").warning("lane `kafka`: away")

    monkeypatch.setattr(delivery, "run_delivery", deliver_nothing)
    monkeypatch.setattr(deliver, "stop_on_signals", threading.Event)
    args = parse("--data-dir", str(tmp_path), "--jsonl", "-")
    with monkeypatch.context() as bare:  # as a process of its own has it
        bare.setattr(logging.root, "handlers", [])
        bare.setattr(logging.root, "level", logging.WARNING)
        bare.setattr(logging.getLogger("dosimeter"), "handlers", [])
        assert args.run(args) == 0
    assert capsys.readouterr().err == "WARNING dosimeter.monitor.lane: lane `kafka`: away\n"


def test_a_file_that_cannot_be_read_is_exit_code_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = parse("--config", str(tmp_path / "no.yaml"))
    assert args.run(args) == 4
    assert "no.yaml" in capsys.readouterr().err
