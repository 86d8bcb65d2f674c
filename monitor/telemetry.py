"""Metrics of the table in `metrics`, exported by OpenTelemetry's SDK.

Telemetry may be lost, counted; nothing here is evidence. Callers hand over plain numbers and
never see OpenTelemetry. No metric carries a tenant, a user or a conversation, and none is
recorded per token.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import Histogram, MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dosimeter.monitor.metrics import METRICS, Kind, Metric
from dosimeter.monitor.sinks.config import OtlpConfig
from dosimeter.monitor.sinks.resource import service
from dosimeter.monitor.telemetry_export import OtlpExporter


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    to: OtlpConfig | None = None  # None: nothing is exported
    interval_s: float = 10.0
    last_s: float = 0.5  # how long the last export may delay the end


class Telemetry:
    """`record(name, value, attributes)`, from any thread; never blocks on the network."""

    def __init__(
        self, config: TelemetryConfig, *, readers: Sequence[MetricReader] | None = None
    ) -> None:
        """readers replaces the OTLP exporter; nothing is contacted here in either case."""
        self._config = config
        chosen = list(readers) if readers is not None else _otlp_reader(config)
        self._provider = MeterProvider(
            metric_readers=chosen,
            resource=Resource(service({} if config.to is None else config.to.resource)),
            views=[
                View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation())
            ],
            exemplar_filter=TraceBasedExemplarFilter(),  # else the environment's, which may be none
            shutdown_on_exit=False,
        )
        meter = self._provider.get_meter("dosimeter", version("dosimeter"))
        self._totals = {m.name: _Totals() for m in METRICS.values() if m.kind is Kind.TOTAL}
        self._record = {
            metric.name: _instrument(meter, metric, self._totals.get(metric.name))
            for metric in METRICS.values()
        }

    def record(
        self,
        name: str,
        value: float,
        attributes: Mapping[str, str] | None = None,
        *,
        traceparent: str = "",
    ) -> None:
        """What `value` means is the metric's kind. Raises ValueError on a name or attribute not
        in METRICS.

        traceparent: of the request it is about, as its client sent it. A count or a duration keeps it
        as an exemplar, if the trace is sampled: another is stored nowhere.
        """
        carried = dict(attributes or {})
        if name not in METRICS:
            raise ValueError(f"no metric `{name}`; there are: {', '.join(sorted(METRICS))}")
        if not set(carried) <= set(METRICS[name].attributes):
            allowed = ", ".join(METRICS[name].attributes) or "none"
            raise ValueError(f"metric `{name}` may not carry {sorted(carried)}; allowed: {allowed}")
        self._record[name](value, carried, _context(traceparent) if traceparent else None)

    def flush(self) -> bool:
        """Export now."""
        return self._provider.force_flush()

    def close(self) -> None:
        """Export what is left, for at most `last_s`: an export that takes longer is left where it is, which may only
        be done where the process ends."""
        self._provider.shutdown(self._config.last_s * 1000)


def _otlp_reader(config: TelemetryConfig) -> list[MetricReader]:
    if config.to is None:
        return []
    millis = config.interval_s * 1000
    return [PeriodicExportingMetricReader(OtlpExporter(config.to), millis)]


def _context(traceparent: str) -> Context:
    """Without a span if the header is none: a client may send anything under this name."""
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())


class _Totals:
    """Last total per set of attributes, read by the SDK when it collects."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[tuple[tuple[str, str], ...], float] = {}

    def set(self, value: float, attributes: dict[str, str], _: Context | None) -> None:
        with self._lock:
            self._latest[tuple(sorted(attributes.items()))] = value

    def observe(self, _: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            return [Observation(value, dict(key)) for key, value in self._latest.items()]


def _instrument(
    meter: Meter, metric: Metric, totals: _Totals | None
) -> Callable[[float, dict[str, str], Context | None], None]:
    name, unit, text = metric.name, metric.unit, metric.description
    if totals is not None:
        meter.create_observable_counter(name, [totals.observe], unit=unit, description=text)
        return totals.set
    if metric.kind is Kind.COUNT:
        return meter.create_counter(name, unit=unit, description=text).add
    if metric.kind is Kind.GAUGE:
        return meter.create_gauge(name, unit=unit, description=text).set
    return meter.create_histogram(name, unit=unit, description=text).record
