"""What is done before anybody asks: once, and without harm where it cannot be done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from dosimeter.monitor.answers.warming import WHOLE, Warming
from dosimeter.monitor.audit.queries.query import Queries
from dosimeter.monitor.pages import render
from tests.monitor.audit.whole_scene import whole


def test_what_the_pages_count_over_all_of_history_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render._environment.cache_clear()
    asked: list[str] = []
    run, learn = Queries.run, Queries.learn

    def noted(self: Queries, name: str, **given: Any) -> Any:
        asked.append(name)
        return run(self, name, **given)

    def learnt(self: Queries) -> None:
        asked.append("learn")
        learn(self)

    monkeypatch.setattr(Queries, "run", noted)
    monkeypatch.setattr(Queries, "learn", learnt)
    with Queries(whole(tmp_path / "data").folder) as queries:
        warming = Warming(queries)
        warming._thread.join()
        warming.stop()
    assert asked == [*WHOLE, "learn"]
    templates = render._environment()
    assert templates.cache is not None
    assert len(templates.cache) == len(templates.list_templates(["html"]))


def test_what_cannot_be_read_now_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise duckdb.IOException("no such file")

    monkeypatch.setattr(Queries, "run", refuse)
    caplog.set_level("INFO")
    with Queries(whole(tmp_path / "data").folder) as queries:
        Warming(queries)._thread.join()
    assert "not counted before somebody asks: no such file" in caplog.text
