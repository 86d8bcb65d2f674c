"""`dosimeter deliver dead | replay | forget`: what an operator does about dead letters."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.monitor.cli import deliver
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.lock import WriterLock
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord, StoredAlert

ONE, TWO = f"{1:032x}", f"{2:032x}"


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    deliver.add_parser(parser.add_subparsers())
    args = parser.parse_args(["deliver", *words])
    code: int = args.run(args)
    return code


@pytest.fixture
def data_dir(
    tmp_path: Path,
    record_of: Callable[..., LedgerRecord],
    stored_of: Callable[..., StoredAlert],
) -> str:
    """Kafka has refused the first of two alerts, OTLP both."""
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.append([record_of(1), record_of(2)])
    with LedgerReader(tmp_path / "ledger.db") as reader:
        ledger_id = reader.ledger_id
    with CursorStore(tmp_path / "deliver.db", ledger_id=ledger_id) as store:
        hostile = [(stored_of(1), "too \x1b[31mlarge")]
        store.settle("kafka", cursor=2, delivered=1, dead=hostile, now_ns=0)
        both = [(stored_of(n), "rejected") for n in (1, 2)]
        store.settle("otlp", cursor=2, delivered=0, dead=both, now_ns=0)
    return str(tmp_path)


def asked(data_dir: str) -> list[tuple[str, int]]:
    with LedgerReader(Path(data_dir, "ledger.db")) as reader:
        ledger_id = reader.ledger_id
    with CursorStore(Path(data_dir, "deliver.db"), ledger_id=ledger_id) as store:
        return [(s, one.seq) for s in store.sinks() for one in store.letters.replays(s, limit=9)]


def test_dead_letters_are_listed_with_their_reason_made_harmless(
    data_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--data-dir", data_dir, "dead") == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"kafka  {ONE}  1970-01-01T00:00:00Z  dead  too \\x1b[31mlarge"
    assert [line.split()[:2] for line in rest] == [["otlp", ONE], ["otlp", TWO]]


def test_as_json_each_has_its_record(data_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dead", "--data-dir", data_dir, "--sink", "kafka", "--json") == 0
    (letter,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (letter["event_id"], letter["replay_asked_ns"]) == (ONE, None)
    assert json.loads(letter["record"])["rule"] == "deception.denies"


def test_the_limit_says_what_it_leaves_out(
    data_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("dead", "--data-dir", data_dir, "--limit", "1") == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 2
    assert shown.err == "1 more; `--limit` shows them\n"


def test_all_are_asked_for_beside_a_dispatcher_that_runs(
    data_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    running = WriterLock(Path(data_dir, "deliver.db"))
    assert run("replay", "--data-dir", data_dir, "--all") == 0
    running.close()
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [f"kafka  {ONE}", f"otlp  {ONE}", f"otlp  {TWO}"]
    assert shown.err == ""
    assert asked(data_dir) == [("kafka", 1), ("otlp", 1), ("otlp", 2)]


def test_without_a_dispatcher_it_says_when_they_are_sent(
    data_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("replay", "--data-dir", data_dir, "--sink", "otlp", "--event-id", TWO) == 0
    assert "when `dosimeter deliver` or the sidecar runs" in capsys.readouterr().err
    assert asked(data_dir) == [("otlp", 2)]


def test_a_dry_run_names_them_and_asks_for_none(
    data_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("replay", "--data-dir", data_dir, "--all", "--dry-run") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert asked(data_dir) == []


def test_an_id_that_is_no_dead_letter_is_said_and_the_others_are_asked_for(
    data_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("replay", "--data-dir", data_dir, "--event-id", ONE, "--event-id", "no\nsuch")
    assert run(*words) == 1
    assert "no dead letter `no\\nsuch`" in capsys.readouterr().err
    assert asked(data_dir) == [("kafka", 1), ("otlp", 1)]


@pytest.mark.parametrize("action", [("dead",), ("replay", "--all")])
def test_a_sink_that_is_none_is_answered_with_those_there_are(
    data_dir: str, capsys: pytest.CaptureFixture[str], action: tuple[str, ...]
) -> None:
    assert run(*action, "--data-dir", data_dir, "--sink", "kafak") == 3
    assert "no sink `kafak`; there are: kafka, otlp" in capsys.readouterr().err


def test_where_nothing_was_delivered_no_file_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger(tmp_path / "ledger.db").close()
    assert run("dead", "--data-dir", str(tmp_path)) == 3
    assert "nothing was delivered here" in capsys.readouterr().err
    assert not (tmp_path / "deliver.db").exists()


def test_a_sink_is_let_go_of_with_its_dead_letters_only_where_that_is_said(
    data_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("forget", "--data-dir", data_dir, "kafka") == 3
    assert "1 dead letters of `kafka` would go with it" in capsys.readouterr().err
    assert run("forget", "--data-dir", data_dir, "kafka", "--discard-dead-letters") == 0
    assert run("dead", "--data-dir", data_dir, "--sink", "kafka") == 3


def test_no_sink_is_let_go_of_beside_a_dispatcher_that_would_bring_it_back(
    data_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    running = WriterLock(Path(data_dir, "deliver.db"))
    words = ("forget", "--data-dir", data_dir, "kafka", "--discard-dead-letters")
    assert run(*words) == 3
    running.close()
    assert "a dispatcher runs" in capsys.readouterr().err
    assert run("dead", "--data-dir", data_dir, "--sink", "kafka") == 0
