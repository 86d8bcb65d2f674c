"""A request for an erasure is a file that whoever may write the ledger does, wherever copies of the alerts are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter.monitor.history import erasure as module
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.erasure import (
    Request,
    ask_erasure,
    copies_beside,
    erase_in_ledger,
    erasing,
    erasure_state,
    waiting_requests,
)
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerMissing, LedgerReader
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.history.verdicts import Verdict
from dosimeter.rules.canonical import canonical

USER = "planted-user-4711"
NOW = 77


def record(number: int, user: str = USER) -> LedgerRecord:
    core = {"event_id": f"{number:032x}", "labels": {"tenant": "t", "user": user}, "summary": user}
    return LedgerRecord(f"{number:032x}", canonical(core), user.encode(), True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0)
    monkeypatch.setattr(module, "TRIES", 1_000_000)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """Two alerts of the person and one of somebody else."""
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.append([record(1), record(2, "somebody"), record(3)])
    yield tmp_path
    assert not list(tmp_path.rglob("*.tmp"))


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_request_is_one_file_that_names_event_ids_alone(tmp_path: Path) -> None:
    request = ask_erasure(tmp_path, [record(1).event_id], NOW)
    (path,) = (tmp_path / "erasures").iterdir()
    assert path.name == f"{request}.json"
    assert json.loads(path.read_bytes()) == {
        "v": 1,
        "id": request,
        "event_ids": [record(1).event_id],
        "asked_ns": NOW,
    }
    assert erasure_state(tmp_path, request) == "waiting"
    path.unlink()
    assert erasure_state(tmp_path, request) == "done"


def test_more_ids_than_a_file_takes_are_several_files_of_one_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    ids = [f"{n:032x}" for n in range(5)]
    request = ask_erasure(tmp_path, ids, NOW)
    waiting = list(waiting_requests(tmp_path))
    assert {one.id for one in waiting} == {request, f"{request}.1", f"{request}.2"}
    assert sorted(event_id for one in waiting for event_id in one.event_ids) == ids
    waiting[0].path.unlink()
    assert erasure_state(tmp_path, request) == "waiting"


@pytest.mark.parametrize("wrong", ["", "x", "A" * 32, "0" * 31, "../" + "0" * 29])
def test_what_is_no_event_id_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ValueError, match="is no event id"):
        ask_erasure(tmp_path, [wrong], NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"v": 2, "id": "a", "event_ids": []}',
        '{"v": 1, "id": "other", "event_ids": []}',
        '{"v": 1, "id": "a", "event_ids": ["x"]}',
        '{"v": 1, "id": "a", "event_ids": [1]}',
        '{"v": 1, "id": "a", "event_ids": 1}',
        "[" * 100_000,
    ],
)
def test_a_file_that_is_no_request_is_put_aside(tmp_path: Path, text: str) -> None:
    (tmp_path / "erasures").mkdir()
    (tmp_path / "erasures" / "a.json").write_text(text)
    assert list(waiting_requests(tmp_path)) == []
    assert [path.name for path in (tmp_path / "erasures").iterdir()] == ["a.wrong"]


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        Path.mkdir,
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.symlink_to("/dev/zero"),
    ],
    ids=["fifo", "folder", "loop", "dangling", "device"],
)
def test_what_is_no_plain_file_is_put_aside_and_others_go_on(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    """A fifo would keep the thread that commits for ever."""
    (tmp_path / "erasures").mkdir()
    make(tmp_path / "erasures" / "0.json")
    request = ask_erasure(tmp_path, [record(1).event_id], NOW)
    assert [one.id for one in waiting_requests(tmp_path)] == [request]
    names = {path.name for path in (tmp_path / "erasures").iterdir()}
    assert names == {"0.wrong", f"{request}.json"}


def test_one_that_cannot_be_read_waits_and_is_said_after_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = sorted(ask_erasure(tmp_path, [record(n).event_id], NOW) for n in (1, 2))
    read = module._bytes

    def refusing(path: Path) -> bytes:
        if path.stem == requests[0]:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(module, "_bytes", refusing)
    waiting = waiting_requests(tmp_path)
    assert next(waiting).id == requests[1]
    with pytest.raises(PermissionError):
        next(waiting)
    assert erasure_state(tmp_path, requests[0]) == "waiting"


def test_one_that_was_put_aside_is_not_done(tmp_path: Path) -> None:
    """As one of a later release would be."""
    request = ask_erasure(tmp_path, [record(1).event_id], NOW)
    path = tmp_path / "erasures" / f"{request}.json"
    path.write_text(path.read_text().replace('"v": 1', '"v": 2'))
    assert list(waiting_requests(tmp_path)) == []
    assert erasure_state(tmp_path, request) == "waiting"


def test_a_request_is_read_when_it_is_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        ask_erasure(tmp_path, [record(number).event_id], NOW)
    read: list[Path] = []
    found = module._bytes
    monkeypatch.setattr(module, "_bytes", lambda path: read.append(path) or found(path))
    next(waiting_requests(tmp_path))
    assert len(read) == 1


def test_an_alert_that_was_pruned_lately_leaves_no_copy_either(tmp_path: Path) -> None:
    """SQLite moves rows when it removes others; a copy may stay where they were."""
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        ledger.append([record(n, f"<{n:04}>" * (1 + 7 * n % 90)) for n in range(1, 400)])
        through = 0
        for step in [1, 7, 3, 9, 2, 5] * 12:
            through += step
            ledger.upkeep.prune(through, 1 << 62)
    ids = [record(n).event_id for n in range(1, through + 1)]
    for start in range(0, through, 40):
        erase_in_ledger(tmp_path, ids[start : start + 40], NOW)
    left = everything(tmp_path)
    assert not [n for n in range(1, through + 1) if b"<%04d>" % n in left]
    assert b"<%04d>" % (through + 1) in left


def test_where_no_line_runs_it_is_done_at_once_and_no_byte_is_left(data_dir: Path) -> None:
    request = erase_in_ledger(data_dir, [record(1).event_id, record(3).event_id], NOW)
    assert erasure_state(data_dir, request) == "done"
    assert USER.encode() not in everything(data_dir)
    with LedgerReader(data_dir / "ledger.db") as reader:
        assert [dict(alert.labels) for alert in reader.alerts_since()] == [
            {"tenant": "t"},
            {"tenant": "t", "user": "somebody"},
            {"tenant": "t"},
        ]
        assert reader.evidence(record(2).event_id) == b"somebody"
        done = reader._db.execute("SELECT id, event_ids FROM erasure").fetchall()
    assert done == [(request, 2)]


def test_where_a_line_runs_the_request_is_left_to_it(data_dir: Path) -> None:
    with Ledger(data_dir / "ledger.db") as ledger:
        request = erase_in_ledger(data_dir, [record(1).event_id], NOW)
        assert erasure_state(data_dir, request) == "waiting"
        (one,) = waiting_requests(data_dir)
        for _ in erasing(ledger.upkeep, one, ()):
            pass
        assert erasure_state(data_dir, request) == "done"


def test_without_a_ledger_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(LedgerMissing):
        erase_in_ledger(tmp_path, [record(1).event_id], NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_after_any_part_is_made_good_by_doing_it_again(data_dir: Path) -> None:
    ids = tuple(f"{n:032x}" for n in range(1, 1200))
    calls = []

    def elsewhere(event_ids: object, seqs: object) -> bool:
        calls.append((event_ids, seqs))
        return len(calls) % 2 == 0

    for parts in range(10):
        ask_erasure(data_dir, ids, NOW)
        with Ledger(data_dir / "ledger.db") as ledger:
            one = next(waiting_requests(data_dir))
            for _ in zip(range(parts), erasing(ledger.upkeep, one, [elsewhere]), strict=False):
                pass
    erase_in_ledger(data_dir, ids, NOW)
    assert list(waiting_requests(data_dir)) == []
    assert USER.encode() not in everything(data_dir)
    assert calls[-1] == (ids, [1, 2, 3])


def test_copies_in_the_dispatchers_file_and_among_refused_items_go_too(data_dir: Path) -> None:
    """Also what comes of an erased alert later, and a dead letter whose alert is pruned."""
    ledger_path, store_path = data_dir / "ledger.db", data_dir / "deliver.db"
    with LedgerReader(ledger_path) as reader:
        ledger_id, alerts = reader.ledger_id, reader.alerts_since()

    def verdict(seq: int) -> Verdict:
        return Verdict(seq, "c", "yes", f"because of {USER}", 0.5, 3, 1, NOW)

    dead = [(alert, f"bad value {USER}") for alert in (alerts[0], replace(alerts[0], seq=9))]
    with CursorStore(store_path, ledger_id=ledger_id) as store:
        store.settle("kafka", cursor=1, delivered=0, dead=dead[:1], now_ns=NOW)
        store.verdicts.add([verdict(1)])
    refused = Refused.beside(ledger_path)
    refused.keep({"refused_ns": 5, "evidence": {record(3).event_id: USER.encode()}})
    refused.keep({"refused_ns": 6, "record": {"event_id": "f" * 32, "core": b"\xff"}})

    erase_in_ledger(data_dir, [record(1).event_id, record(3).event_id], NOW)

    with CursorStore(store_path, ledger_id=ledger_id) as store:
        store.settle("otlp", cursor=3, delivered=0, dead=[(alerts[2], f"bad {USER}")], now_ns=NOW)
        store.verdicts.add([verdict(3)])
        (first,), (late,) = store.letters.of("kafka"), store.letters.of("otlp")
        reasons = [store.verdicts.of(seq) for seq in (1, 3)]
    without = canonical({"event_id": record(1).event_id, "labels": {"tenant": "t"}, "summary": ""})
    assert (first.core, first.error) == (without, "erased")
    assert json.loads(late.core)["labels"] == {"tenant": "t"}
    assert [found and (found.answer, found.reason) for found in reasons] == [("yes", "")] * 2
    lines = [json.loads(line) for line in refused.path.read_text().splitlines()]
    assert lines[0] == {"refused_ns": 5, "erased": record(3).event_id}
    assert lines[1]["record"]["event_id"] == "f" * 32
    assert USER.encode() not in everything(data_dir)


def test_a_reader_of_an_old_snapshot_delays_the_end_and_not_the_erasure(data_dir: Path) -> None:
    with (
        Ledger(data_dir / "ledger.db") as ledger,
        LedgerReader(data_dir / "ledger.db") as reader,
        LedgerReader(data_dir / "ledger.db") as visitor,
    ):
        request = Request(data_dir / "erasures" / "a.json", "a", (record(1).event_id,))
        visitor._db.execute("BEGIN")
        visitor.count()
        turns = erasing(ledger.upkeep, request, copies_beside(ledger.path, data_dir / "deliver.db"))
        for _ in range(3):
            next(turns)
        assert "user" not in reader.alerts_since()[0].labels
        assert ledger.upkeep.erased() == 0
        visitor._db.execute("COMMIT")
        for _ in turns:
            pass
        assert ledger.upkeep.erased() == 1
