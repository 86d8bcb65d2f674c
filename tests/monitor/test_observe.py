"""Observer: every name and attribute it uses is one that telemetry knows, and counts are not doubled."""

from __future__ import annotations

from pathlib import Path

from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from dosimeter.monitor import status
from dosimeter.monitor.observe import Observer
from dosimeter.monitor.telemetry import Telemetry, TelemetryConfig
from tests.monitor.test_pipeline import Line, Server, folder  # noqa: F401


def test_a_reading_of_the_line_becomes_metrics_and_a_second_one_doubles_nothing(
    folder: Path,  # noqa: F811
) -> None:
    line = Line(folder)
    server = Server(folder)
    server.open(1, prompt=1)
    server.run(1, 0, [0, 5, 5, 5, 5])
    server.close(1, served=6, emitted=5, errors={"dropped": 1})
    line.read()
    reader = InMemoryMetricReader()
    telemetry = Telemetry(TelemetryConfig(), readers=[reader])
    durations = {"dosimeter.decision.duration": line.pipeline.decision}
    observer = Observer(
        telemetry, lambda: status.line_status(line.pipeline, started_ns=0), durations
    )
    observer.observe()
    observer.observe()
    line.close()
    found: dict[tuple[str, ...], float] = {}
    data = reader.get_metrics_data()
    assert data is not None
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            values = sorted(str(value) for value in dict(point.attributes or {}).values() if value)
            value = getattr(point, "value", getattr(point, "count", None))
            found[(metric.name.removeprefix("dosimeter."), *values)] = value
    telemetry.close()
    assert found[("tokens", "scored")] == 5
    assert found[("tokens", "dropped", "unscored")] == 1
    assert found[("tokens", "unaccounted")] == 0
    assert found[("alerts", "high", "notified", "rising")] == 1
    assert found[("requests", "closed")] == 1
    assert found[("tap.state", "live")] == 1
    assert found[("tap.state", "blind")] == 0
    assert found[("decision.duration",)] == 1
