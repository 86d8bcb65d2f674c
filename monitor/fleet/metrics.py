"""A member's status as metrics. It owns which field becomes which; names and units are in `telemetry`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dosimeter.monitor.observe import Metrics

COUNTED = {
    "counted": "hits",
    "of_no_rule": "of_no_rule",
    "late": "late",
    "unattributed": "unattributed",
    "refused": "refused",
}


def record_member(metrics: Metrics, status: Mapping[str, Any], fleet: str) -> None:
    """fleet: its name, the same for all members."""
    routing, counting = status["routing"], status["counting"]
    for stage, found in (("routing", routing), ("counting", counting)):
        share = {"fleet": fleet, "stage": stage}
        mine = len(found["partitions"]) + len(found.get("reading_again", ()))
        metrics.record("dosimeter.fleet.partitions", mine, share)
        if (there := found["topic_partitions"]) is not None:
            metrics.record("dosimeter.fleet.topic.partitions", there, share)
        metrics.record("dosimeter.fleet.lag", found["lag"], {"stage": stage})
        metrics.record(
            "dosimeter.fleet.stalled", float(found["error"] is not None), {"stage": stage}
        )
        metrics.record("dosimeter.fleet.missing", found["records_missing"], {"stage": stage})
    metrics.record("dosimeter.fleet.positions.missing", routing["positions_missing"])
    for outcome in ("sent", "refused"):
        metrics.record("dosimeter.fleet.routed", routing[outcome], {"outcome": outcome})
    for outcome, name in COUNTED.items():
        metrics.record("dosimeter.fleet.hits", counting[name], {"outcome": outcome})
    metrics.record("dosimeter.fleet.groups", counting["groups"])
