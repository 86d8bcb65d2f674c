"""The made-up history is one that the queries can be asked about."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.audit.queries.query import Queries
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.bench import audit_rows
from dosimeter.monitor.bench.audit_rows import write_history

ROWS = 9_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> HistoryFolder:
    folder = HistoryFolder(tmp_path_factory.mktemp("history")).make()
    with pytest.MonkeyPatch.context() as patch, HotStore(folder.hot) as hot:
        patch.setattr(audit_rows, "SEGMENT", 4000)
        write_history(folder, hot, ROWS)
    return folder


def test_all_rows_are_sealed_and_found(folder: HistoryFolder) -> None:
    with HotStore(folder.hot) as hot:
        assert [(s.first, s.past) for s in hot.segments()] == [
            (0, 4000),
            (4000, 8000),
            (8000, 9000),
        ]
        assert hot.size == ROWS
    with Queries(folder) as ask:
        assert len(ask.run("neighbours", first=0, past=ROWS).rows) == ROWS
        alerts = ask.run("count").rows[0][0]
        assert 0.97 * ROWS < int(alerts or 0) < 0.99 * ROWS
        assert len(ask.run("top_rules").rows) == audit_rows.RULES
        assert sum(int(row[1] or 0) for row in ask.run("count_by_verdict").rows) > 20


def test_an_entry_has_the_columns_and_the_id_of_a_real_one(folder: HistoryFolder) -> None:
    with Queries(folder) as ask:
        (alert,) = ask.run("alerts", limit=1).dicts()
        empty = {n for n, v in alert.items() if v is None}
        assert empty <= {
            "about",
            "actor",
            "verdict",
            "more",
            "judged",
            "judge",
            "judged_idx",
            "disagreed",
        }
        found = ask.run("alert_by_id", prefix=bytes(alert["id"]).hex())
        assert [row["idx"] for row in found.dicts()] == [alert["idx"]]


def test_a_little_of_it_is_well_below_the_goal_of_200_bytes_a_row(folder: HistoryFolder) -> None:
    size = sum(path.stat().st_size for path in folder.core.iterdir())
    assert 80 < size / ROWS < 200


def test_the_same_seed_makes_the_same_history(tmp_path: Path, folder: HistoryFolder) -> None:
    again = HistoryFolder(tmp_path).make()
    with pytest.MonkeyPatch.context() as patch, HotStore(again.hot) as hot:
        patch.setattr(audit_rows, "SEGMENT", 4000)
        write_history(again, hot, ROWS)
        with HotStore(folder.hot) as first:
            assert hot.segments() == first.segments()
