"""The drawing of a plan: what it says is in it, whatever a name contains."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from dosimeter.monitor.plan_plot import page


def test_each_row_has_its_interval_and_its_budget_on_one_axis() -> None:
    forecast = {"expected": 50.0, "low": 40, "high": 61}
    row = {"now": {"expected": 20.0, "low": 9, "high": 30}, "planned": forecast}
    body = {
        "reviews_a_day": 100,
        "requests_a_day": 5000,
        "together": row,
        "severities": {"critical": row | {"allowance": 60.0}, "<low>": row | {"allowance": 40.0}},
    }
    root = ElementTree.fromstring(page(body))
    space = "{http://www.w3.org/2000/svg}"
    said = ["".join(t.itertext()) for t in root.iter(f"{space}text")]
    assert "50 of 100, 40 to 61" in said
    assert "<low>" in said
    budgets = [
        float(x.attrib["x1"])
        for x in root.iter(f"{space}line")
        if x.attrib.get("class") == "budget"
    ]
    assert len(budgets) == 3
    planned = [
        float(c.attrib["cx"])
        for c in root.iter(f"{space}circle")
        if c.attrib.get("class") == "planned"
    ]
    assert planned[0] - 130 == (budgets[0] - 130) / 2  # half of the budget on an axis from 0
