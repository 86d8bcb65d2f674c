"""The page of names, docs/telemetry.md: what is sent over OpenTelemetry, from the tables that the code sends by.

`make names` writes it; a test holds the page equal to it. It owns the words between the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dosimeter.monitor import score_counts
from dosimeter.monitor.metrics import METRICS, Kind
from dosimeter.monitor.sinks import semconv

KINDS = {
    Kind.TOTAL: "counter",
    Kind.COUNT: "counter",
    Kind.GAUGE: "gauge",
    Kind.DURATION: "exponential histogram",
}

HEAD = """\
# Names in OpenTelemetry

Written by `make names` from the tables in `monitor/metrics.py` and `monitor/sinks/semconv.py`; change it there.

## Metrics

Over OTLP/HTTP, those of the line, of history and of a fleet to `telemetry.endpoint`, those of delivery
(`dosimeter.delivery.*`, `dosimeter.confirm.*`) to the endpoint of the OTLP sink. None carries a tenant, a user or a
conversation, and none is recorded per token."""

METRICS_TAIL = f"""\
Each carries the resource attributes `service.name` (`dosimeter`), `service.version` and `service.instance.id`, the
host's name (in Kubernetes the pod's): Prometheus makes of the last `instance`, and of the first the job `dosimeter`. It
takes OTLP itself (`--web.enable-otlp-receiver`); names then have underscores, units and `_total`:
`dosimeter_tokens_total`, `dosimeter_coverage_ratio`, `dosimeter_delivery_oldest_age_seconds`.

A Collector (0.161) and Prometheus take them in tests. VictoriaMetrics 1.145 did by hand (2026-11-30):
it keeps the dots, and makes `vmrange` buckets of exponential histograms. Arize Phoenix takes traces alone, and none
are sent here.

An exemplar of `dosimeter.alerts` has trace and span of the latest request behind it, if its client sent a `traceparent`
that says the trace is sampled.

### The distribution of scores

`dosimeter.scores` counts tokens, of all scopes, by feature and bin; a single token is recorded nowhere. `le` is the
upper end of a bin in benign standard deviations, and each series has in it the bins below, as a histogram of
Prometheus has: {", ".join(f"`{name}`" for name in score_counts.BINS)}. So the usual function reads it:

```text
histogram_quantile(0.99, sum by (feature, le) (rate(dosimeter_scores_total[1h])))
```

A token whose activation was not finite has no score, and counts in no bin. There are series of at most
{score_counts.MOST_FEATURES} features; the log names the first that has none.

They show a shift at a glance and prove none: a rule of the kind `shift` does ([rules.md](rules.md))."""

EVENTS = """\
## Log events

One a record over OTLP/HTTP, from the OTLP sink. Its name is `{event}`; that of {others}.
Its time is that of the server's step; trace and span are those of the request, if its client sent a valid
`traceparent`; the body is the summary. `gen_ai.*` is OpenTelemetry's (GenAI semantic conventions, status
Development, read in November 2026: expect renames), `dosimeter.*` is ours. An attribute without a value is left out.

Delivery is at least once: dedupe on `{event_id}`."""

SEVERITY = "Severity of the rule and `SeverityNumber` of the event: {pairs}."


def page() -> str:
    metrics = (
        (
            f"`{metric.name}`",
            KINDS[metric.kind],
            f"`{metric.unit}`",
            ", ".join(f"`{name}`" for name in metric.attributes),
            metric.description,
        )
        for metric in METRICS.values()
    )
    severities = (
        f"{name} `{number.removeprefix('SEVERITY_NUMBER_')}`"
        for name, number in semconv.SEVERITIES.items()
    )
    others = ", ".join(f"a {kind}, `{name}`" for kind, name in semconv.EVENT_NAMES.items())
    events = EVENTS.format(event=semconv.EVENT_NAME, others=others, event_id=semconv.EVENT_ID)
    parts = (
        HEAD,
        _table(("metric", "kind", "unit", "attributes", "what it says"), metrics),
        METRICS_TAIL,
        events,
        _table(("attribute", "what it says"), ((f"`{n}`", what) for n, what in _attributes())),
        SEVERITY.format(pairs=", ".join(severities)),
    )
    return "\n\n".join(parts) + "\n"


def _attributes() -> Iterable[tuple[str, str]]:
    yield from semconv.MEANINGS.items()
    for field, name in semconv.RECORD_FIELDS.items():
        yield name, f"`{field}` of the record"
    for label, name in semconv.LABELS.items():
        yield name, f"label `{label}` of the request"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


if __name__ == "__main__":
    print(page(), end="")
