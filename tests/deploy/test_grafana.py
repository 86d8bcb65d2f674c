"""The dashboards, as text: every panel asks for what we send, and for no more than a panel holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT
from .prometheus_names import unknown

DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))


def expressions(path: Path) -> list[tuple[str, str]]:
    """(panel, expression), with Grafana's variables as they are by default."""
    found = []
    for panel in json.loads(path.read_text())["panels"]:
        for target in panel["targets"]:
            expr = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "5m")
            assert "$" not in expr, f"{panel['title']}: a variable nobody sets"
            found.append((panel["title"], expr))
    return found


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_ask_only_for_what_we_send(path: Path) -> None:
    assert {title: wrong for title, expr in expressions(path) if (wrong := unknown(expr))} == {}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_do_not_overlap_and_have_names_of_their_own(path: Path) -> None:
    dashboard: dict[str, Any] = json.loads(path.read_text())
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        rows, columns = range(at["y"], at["y"] + at["h"]), range(at["x"], at["x"] + at["w"])
        taken = {(y, x) for y in rows for x in columns}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not taken & cells, panel["title"]
        cells |= taken
    for field in ("id", "title"):
        names = [panel[field] for panel in dashboard["panels"]]
        assert len(set(names)) == len(names)
