"""Metrics: the table is the only way in, and nothing personal has a place in it."""

from __future__ import annotations

import logging
import socket
import threading
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics.export import ExponentialHistogram, InMemoryMetricReader, Metric

from dosimeter.monitor.lab.viewer import Viewer
from dosimeter.monitor.metrics import METRICS, Kind
from dosimeter.monitor.sinks.config import OtlpConfig
from dosimeter.monitor.sinks.otlp import logs_request
from dosimeter.monitor.telemetry import Telemetry, TelemetryConfig
from tests.monitor.sinks.authority import Authority
from tests.monitor.sinks.receiver import Answer, Receiver

PATIENCE_S = 30.0


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def telemetry(reader: InMemoryMetricReader) -> Telemetry:
    return Telemetry(TelemetryConfig(), readers=[reader])


def collected(reader: InMemoryMetricReader) -> dict[str, Metric]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
    return {metric.name: metric for metric in found}


def values(metric: Metric) -> dict[tuple[tuple[str, str], ...], float]:
    return {tuple(sorted(p.attributes.items())): p.value for p in metric.data.data_points}


def test_a_total_is_taken_as_stated_and_a_count_adds_up(
    telemetry: Telemetry, reader: InMemoryMetricReader
) -> None:
    for total in (10, 25):
        telemetry.record("dosimeter.tokens", total, {"outcome": "scored"})
    telemetry.record("dosimeter.tokens", 3, {"outcome": "unscored", "reason": "prefix_cache"})
    alert = {"rule": "r", "severity": "high", "decision": "notified"}
    for _ in range(2):
        telemetry.record("dosimeter.alerts", 1, alert)
    found = collected(reader)
    assert values(found["dosimeter.tokens"]) == {
        (("outcome", "scored"),): 25,
        (("outcome", "unscored"), ("reason", "prefix_cache")): 3,
    }
    assert list(values(found["dosimeter.alerts"]).values()) == [2]
    assert found["dosimeter.tokens"].unit == "{token}"


def test_a_gauge_keeps_its_last_value_and_durations_are_exponential_histograms(
    telemetry: Telemetry, reader: InMemoryMetricReader
) -> None:
    for value in (0.5, 0.99):
        telemetry.record("dosimeter.coverage", value)
    for seconds in (0.001, 0.002, 0.004):
        telemetry.record("dosimeter.decision.duration", seconds)
    found = collected(reader)
    assert values(found["dosimeter.coverage"]) == {(): 0.99}
    histogram = found["dosimeter.decision.duration"].data
    assert isinstance(histogram, ExponentialHistogram)
    assert histogram.data_points[0].count == 3
    assert histogram.data_points[0].sum == pytest.approx(0.007)


def test_the_trace_of_a_request_is_kept_as_an_exemplar_if_it_is_sampled(
    telemetry: Telemetry, reader: InMemoryMetricReader
) -> None:
    """From a graph of alerts to a request in one step; no label, so no series of its own."""
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"sampled": f"00-{trace}-{span}-01", "not": f"00-{trace}-{span}-00", "none": "x\r\n"}
    for rule, header in headers.items():
        carried = {"rule": rule, "severity": "high", "decision": "notified"}
        telemetry.record("dosimeter.alerts", 2, carried, traceparent=header)
    telemetry.record("dosimeter.tokens", 7, {"outcome": "scored"}, traceparent=headers["sampled"])
    found = collected(reader)
    points = {p.attributes["rule"]: p for p in found["dosimeter.alerts"].data.data_points}
    (kept,) = points["sampled"].exemplars
    assert (f"{kept.trace_id:032x}", f"{kept.span_id:016x}", kept.value) == (trace, span, 2)
    assert [len(points[rule].exemplars) for rule in ("not", "none")] == [0, 0]
    assert found["dosimeter.tokens"].data.data_points[0].exemplars == []


