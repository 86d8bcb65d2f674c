"""`dosimeter bench reload`: what it counts is 0 where it must be, on a handful of changes."""

from __future__ import annotations

import json

import pytest

from dosimeter.monitor.bench import reload


def test_changes_under_load_lose_and_mix_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "QUIET_S", 0.3)
    body = json.loads(reload.run(reloads=10, many_reloads=1).as_json())
    found = {figure["name"]: figure for figure in body["figures"]}
    assert found["reloads"]["value"] == 10
    assert found["broken file sets"]["value"] == 2
    assert found["alerts"]["value"] > 0
    judged = {name for name, one in found.items() if one["goal"] == "== 0"}
    assert len(judged) == 9
    assert {name for name in judged if found[name]["value"] != 0} == set()
