"""The line's metrics: read once in a while from its status, handed to OpenTelemetry.

It runs on its own thread and owns which status field becomes which metric; names and units are in
`telemetry`. Nothing here may slow the line or end it: what fails is logged, and lost.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from dosimeter.monitor.latency import Latency

log = logging.getLogger(__name__)

EVERY_S = 5.0
ARCHIVED = {"spooled": "rows", "dropped": "rows_dropped", "expired": "rows_expired"}
STATES = ("live", "blind", "no-pack", "idle", "silent", "absent")


class Metrics(Protocol):
    """What is needed of `telemetry.Telemetry`."""

    def record(
        self,
        name: str,
        value: float,
        attributes: dict[str, str] | None = None,
        *,
        traceparent: str = "",
    ) -> None: ...


class Observer:
    """Records one reading every EVERY_S seconds until `stop`.

    status     the line's status, as `/status` shows it
    durations  metric name -> where the durations of that metric collect
    scores     how scores are distributed: (feature, bin, tokens)
    traces     rule, severity, decision -> `traceparent` of the latest hit of these
    """

    def __init__(
        self,
        metrics: Metrics,
        status: Callable[[], dict[str, Any]],
        durations: dict[str, Latency],
        scores: Callable[[], Iterable[tuple[str, str, int]]] = lambda: (),
        traces: Mapping[tuple[str, str, str], str] = MappingProxyType({}),
    ) -> None:
        self._metrics, self._status, self._durations = metrics, status, durations
        self._scores, self._traces = scores, traces
        self._alerts: Counter[tuple[str, str, str]] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def start(self) -> Observer:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Record a last time, and end."""
        self._stop.set()
        self._thread.join(EVERY_S)

    def observe(self) -> None:
        """One reading."""
        found, record = self._status(), self._metrics.record
        coverage = found["coverage"]
        record("dosimeter.tokens", coverage["scored"], {"outcome": "scored", "reason": ""})
        for reason, tokens in coverage["unscored"].items():
            record("dosimeter.tokens", tokens, {"outcome": "unscored", "reason": reason})
        unaccounted = {"outcome": "unaccounted", "reason": ""}
        record("dosimeter.tokens", coverage["unaccounted"], unaccounted)
        if coverage["coverage"] is not None:
            record("dosimeter.coverage", coverage["coverage"])
        live = sum(tap["requests_live"] for tap in found["taps"])
        record("dosimeter.requests", coverage["requests"] + live, {"state": "opened"})
        record("dosimeter.requests", coverage["requests"], {"state": "closed"})
        states = {tap["state"] for tap in found["taps"]} or {"absent"}
        for state in STATES:
            record("dosimeter.tap.state", float(state in states), {"state": state})
        record("dosimeter.line.cpu", found["cost"]["cpu_s"])
        record("dosimeter.paused", float(found["paused"] is not None))
        drifted = {one["rule"] for one in found["rules"]["shifts"] if one["drifted"]}
        record("dosimeter.rules.drifted", len(drifted))
        record("dosimeter.canary.failed", float(found["canary"]["error"] is not None))
        servers = found["servers"]
        record("dosimeter.servers.missing", max(0, servers["expected"] - servers["live"]))
        for file in ("socket", "ledger"):
            record("dosimeter.files.lost", float(found[file]["lost"] is not None), {"file": file})
        record("dosimeter.clock.jumps", found["clock"]["jumps"])
        record("dosimeter.ledger.stalled", float(found["ledger"]["stalled"] is not None))
        for name, size in (("disk.free", "free_bytes"), ("ledger.size", "ledger_bytes")):
            if (value := found["disk"][size]) is not None:
                record(f"dosimeter.{name}", value)
        if (archive := found["archive"]) is not None:
            record("dosimeter.archive.stalled", float(archive["stalled"] is not None))
            for outcome, name in ARCHIVED.items():
                record("dosimeter.archive.tokens", archive[name], {"outcome": outcome})
        for alert in found["alerts"]:
            who = (alert["rule"], alert["severity"], alert["decision"])
            more = alert["count"] - self._alerts[who]
            self._alerts[who] = alert["count"]
            if more:
                names = ("rule", "severity", "decision")
                carried = dict(zip(names, who, strict=True))
                record("dosimeter.alerts", more, carried, traceparent=self._traces.get(who, ""))
        for feature, upper, tokens in self._scores():
            record("dosimeter.scores", tokens, {"feature": feature, "le": upper})
        for name, latency in self._durations.items():
            while latency.recent:
                record(name, latency.recent.popleft() / 1e9)

    def _run(self) -> None:
        while True:
            last = self._stop.wait(EVERY_S)
            try:
                self.observe()
            except Exception:
                log.exception("metrics of the line were not recorded")
            if last:
                return
