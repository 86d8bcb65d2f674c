"""Observer: every name and attribute it uses is one that telemetry knows, and counts are not doubled."""

from __future__ import annotations

from pathlib import Path

from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from dosimeter.monitor import status
from dosimeter.monitor.observe import Observer
from dosimeter.monitor.score_counts import ScoreCounts
from dosimeter.monitor.telemetry import Telemetry, TelemetryConfig
from tests.monitor.test_pipeline import Line, Server, folder  # noqa: F401

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_reading_of_the_line_becomes_metrics_and_a_second_one_doubles_nothing(
    folder: Path,  # noqa: F811
) -> None:
    line = Line(folder)
    line.pipeline.scores = scores = ScoreCounts()
    server = Server(folder)
    server.open(1, prompt=1, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    server.run(1, 0, [0, 5, 5, 5, 5])
    server.close(1, served=6, emitted=5, errors={"dropped": 1})
    line.read()
    reader = InMemoryMetricReader()
    telemetry = Telemetry(TelemetryConfig(), readers=[reader])
    durations = {"dosimeter.decision.duration": line.pipeline.decision}
    line.pipeline.flush()
    observer = Observer(
        telemetry,
        lambda: status.line_status(line.pipeline, started_ns=0),
        durations,
        scores.totals,
        line.pipeline.traces,
    )
    observer.observe()
    observer.observe()
    line.close()
    found: dict[tuple[str, ...], float] = {}
    traces: set[str] = set()
    data = reader.get_metrics_data()
    assert data is not None
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            traces |= {f"{one.trace_id:032x}" for one in point.exemplars if one.trace_id}
            values = sorted(str(value) for value in dict(point.attributes or {}).values() if value)
            value = getattr(point, "value", getattr(point, "count", None))
            found[(metric.name.removeprefix("dosimeter."), *values)] = value
    telemetry.close()
    assert found[("tokens", "scored")] == 5
    assert found[("tokens", "dropped", "unscored")] == 1
    by_bin = [value for (name, *_), value in found.items() if name == "scores"]
    assert (min(by_bin), max(by_bin)) == (0, 5)
    assert traces == {TRACE}
    assert found[("tokens", "unaccounted")] == 0
    assert found[("alerts", "high", "notified", "rising")] == 1
    assert found[("requests", "closed")] == 1
    assert found[("tap.state", "live")] == 1
    assert found[("tap.state", "blind")] == 0
    assert found[("decision.duration",)] == 1
