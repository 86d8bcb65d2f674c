"""Whoever has come least far holds; whoever cannot be read holds everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.history.consumers import Consumer, slowest
from dosimeter.monitor.history.cursors import CursorStore


def ask(folder: Path, *, sinks: tuple[str, ...] = (), history: bool = False) -> Consumer:
    return slowest(
        folder / "deliver.db",
        folder / "history.cursor",
        ledger_id="L",
        sinks=sinks,
        history_is_set_up=history,
        owed_after=lambda seq: 20 if 10 < seq < 20 else seq,
        last_seq=50,
    )


def sinks_at(folder: Path, ledger_id: str = "L", **cursors: int) -> None:
    with CursorStore(folder / "deliver.db", ledger_id=ledger_id) as store:
        for sink, cursor in cursors.items():
            store.settle(sink, cursor=cursor, delivered=1, dead=[], now_ns=1)


def history_at(folder: Path, said: Any) -> None:
    text = said if isinstance(said, str) else json.dumps(said)
    (folder / "history.cursor").write_text(text)


def test_where_nobody_reads_nothing_is_held(tmp_path: Path) -> None:
    assert ask(tmp_path) == Consumer("", 50)


def test_the_one_that_has_come_least_far_holds(tmp_path: Path) -> None:
    sinks_at(tmp_path, kafka=30, gone=40)
    history_at(tmp_path, {"ledger_id": "L", "seq": 35})
    assert ask(tmp_path, sinks=("kafka",)) == Consumer("kafka", 30)
    sinks_at(tmp_path, kafka=45)
    assert ask(tmp_path, sinks=("kafka",)) == Consumer("history", 35)
    history_at(tmp_path, {"ledger_id": "L", "seq": 48})
    assert ask(tmp_path, sinks=("kafka",)) == Consumer("gone", 40)  # it may come back


def test_a_sink_does_not_hold_what_it_is_never_sent_and_history_does(tmp_path: Path) -> None:
    sinks_at(tmp_path, kafka=12)
    assert ask(tmp_path) == Consumer("kafka", 20)
    history_at(tmp_path, {"ledger_id": "L", "seq": 12})
    assert ask(tmp_path) == Consumer("history", 12)


def test_who_is_set_up_and_never_began_holds_everything(tmp_path: Path) -> None:
    assert ask(tmp_path, sinks=("otlp",)) == Consumer("otlp", 0)
    sinks_at(tmp_path, kafka=30)
    assert ask(tmp_path, sinks=("kafka", "otlp")) == Consumer("otlp", 0)
    assert ask(tmp_path, sinks=("kafka",), history=True) == Consumer("history", 0)


@pytest.mark.parametrize(
    "said", ["", "[]", "{", {"seq": 9}, {"ledger_id": "L"}, {"ledger_id": "other", "seq": 9}]
)
def test_a_cursor_of_history_that_says_nothing_holds_everything(tmp_path: Path, said: Any) -> None:
    history_at(tmp_path, said)
    assert ask(tmp_path) == Consumer("history", 0)


def test_a_dispatchers_file_that_is_not_this_ledgers_holds_everything(tmp_path: Path) -> None:
    sinks_at(tmp_path, ledger_id="other", kafka=30)
    assert ask(tmp_path) == Consumer("deliver.db", 0)
    for file in tmp_path.glob("deliver.db*"):
        file.unlink()
    (tmp_path / "deliver.db").write_bytes(b"not a database, but long enough to have a header" * 9)
    assert ask(tmp_path) == Consumer("deliver.db", 0)
