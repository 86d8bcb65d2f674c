"""The canary: what is planted comes out of the line, is told apart, and is missed where it does not arrive."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dosimeter.monitor import canary, status
from dosimeter.monitor.canary import EVERY_NS, FIRST_NS, Canary, CanaryFailed, canary_program, run
from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import CANARY, LedgerReader
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.status_findings import sink_findings
from dosimeter.rules.language.schema import RuleSet
from dosimeter.rules.program import Program, compile_program
from tests.monitor.conftest import make_record
from tests.monitor.test_pipeline import Line, Server, folder, line

__all__ = ["folder", "line"]
S = 10**9
WALL = 1_700_000_000 * S


def made(program: Program | None = None) -> tuple[Canary, list[LedgerRecord]]:
    one = Canary(
        "led",
        monotonic_ns=lambda: 0,
        time_ns=lambda: WALL,
        program=None if program is None else lambda: program,
    )
    return one, one.look(FIRST_NS)


def test_the_first_comes_ten_minutes_after_the_start_and_then_one_an_hour() -> None:
    one, first = made()
    assert len(first) == 1
    assert one.look(FIRST_NS + EVERY_NS - 1) == []
    assert len(one.look(FIRST_NS + EVERY_NS)) == 1
    assert Canary("led", monotonic_ns=lambda: 0).look(FIRST_NS - 1) == []


def test_it_is_marked_as_what_it_is_and_sent_like_an_alert() -> None:
    one, (record,) = made()
    core = json.loads(record.core)
    assert (core["kind"], core["rule"], core["event_id"]) == ("canary", CANARY, record.event_id)
    assert record.deliverable
    assert one.status() == {"made_ns": WALL, "error": None}


def without_rules() -> Program:
    return compile_program(RuleSet(()), (canary.COLUMN,), ())


def later() -> Program:
    """With a rule that wants more than what was planted has at its second token."""
    text = canary.RULE.replace("z 2", "z 3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canary, "RULE", text)
        return canary_program()


@pytest.mark.parametrize(
    ("program", "because"),
    [(without_rules, "0 came out"), (later, "at token 8, not notified at 7")],
)
def test_a_line_that_decides_otherwise_makes_none_and_says_so(
    program: object, because: str
) -> None:
    assert callable(program)
    with pytest.raises(CanaryFailed, match=because):
        run(program())
    one, records = made(program())
    assert records == []
    assert because in str(one.status()["error"])
    one._program = canary_program
    assert len(one.look(FIRST_NS + EVERY_NS)) == 1
    assert one.status()["error"] is None


def test_it_enters_no_count_of_servers_tokens_or_alerts(line: Line, folder: Path) -> None:
    server = Server(folder)
    server.open(1, prompt=1)
    line.read()
    before = status.line_status(line.pipeline, started_ns=0)
    line.pipeline.canary = Canary("led", monotonic_ns=lambda: line.now.ns)
    line.now.ns += FIRST_NS
    server.beat()
    line.read()
    line.commit()
    found = status.line_status(line.pipeline, started_ns=0)
    assert found["canary"]["error"] is None
    for name in ("coverage", "alerts", "rules", "decisions"):
        assert found[name] == before[name], name
    assert [tap["epoch"] for tap in found["taps"]] == [tap["epoch"] for tap in before["taps"]]
    assert [json.loads(one.core)["kind"] for one in line.ledger.records] == ["canary"]


def test_a_clock_that_is_set_back_makes_no_canary_and_no_queue_look_fresh(tmp_path: Path) -> None:
    """Until 2026-11-30 what was stamped ahead was 0 s old for as long as the clock had been set back."""
    at_ns = 10 * 86_400 * S
    path, store_path = tmp_path / "ledger.db", tmp_path / "deliver.db"
    with Ledger(path, now_ns=lambda: at_ns) as ledger:
        ledger.append([made()[1][0]])
    with LedgerReader(path) as reader, CursorStore(store_path, ledger_id=reader.ledger_id) as store:
        store.register(["away"])
        store.fail("away", "nobody there", now_ns=at_ns - 86_399 * S)
    back = delivery_status(path, store_path, now_ns=at_ns - 86_400 * S)
    assert back["sinks"]["away"]["canary_s"] == back["sinks"]["away"]["oldest_queued_s"] == 86_400.0
    names = [one.name for one in sink_findings(back)]
    assert names == ["DosimeterDeliveryLagging", "DosimeterCanaryMissing"]


def test_a_sink_says_how_long_ago_the_last_one_arrived_there(tmp_path: Path) -> None:
    """Of four: one that came, one that it refused, an alert, and one that waits."""
    at = SimpleNamespace(ns=0)
    path, store_path = tmp_path / "ledger.db", tmp_path / "deliver.db"
    with Ledger(path, now_ns=lambda: at.ns) as ledger:
        for at.ns, record in (
            (10 * S, made()[1][0]),
            (20 * S, planted(1)),
            (30 * S, make_record(5)),
            (40 * S, planted(2)),
        ):
            ledger.append([record])

    def ages(now_s: int) -> dict[str, float | None]:
        found = delivery_status(path, store_path, now_ns=now_s * S)["sinks"]
        return {name: one["canary_s"] for name, one in found.items()}

    with LedgerReader(path) as reader, CursorStore(store_path, ledger_id=reader.ledger_id) as store:
        store.register(["came", "waits"])
        second = reader.alerts_since(1, limit=1)
        said = [(second[0], "too large")]
        assert ages(100) == {"came": 90.0, "waits": 90.0}
        store.settle("came", cursor=1, delivered=1, dead=[], now_ns=0)
        store.settle("came", cursor=2, delivered=0, dead=said, now_ns=0)
        assert ages(100)["came"] == 90.0
        store.settle("came", cursor=4, delivered=2, dead=[], now_ns=0)
        assert ages(100) == {"came": 60.0, "waits": 90.0}


def planted(number: int) -> LedgerRecord:
    return Canary("led", monotonic_ns=lambda: 0, time_ns=lambda: WALL + number).look(FIRST_NS)[0]


def test_no_list_of_alerts_has_it(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.append([planted(1), make_record(5)])
    with LedgerReader(tmp_path / "ledger.db") as reader:
        assert [one.record["kind"] for one in reader.search()] == ["alert"]
