"""The names Prometheus gives to what we send over OTLP, worked out from its published rules, not from its code.

Dots become underscores; the unit follows (`s` as seconds, `By` as bytes, `1` as ratio on gauges; a unit in braces
is left out); a counter ends in `_total`. The parts tier compares with what a real Prometheus stored.
"""

from __future__ import annotations

import re

from dosimeter.monitor.metrics import METRICS, Kind, Metric

UNITS = {"s": "_seconds", "By": "_bytes"}
RESOURCE = {"job", "instance"}
_SERIES = re.compile(r"\b(dosimeter_[a-z_]+)(?:\{([^}]*)\})?")
_BY = re.compile(r"\bby \(([^)]*)\)")


def prometheus_name(metric: Metric) -> str:
    monotonic = metric.kind in (Kind.TOTAL, Kind.COUNT)
    unit = UNITS.get(metric.unit, "")
    if metric.unit == "1" and metric.kind is Kind.GAUGE:
        unit = "_ratio"
    return metric.name.replace(".", "_") + unit + ("_total" if monotonic else "")


NAMES = {prometheus_name(metric): metric for metric in METRICS.values()}


def unknown(expr: str) -> set[str]:
    """Metrics and labels of an expression that we do not send."""
    wrong, allowed = set(), set(RESOURCE)
    for name, matchers in _SERIES.findall(expr):
        if name not in NAMES:
            wrong.add(name)
            continue
        labels = {*NAMES[name].attributes, *RESOURCE}
        allowed |= labels
        wrong |= {f"{name}{{{k}}}" for k in re.findall(r"(\w+)\s*(?:=|!)", matchers)} - {
            f"{name}{{{k}}}" for k in labels
        }
    for group in _BY.findall(expr):
        wrong |= {label.strip() for label in group.split(",")} - allowed
    return wrong