@pytest.mark.parametrize("chosen", ["always_on", "bogus"])
def test_what_is_kept_as_an_exemplar_is_not_for_the_environment_to_say(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    """A filter that the library does not know ended the line at each start, with a traceback."""
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", chosen)
    alert = {"rule": "r", "severity": "high", "decision": "notified"}
    Telemetry(TelemetryConfig(), readers=[reader]).record("dosimeter.alerts", 1, alert)
    assert collected(reader)["dosimeter.alerts"].data.data_points[0].exemplars == []


def test_an_unknown_name_or_attribute_is_an_error_that_names_what_there_is(
    telemetry: Telemetry,
) -> None:
    with pytest.raises(ValueError, match=r"no metric `dosimeter.token`; there are: .*tokens"):
        telemetry.record("dosimeter.token", 1)
    with pytest.raises(ValueError, match=r"may not carry \['tenant'\]; allowed: rule, severity"):
        telemetry.record("dosimeter.alerts", 1, {"tenant": "acme"})


def test_no_metric_may_name_a_person_or_a_conversation() -> None:
    carried = {name for metric in METRICS.values() for name in metric.attributes}
    assert carried.isdisjoint({"tenant", "user", "conversation", "request_id", "key"})


def test_every_metric_states_its_unit_and_says_what_it_is() -> None:
    for name, metric in METRICS.items():
        assert name.startswith("dosimeter.")
        assert metric.unit
        assert metric.description
        assert metric.kind is not Kind.DURATION or metric.unit == "s"


def test_what_is_recorded_arrives_over_otlp() -> None:
    with Viewer() as viewer:
        to = OtlpConfig(endpoint=viewer.endpoint)
        telemetry = Telemetry(TelemetryConfig(to, interval_s=3600, last_s=PATIENCE_S))
        telemetry.record("dosimeter.delivery.queued", 4, {"sink": "kafka"})
        telemetry.record("dosimeter.durable.duration", 0.25)
        telemetry.close()
        found = viewer.metrics()
    assert found["dosimeter.delivery.queued"] == {(("sink", "kafka"),): 4}
    assert found["dosimeter.durable.duration"] == {(): (1, 0.25)}


def test_without_an_endpoint_nothing_is_contacted_and_everything_can_be_recorded() -> None:
    telemetry = Telemetry(TelemetryConfig())
    telemetry.record("dosimeter.coverage", 1.0)
    assert telemetry.flush()
    telemetry.close()


def test_metrics_go_to_a_collector_over_tls_with_the_token_of_a_file_and_past_any_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, token = Authority(tmp_path), tmp_path / "headers"
    with Receiver(authority.server("good", -1, 1)) as collector, Receiver() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        to = OtlpConfig(endpoint=collector.url, headers_file=token, ca=authority.path)
        telemetry = Telemetry(TelemetryConfig(to, interval_s=3600, last_s=PATIENCE_S))
        for said in ("old", "new"):
            token.write_text(f"authorization: Bearer {said}\n")
            telemetry.record("dosimeter.coverage", 0.5)
            assert telemetry.flush()
        telemetry.close()
        sent = [came.headers["authorization"] for came in collector.came]
        assert (sent, proxy.came) == (["Bearer old", "Bearer new", "Bearer new"], [])


def test_a_collector_that_never_answers_does_not_delay_the_end() -> None:
    """Until 2026-11-30 the end waited for an export under way, then for the last one: 8 to 10 s of a SIGTERM."""
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        to = OtlpConfig(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=3600.0)
        telemetry = Telemetry(TelemetryConfig(to, interval_s=0.001, last_s=0.01))
        telemetry.record("dosimeter.coverage", 1.0)
        with silent.accept()[0]:  # an export is under way
            telemetry.close()
    for left in set(threading.enumerate()) - before:
        left.join(PATIENCE_S)  # what it logs now is of this test


def test_that_a_collector_refuses_is_said_once_and_that_it_takes_them_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with Receiver() as collector:
        collector.answers = [Answer(503), Answer(503), Answer(200)]
        to = OtlpConfig(endpoint=collector.url)
        telemetry = Telemetry(TelemetryConfig(to, interval_s=3600, last_s=PATIENCE_S))
        telemetry.record("dosimeter.coverage", 1.0)
        for _ in range(3):
            telemetry.flush()
        telemetry.close()
    assert [one.getMessage() for one in caplog.records] == [
        f"metrics are not exported, will go on trying: `{collector.url}` answered 503",
        "metrics are exported again",
    ]


def test_that_a_part_of_the_metrics_is_rejected_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The answer is a 200: dashboards stayed empty, and no log said why."""
    part = ExportMetricsPartialSuccess(rejected_data_points=3, error_message="too old")
    body = ExportMetricsServiceResponse(partial_success=part).SerializeToString()
    with Receiver() as collector:
        collector.answers = [Answer(200, body=body)]
        to = OtlpConfig(endpoint=collector.url)
        telemetry = Telemetry(TelemetryConfig(to, interval_s=3600, last_s=PATIENCE_S))
        telemetry.record("dosimeter.coverage", 1.0)
        telemetry.flush()
        telemetry.close()
    said = f"`{collector.url}` rejected 3 data points of them: 'too old'"
    assert caplog.records[0].getMessage() == (
        f"metrics are not exported, will go on trying: {said}"
    )


def test_metrics_and_log_events_say_alike_who_speaks(
    telemetry: Telemetry, reader: InMemoryMetricReader
) -> None:
    """Log events had no instance until 2026-11-30, so that nothing said which pod one came from."""
    telemetry.record("dosimeter.coverage", 1.0)
    data = reader.get_metrics_data()
    assert data is not None
    metrics = dict(data.resource_metrics[0].resource.attributes)
    [logs] = logs_request([], {}).resource_logs
    assert metrics == {kv.key: kv.value.string_value for kv in logs.resource.attributes}
    assert metrics["service.instance.id"] == socket.gethostname()
