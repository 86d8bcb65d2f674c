"""A real OpenTelemetry Collector: what it took from `dosimeter deliver`, as it stands in the file it wrote."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.lab.broker import free_port
from dosimeter.monitor.score_counts import ScoreCounts
from dosimeter.monitor.sinks import semconv
from dosimeter.monitor.sinks.config import OtlpConfig
from dosimeter.monitor.sinks.otlp import OtlpSink
from dosimeter.monitor.sinks.sink import Result
from dosimeter.monitor.telemetry import Telemetry, TelemetryConfig
from tests.monitor.sinks.deliver_scene import Delivering, wait_until

pytestmark = pytest.mark.parts
GOLDEN = Path(__file__).parents[2] / "golden" / "otlp" / "collector.json"
"""Refreshed by `DOSIMETER_GOLDEN=write pytest` on this file; review the diff."""
PROGRAM = Path(__file__).parents[3] / ".collector" / "otel-collector"
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


class Collector:
    """On 127.0.0.1, with a folder for what it was sent."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.endpoint = f"http://127.0.0.1:{self._port}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Until the end of the block, and then ended with SIGTERM, which it answers by writing what it has."""
        # A file anew each time: it writes at the beginning of what it opens.
        names = ("logs", "metrics")
        files = {f"file/{name}": {"path": str(self._folder / f"{name}.json")} for name in names}
        pipelines = {
            name: {"receivers": ["otlp"], "processors": ["batch"], "exporters": [f"file/{name}"]}
            for name in names
        }
        said = {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{self._port}"}}}},
            "processors": {"batch": {"timeout": "100ms"}},
            "exporters": {name: one | {"flush_interval": "100ms"} for name, one in files.items()},
            "service": {"telemetry": {"metrics": {"level": "none"}}, "pipelines": pipelines},
        }
        config = self._folder / "collector.yaml"
        config.write_text(json.dumps(said))  # YAML has JSON in it
        with (self._folder / "collector.log").open("ab") as log:
            process = subprocess.Popen(
                [str(PROGRAM), "--config", str(config)], stdout=log, stderr=subprocess.STDOUT
            )
        try:
            yield
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()

    def written(self, name: str) -> list[dict[str, Any]]:
        """The requests as the Collector's own JSON has them."""
        path = self._folder / f"{name}.json"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _read(self, name: str, whole: str, scoped: str, each: str) -> list[dict[str, Any]]:
        return [
            one
            for request in self.written(name)
            for resource in request[whole]
            for scope in resource[scoped]
            for one in scope[each]
        ]

    def logs(self) -> list[dict[str, Any]]:
        return self._read("logs", "resourceLogs", "scopeLogs", "logRecords")

    def metrics(self) -> list[dict[str, Any]]:
        return self._read("metrics", "resourceMetrics", "scopeMetrics", "metrics")


def attributes(of: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in of.get("attributes", ())}


def test_a_collector_that_comes_late_takes_every_alert_in_the_trace_of_its_request(
    tmp_path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    collector = Collector(tmp_path)
    traced = {"tenant": "acme", "traceparent": f"00-{TRACE}-{SPAN}-01"}
    with Delivering(tmp_path, {"otlp": {"endpoint": collector.endpoint}}) as run:
        run.accept([record_of(n, labels=traced, deliverable=n % 10 != 0) for n in range(1, 701)])
        wait_until(lambda: run.sink("otlp").get("retries", 0) > 0, lambda: run.sink("otlp"))
        with collector.running():
            found = run.drained("otlp")
            run.end()  # its last metrics go out
    assert (found["accepted"], found["delivered"], len(run.accepted)) == (630, 630, 630)
    logs = collector.logs()
    events = {attributes(log)[semconv.EVENT_ID]: log for log in logs}
    assert events.keys() == run.accepted.keys()
    assert len(logs) == 630  # and none twice: what was refused had not arrived
    one = events[f"{9:032x}"]
    assert (one["traceId"], one["spanId"], one["flags"]) == (TRACE, SPAN, 1)
    assert (one["eventName"], one["severityText"]) == ("gen_ai.evaluation.result", "high")
    assert (one["timeUnixNano"], one["body"]) == ("1000000009", {"stringValue": "alert 9"})
    told = attributes(one)
    assert told["gen_ai.evaluation.name"] == "deception"
    assert told["gen_ai.evaluation.score.value"] == 3.0  # 3072 codes over 4 tokens, 256 to a sd
    assert told["dosimeter.tenant"] == "acme"
    points = {
        metric["name"]: point
        for metric in collector.metrics()
        for kind in ("sum", "gauge")
        for point in metric.get(kind, {}).get("dataPoints", ())
        if attributes(point).get("sink") == "otlp"
    }
    assert points["dosimeter.delivery.accepted"]["asInt"] == "630"
    assert points["dosimeter.delivery.queued"]["asInt"] == "0"


def test_the_collector_understands_it_as_the_golden_file_says_and_a_wrong_path_waits_for_a_person(
    tmp_path: Path,
    stored_of: Callable[..., StoredAlert],
    digest_of: Callable[..., StoredAlert],
) -> None:
    collector = Collector(tmp_path)
    traceparent = f"00-{TRACE}-{SPAN}-01"
    with collector.running():
        good = OtlpSink(OtlpConfig(collector.endpoint))
        both = [stored_of(1, labels={"traceparent": traceparent, "tenant": "acme"}), digest_of(2)]
        wait_until(lambda: good.send(both)[0].result is Result.DELIVERED)
        (outcome,) = OtlpSink(OtlpConfig(f"{collector.endpoint}/wrong")).send([stored_of(3)])
        assert outcome.result is Result.RETRY
        assert f"`{collector.endpoint}/…/v1/logs` answered 404" in outcome.reason
        to = OtlpConfig(collector.endpoint)
        record_some(TelemetryConfig(to, interval_s=3600, last_s=30.0), traceparent)
    read = {name: collector.written(name) for name in ("logs", "metrics")}
    found = json.dumps(steady(read), indent=1, sort_keys=True) + "\n"
    if os.environ.get("DOSIMETER_GOLDEN") == "write":
        GOLDEN.write_text(found)
    assert json.loads(found) == json.loads(GOLDEN.read_text())


def record_some(config: TelemetryConfig, traceparent: str) -> None:
    """One of each kind of metric, the counts with an exemplar."""
    telemetry = Telemetry(config)
    alert = {"rule": "scam-in-answer", "severity": "high", "decision": "notified"}
    telemetry.record("dosimeter.alerts", 2, alert, traceparent=traceparent)
    telemetry.record("dosimeter.coverage", 0.75)
    telemetry.record("dosimeter.durable.duration", 0.25)
    scores = ScoreCounts()
    scores.add(("scam",), np.array([[-3 * 256], [256], [20 * 256]], np.int16))
    scores.settle()
    for feature, upper, tokens in scores.totals():
        telemetry.record("dosimeter.scores", tokens, {"feature": feature, "le": upper})
    telemetry.close()


def steady(read: Any) -> Any:
    """Without what differs from run to run (when and where a metric was taken, by which release), and without prose."""
    if isinstance(read, list):
        return [steady(one) for one in read]
    if not isinstance(read, dict):
        return read
    if read.get("key") in ("service.instance.id", "service.version"):
        return read | {"value": "…"}
    if read.get("name") == "dosimeter" and "version" in read:
        return read | {"version": "…"}
    taken = {"timeUnixNano", "startTimeUnixNano"} if "eventName" not in read else set()
    kept = {name: value for name, value in read.items() if name != "description"}
    return {name: "…" if name in taken else steady(value) for name, value in kept.items()}
