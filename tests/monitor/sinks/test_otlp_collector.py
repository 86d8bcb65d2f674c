"""A real OpenTelemetry Collector: what it took from `dosimeter deliver`, as it stands in the file it wrote."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.lab.broker import free_port
from dosimeter.monitor.sinks import semconv
from dosimeter.monitor.sinks.config import OtlpConfig
from dosimeter.monitor.sinks.otlp import OtlpSink
from dosimeter.monitor.sinks.sink import Result
from tests.monitor.sinks.deliver_scene import Delivering, wait_until

pytestmark = pytest.mark.parts
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

    def _read(self, name: str, whole: str, scoped: str, each: str) -> list[dict[str, Any]]:
        path = self._folder / f"{name}.json"
        requests = map(json.loads, path.read_text().splitlines() if path.exists() else ())
        return [
            one
            for request in requests
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


def test_an_endpoint_with_a_path_that_the_collector_does_not_know_waits_for_a_person(
    tmp_path: Path, stored_of: Callable[..., StoredAlert]
) -> None:
    collector = Collector(tmp_path)
    with collector.running():
        good = OtlpSink(OtlpConfig(collector.endpoint))
        wait_until(lambda: good.send([stored_of(1)])[0].result is Result.DELIVERED)
        (outcome,) = OtlpSink(OtlpConfig(f"{collector.endpoint}/wrong")).send([stored_of(2)])
        assert outcome.result is Result.RETRY
        assert f"`{collector.endpoint}/wrong/v1/logs` answered 404" in outcome.reason
    assert [attributes(log)[semconv.EVENT_ID] for log in collector.logs()] == [f"{1:032x}"]
