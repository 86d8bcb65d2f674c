"""Metrics: every name, unit and description in one table, exported by OpenTelemetry's SDK.

Telemetry may be lost, counted; nothing here is evidence. Callers hand over plain numbers and
never see OpenTelemetry. No metric carries a tenant, a user or a conversation, and none is
recorded per token.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from importlib.metadata import version
from pathlib import Path

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dosimeter.monitor.sinks.headers import read_headers


class Kind(Enum):
    TOTAL = "total"  # the caller states the cumulative total; it never falls
    COUNT = "count"  # the caller states how many more
    GAUGE = "gauge"  # the caller states the value as it is now
    DURATION = "duration"  # the caller states one duration in seconds; exponential histogram


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: Kind
    unit: str  # UCUM
    attributes: tuple[str, ...]  # all it may carry; each has few values
    description: str


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "dosimeter.tokens",
            Kind.TOTAL,
            "{token}",
            ("outcome", "reason"),
            "tokens served, by outcome: scored, unscored with its reason, unaccounted",
        ),
        Metric(
            "dosimeter.coverage",
            Kind.GAUGE,
            "1",
            (),
            "share of served tokens that were scored",
        ),
        Metric(
            "dosimeter.requests",
            Kind.TOTAL,
            "{request}",
            ("state",),
            "requests seen, by state: opened, closed",
        ),
        Metric(
            "dosimeter.alerts",
            Kind.COUNT,
            "{alert}",
            ("rule", "severity", "decision"),
            "what was decided of hits; an exemplar is the trace of the latest request of a series",
        ),
        Metric(
            "dosimeter.scores",
            Kind.TOTAL,
            "{token}",
            ("feature", "le"),
            "tokens that scored at most `le` benign standard deviations, since the sidecar started",
        ),
        Metric(
            "dosimeter.decision.duration",
            Kind.DURATION,
            "s",
            (),
            "from the last hook of a step to the decisions on it",
        ),
        Metric(
            "dosimeter.durable.duration",
            Kind.DURATION,
            "s",
            (),
            "from the decision to its commit in the ledger",
        ),
        Metric(
            "dosimeter.tap.state",
            Kind.GAUGE,
            "1",
            ("state",),
            "1 for the state the tap is in (live, blind, no-pack, idle, silent, absent), else 0",
        ),
        Metric(
            "dosimeter.line.cpu",
            Kind.TOTAL,
            "s",
            (),
            "processor time of the line, which has one core at most",
        ),
        Metric(
            "dosimeter.paused",
            Kind.GAUGE,
            "1",
            (),
            "1 while somebody has paused the monitor, else 0",
        ),
        Metric(
            "dosimeter.rules.drifted",
            Kind.GAUGE,
            "{rule}",
            (),
            "`shift` rules that find live scores drifted from their calibration",
        ),
        Metric(
            "dosimeter.canary.failed",
            Kind.GAUGE,
            "1",
            (),
            "1 while a planted finding does not come out of the line, else 0",
        ),
        Metric(
            "dosimeter.servers.missing",
            Kind.GAUGE,
            "{server}",
            (),
            "servers that are expected and not live; page on this",
        ),
        Metric(
            "dosimeter.files.lost",
            Kind.GAUGE,
            "1",
            ("file",),
            "1 while the socket or the ledger was moved away or replaced, else 0",
        ),
        Metric(
            "dosimeter.clock.jumps",
            Kind.TOTAL,
            "{jump}",
            (),
            "times the wall clock was set under the sidecar",
        ),
        Metric(
            "dosimeter.ledger.stalled",
            Kind.GAUGE,
            "1",
            (),
            "1 while the ledger cannot commit and nothing is read from the wire",
        ),
        Metric(
            "dosimeter.ledger.size",
            Kind.GAUGE,
            "By",
            (),
            "of the ledger's file",
        ),
        Metric(
            "dosimeter.disk.free",
            Kind.GAUGE,
            "By",
            (),
            "what is left on the disk of the ledger",
        ),
        Metric(
            "dosimeter.archive.stalled",
            Kind.GAUGE,
            "1",
            (),
            "1 while no scores are spooled: the disk takes none, or they give way to alerts",
        ),
        Metric(
            "dosimeter.archive.tokens",
            Kind.TOTAL,
            "{token}",
            ("outcome",),
            "scored tokens on their way to the archive, by outcome: spooled, dropped, expired",
        ),
        Metric(
            "dosimeter.history.stalled",
            Kind.GAUGE,
            "1",
            (),
            "1 while history can store or sign nothing",
        ),
        Metric(
            "dosimeter.history.verify.failed",
            Kind.GAUGE,
            "1",
            (),
            "1 where the last verification of history found something wrong, else 0",
        ),
        Metric(
            "dosimeter.history.verify.age",
            Kind.GAUGE,
            "s",
            (),
            "since history last verified itself; a day is as it should be",
        ),
        Metric(
            "dosimeter.fleet.partitions",
            Kind.GAUGE,
            "{partition}",
            ("stage",),
            "share of a member of the fleet, by stage: routing (of the feed), counting (of hits)",
        ),
        Metric(
            "dosimeter.fleet.lag",
            Kind.GAUGE,
            "{record}",
            ("stage",),
            "records of its share that were not read yet",
        ),
        Metric(
            "dosimeter.fleet.stalled",
            Kind.GAUGE,
            "1",
            ("stage",),
            "1 while a stage cannot read, send or commit, else 0",
        ),
        Metric(
            "dosimeter.fleet.missing",
            Kind.TOTAL,
            "{record}",
            ("stage",),
            "records that a topic did not keep until they were read: counts lack them",
        ),
        Metric(
            "dosimeter.fleet.positions.missing",
            Kind.GAUGE,
            "{alert}",
            (),
            "positions of sidecars that did not come over the feed, or have not yet",
        ),
        Metric(
            "dosimeter.fleet.routed",
            Kind.TOTAL,
            "{hit}",
            ("outcome",),
            "hits on their way to where they are counted, by outcome: sent, refused",
        ),
        Metric(
            "dosimeter.fleet.hits",
            Kind.TOTAL,
            "{hit}",
            ("outcome",),
            "hits by what became of them: counted, of_no_rule, late, unattributed, refused",
        ),
        Metric(
            "dosimeter.fleet.groups",
            Kind.GAUGE,
            "{group}",
            (),
            "groups whose windows are open now",
        ),
        Metric(
            "dosimeter.delivery.accepted",
            Kind.TOTAL,
            "{alert}",
            ("sink",),
            "deliverable alerts in the ledger",
        ),
        Metric(
            "dosimeter.delivery.delivered",
            Kind.TOTAL,
            "{alert}",
            ("sink",),
            "alerts the sink has acknowledged",
        ),
        Metric(
            "dosimeter.delivery.dead",
            Kind.GAUGE,
            "{alert}",
            ("sink",),
            "alerts the sink refused for what they are; fewer again when they are replayed",
        ),
        Metric(
            "dosimeter.delivery.withheld",
            Kind.TOTAL,
            "{alert}",
            ("sink",),
            "alerts that a second look kept from the sink",
        ),
        Metric(
            "dosimeter.delivery.queued",
            Kind.GAUGE,
            "{alert}",
            ("sink",),
            "alerts accepted and not yet settled with the sink",
        ),
        Metric(
            "dosimeter.delivery.unaccounted",
            Kind.GAUGE,
            "{alert}",
            ("sink",),
            "accepted - delivered - dead - withheld - queued: must be 0",
        ),
        Metric(
            "dosimeter.delivery.oldest.age",
            Kind.GAUGE,
            "s",
            ("sink",),
            "age of the oldest queued alert; page on this, not on the number queued",
        ),
        Metric(
            "dosimeter.delivery.canary.age",
            Kind.GAUGE,
            "s",
            ("sink",),
            "since the last canary that reached the sink was planted, or delivery began; an hour is well",
        ),
        Metric(
            "dosimeter.confirm.asked",
            Kind.TOTAL,
            "{question}",
            ("confirmer",),
            "questions put to a confirmer, second tries too",
        ),
        Metric(
            "dosimeter.confirm.verdicts",
            Kind.TOTAL,
            "{alert}",
            ("confirmer", "answer"),
            "alerts that a second look was asked of, by answer: yes, no, unanswered",
        ),
        Metric(
            "dosimeter.confirm.cost",
            Kind.TOTAL,
            "1",
            ("confirmer",),
            "what a confirmer said its answers cost, in its own unit",
        ),
        Metric(
            "dosimeter.confirm.time",
            Kind.TOTAL,
            "s",
            ("confirmer",),
            "time from the first question to the verdict, added up",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    endpoint: str | None = None  # `http://host:4318`; None: nothing is exported
    interval_s: float = 10.0
    timeout_s: float = 5.0
    headers: Mapping[str, str] = field(default_factory=dict)
    headers_file: Path | None = None  # read anew for each export, as the OTLP sink does
    ca: Path | None = None
    resource: Mapping[str, str] = field(default_factory=dict)  # beside service.name and .version


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
            resource=service_resource(config.resource),
            views=[
                View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation())
            ],
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
        """Export now; False when it did not succeed within the timeout."""
        return self._provider.force_flush(int(self._config.timeout_s * 1000))

    def close(self) -> None:
        """Export what is left, for at most `timeout_s`, and stop the exporter's thread."""
        self._provider.shutdown(self._config.timeout_s * 1000)


