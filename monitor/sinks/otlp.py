"""The OTLP sink: one log event per alert, over HTTP, with the reply read.

The SDK's own log exporter keeps events in memory, drops the oldest when full and ignores a partial
success, so the request is built here from the protocol's messages and answered for record by
record. It owns the mapping to the protocol and the meaning of replies; names are in `semconv`, and
the connection is `http`'s.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import (
    LogRecord,
    ResourceLogs,
    ScopeLogs,
    SeverityNumber,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from dosimeter.detectors.frames import CODES_PER_SD
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks import semconv
from dosimeter.monitor.sinks.config import OtlpConfig
from dosimeter.monitor.sinks.http import HttpClient, HttpError, Reply
from dosimeter.monitor.sinks.resource import service
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, Result, dead, retry

MAX_REPLY = 1 << 16
"""Bytes: what a receiver says about records that it rejects."""
HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
"""Every receiver has to take gzip, the protocol says, so there is nothing to choose."""
LEVEL = 1  # of gzip: most of what there is to gain, at a third of the time

PATH = "/v1/logs"

Post = Callable[[bytes, Mapping[str, str]], Reply]
"""(body, headers) -> Reply. Raises HttpError without a reply."""


class OtlpSink:
    """Delivered means: the receiver answered 200 and did not reject it."""

    def __init__(self, config: OtlpConfig, *, post: Post | None = None) -> None:
        self.name = config.name
        self.config = config
        endpoint = config.endpoint.rstrip("/")
        self._client = HttpClient.of(config, f"{endpoint}{PATH}", most=MAX_REPLY)
        own = "" if endpoint == self._client.where else "/…"  # its path may be a credential
        self._where = f"`{self._client.where}{own}{PATH}`"
        self._post = post or self._client.post

    def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
        encoded = [_encode(alert) for alert in batch]
        logs = [log for log in encoded if isinstance(log, LogRecord)]
        answers = iter(self.export(logs))
        return [next(answers) if isinstance(e, LogRecord) else e for e in encoded]

    def export(self, logs: Sequence[LogRecord]) -> list[Outcome]:
        if not logs:
            return []
        body = logs_request(logs, self.config.resource).SerializeToString()
        try:
            reply = self._post(gzip.compress(body, LEVEL, mtime=0), HEADERS)
        except HttpError as error:
            return [retry(str(error))] * len(logs)
        verdict = self._read(reply)
        if verdict is None:
            return [DELIVERED] * len(logs)
        if verdict.result is Result.DEAD and len(logs) > 1:
            # The receiver says how many it refuses, not which: only alone does each get its answer.
            return self._one_by_one(logs)
        return [verdict] * len(logs)

    def _one_by_one(self, logs: Sequence[LogRecord]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for log in logs:
            [outcome] = self.export([log])
            outcomes.append(outcome)
            if outcome.result is Result.RETRY:
                # It went away in between: each further one would wait for as long again.
                return outcomes + [outcome] * (len(logs) - len(outcomes))
        return outcomes

    def _read(self, reply: Reply) -> Outcome | None:
        """None: all accepted. `dead` is meant for at least one record of the request."""
        where = f"{self._where} answered {reply.status}"
        if reply.refuses:
            return dead(f"{where}: {self._client.quoted(reply.body)}")
        if not 200 <= reply.status < 300:
            # Also 401, 403, 404: an operator can mend those, and evidence waits for it.
            return retry(where, after_s=reply.retry_after_s)
        if reply.cut:  # also of nothing, which would say that all were accepted
            return retry(f"{where} and hung up in the middle of its answer")
        try:
            partial = ExportLogsServiceResponse.FromString(reply.body).partial_success
        except DecodeError:
            return retry(
                f"{where} with a body that is not an OTLP reply; is this an OTLP endpoint?"
            )
        if partial.rejected_log_records > 0:
            said = self._client.quoted(partial.error_message.encode())
            return dead(f"rejected by {self._where}: {said}")
        return None

    def close(self) -> None:
        self._client.close()


def logs_request(
    logs: Sequence[LogRecord], resource: Mapping[str, str]
) -> ExportLogsServiceRequest:
    return ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=Resource(attributes=_attributes(service(resource))),
                scope_logs=[
                    ScopeLogs(
                        scope=InstrumentationScope(name="dosimeter"),
                        log_records=logs,
                    )
                ],
            )
        ]
    )


def _encode(alert: StoredAlert) -> LogRecord | Outcome:
    try:
        return log_record(alert)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return dead(f"cannot be written as a log event: {error!r}")


def log_record(alert: StoredAlert) -> LogRecord:
    """The event for one record, in the trace of the request it is about, if it is about one."""
    record = alert.record
    severity = str(record.get("severity", ""))
    summary = str(record.get("summary", ""))
    value_n = int(record.get("value_n", 0))
    found: dict[str, Any] = {
        semconv.EVENT_ID: alert.event_id,
        semconv.EVALUATION_NAME: record.get("feature"),
        semconv.SCORE_LABEL: severity,
        semconv.EXPLANATION: summary,
    }
    model = record.get("model")
    if isinstance(model, dict):
        found[semconv.REQUEST_MODEL] = model.get("name")
        found[semconv.MODEL_DIGEST] = model.get("digest")
    if value_n:
        unit = 1 if record.get("shape") == "share" else CODES_PER_SD
        found[semconv.SCORE_VALUE] = int(record["value_sum"]) / value_n / unit
    found |= {name: record.get(key) for key, name in semconv.RECORD_FIELDS.items()}
    labels = alert.labels
    found |= {name: labels.get(key) for key, name in semconv.LABELS.items()}
    log = LogRecord(
        time_unix_nano=int(record.get("time_ns", alert.committed_ns)),
        observed_time_unix_nano=alert.committed_ns,
        severity_number=SeverityNumber.Value(
            semconv.SEVERITIES.get(severity, semconv.UNKNOWN_SEVERITY)
        ),
        severity_text=severity,
        event_name=semconv.EVENT_NAMES.get(str(record.get("kind")), semconv.EVENT_NAME),
        body=AnyValue(string_value=summary),
        attributes=_attributes(found),
    )
    trace = semconv.TRACEPARENT.fullmatch(labels.get("traceparent", ""))
    if trace is not None and int(trace[1], 16) and int(trace[2], 16):
        log.trace_id, log.span_id = bytes.fromhex(trace[1]), bytes.fromhex(trace[2])
        log.flags = int(trace[3], 16)
    return log


def _attributes(fields: Mapping[str, Any]) -> list[Any]:
    """Fields that are None or empty are left out: absent and empty mean the same to a reader.

    As plain dictionaries, of which the library makes KeyValue messages in a fifth of the time that ours would take.
    """
    return [
        {"key": key, "value": _value(value)}
        for key, value in fields.items()
        if value is not None and value != ""
    ]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value.isascii():  # as nearly all are
        return {"string_value": value}
    if isinstance(value, bool):
        return {"bool_value": value}
    if isinstance(value, int):
        return {"int_value": value}
    if isinstance(value, float):
        return {"double_value": value}
    return {"string_value": str(value).encode("utf-8", "replace").decode()}
