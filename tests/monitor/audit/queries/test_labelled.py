"""Entries with labels are learnt while other questions are answered, and of one moment."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.audit.queries.labelled import Labelled
from dosimeter.monitor.audit.queries.query import Queries
from dosimeter.monitor.audit.store.sealing import SQL
from tests.monitor.audit.store_scene import Made, Store, made, store_in


def labelled(store: Store) -> list[Made]:
    alerts = [made(n, rule="ab"[n % 2]) for n in range(4)]
    store.put(alerts)
    store.seal_to(4, max_rows=2)
    said: list[dict[str, Any]] = [{"about": one.id, "verdict": "true"} for one in alerts[1:]]
    store.put([made(10 + n, "label", actor="reviewer:1", **one) for n, one in enumerate(said)])
    return alerts


def test_others_are_answered_while_files_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[Any] = []
    real = Labelled.find_sealed
    with store_in(tmp_path) as store, Queries(store.folder) as queries:
        labelled(store)

        def find_sealed(self: Labelled, ids: Sequence[bytes], paths: Sequence[str]) -> list[bytes]:
            other = threading.Thread(
                target=lambda: answered.append(queries.run("labels_by_rule", from_ns=0).rows)
            )
            other.start()
            other.join(20)
            return real(self, ids, paths)

        monkeypatch.setattr(Labelled, "find_sealed", find_sealed)
        queries.learn()
        expected = [("a", "true", 1, 0), ("b", "true", 2, 0)]
        assert answered
        assert all(rows == expected for rows in answered)
        assert queries._halves.beside.unknown() == []
        assert queries.run("labels_by_rule").rows == expected


def test_what_goes_while_it_is_learnt_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Labelled.find_sealed
    with store_in(tmp_path) as store, Queries(store.folder) as queries:
        labelled(store)
        gone = store.hot.segments()[0]

        def find_sealed(self: Labelled, ids: Sequence[bytes], paths: Sequence[str]) -> list[bytes]:
            found = real(self, ids, paths)
            with store.hot.writing() as db:
                db.execute(SQL["core_gone"], (gone.first,))
            return found

        monkeypatch.setattr(Labelled, "find_sealed", find_sealed)
        queries.learn()
        monkeypatch.undo()
        for _ in range(2):
            assert queries.run("labels_by_rule").rows == [("a", "true", 1, 0), ("b", "true", 1, 0)]