def service_resource(extra: Mapping[str, str]) -> Resource:
    """Who is speaking, the same on metrics and log events. Without the instance (the pod, or the host), two sidecars
    would write one series, each undoing the other's."""
    own = {
        "service.name": "dosimeter",
        "service.version": version("dosimeter"),
        "service.instance.id": socket.gethostname(),
    }
    return Resource({**own, **extra})


def _otlp_reader(config: TelemetryConfig) -> list[MetricReader]:
    if config.endpoint is None:
        return []
    session = requests.Session()
    session.trust_env = False  # no proxy that nobody here has named
    session.auth = partial(_with_headers, config.headers_file)
    exporter = OTLPMetricExporter(
        endpoint=f"{config.endpoint.rstrip('/')}/v1/metrics",
        headers=dict(config.headers),
        certificate_file=None if config.ca is None else str(config.ca),
        timeout=config.timeout_s,
        session=session,
    )
    return [
        PeriodicExportingMetricReader(
            exporter,
            export_interval_millis=config.interval_s * 1000,
            export_timeout_millis=config.timeout_s * 1000,
        )
    ]


def _with_headers(path: Path | None, request: requests.PreparedRequest) -> requests.PreparedRequest:
    if path is not None:
        request.headers.update(read_headers(path))
    return request


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
