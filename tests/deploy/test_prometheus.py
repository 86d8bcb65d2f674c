"""The alerts about the monitor: of metrics we send, each with its tests and its runbook."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from .conftest import ROOT
from .prometheus_names import unknown

FOLDER = ROOT / "deploy" / "prometheus"
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "dosimeter.rules.yaml").read_text())["groups"]
    for rule in group["rules"]
}
TESTS = sorted((FOLDER / "tests").glob("*.yaml"))


def test_each_alert_is_tested_where_it_fires_and_where_it_must_not() -> None:
    fired: set[str] = set()
    quiet: set[str] = set()
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                (fired if case["exp_alerts"] else quiet).add(case["alertname"])
    assert fired == quiet == set(RULES)


@pytest.mark.parametrize("alert", RULES)
def test_it_asks_only_for_what_we_send(alert: str) -> None:
    assert unknown(RULES[alert]["expr"]) == set()


def test_a_metric_or_label_we_do_not_send_would_be_noticed() -> None:
    assert unknown("rate(dosimeter_tokens[5m])") == {"dosimeter_tokens"}
    assert unknown('dosimeter_coverage_ratio{tenant="a"}') == {"dosimeter_coverage_ratio{tenant}"}
    assert unknown("sum by (job, rule) (dosimeter_coverage_ratio)") == {"rule"}


def test_every_alert_has_its_runbook_and_no_runbook_is_left_over() -> None:
    text = (ROOT / "docs" / "runbooks.md").read_text()
    assert re.findall(r"^## (\w+)$", text, flags=re.M) == list(RULES)
    for alert, rule in RULES.items():
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{alert.lower()}"
