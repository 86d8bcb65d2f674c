"""The viewer: a small OTLP/HTTP receiver that keeps what it is sent, so that it can be read back.

It is built on the protocol's own messages and is not the OpenTelemetry Collector: no pipeline, no
gRPC, no traces, nothing on disk. Asked to reject records it is a fake, for tests. It knows
nothing of ledgers.
"""

from __future__ import annotations

import contextlib
import gzip
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from dosimeter.monitor.sinks import semconv

MAX_BODY = 16 << 20


@dataclass(frozen=True, slots=True)
class Event:
    """One log event as received. trace_id and span_id: hex, empty when it carried none."""

    name: str
    attributes: dict[str, Any]
    trace_id: str
    span_id: str
    time_ns: int

    @property
    def event_id(self) -> str:
        return str(self.attributes.get(semconv.EVENT_ID, ""))


class Viewer:
    """Listens on 127.0.0.1 from `start` to `stop`; everything received stays until then."""

    def __init__(
        self, *, port: int = 0, reject: Callable[[Event], bool] = lambda event: False
    ) -> None:
        """reject: events it is true of are not kept, and answered for as a partial success."""
        self._reject = reject
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._points: dict[tuple[str, tuple[tuple[str, Any], ...]], Any] = {}
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread: threading.Thread | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Viewer:
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="viewer", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()

    def __enter__(self) -> Viewer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def events(self) -> list[Event]:
        """In the order received, duplicates included."""
        with self._lock:
            return list(self._events)

    def event_ids(self) -> set[str]:
        """Ids of the alerts received: compare with what the ledger accepted."""
        return {event.event_id for event in self.events()}

    def metrics(self) -> dict[str, dict[tuple[tuple[str, Any], ...], Any]]:
        """Name -> attributes -> last value. A number; for a histogram its (count, sum)."""
        with self._lock:
            found: dict[str, dict[tuple[tuple[str, Any], ...], Any]] = {}
            for (name, attributes), value in self._points.items():
                found.setdefault(name, {})[attributes] = value
            return found

    def take_logs(self, body: bytes) -> bytes:
        """One export request -> the reply. Raises DecodeError."""
        response = ExportLogsServiceResponse()
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    event = _event(record)
                    if self._reject(event):
                        response.partial_success.rejected_log_records += 1
                        response.partial_success.error_message = "rejected on request"
                        continue
                    with self._lock:
                        self._events.append(event)
        return bytes(response.SerializeToString())

    def take_metrics(self, body: bytes) -> bytes:
        """One export request -> the reply. Raises DecodeError."""
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    with self._lock:
                        self._points.update(_points(metric))
        return bytes(ExportMetricsServiceResponse().SerializeToString())


def _points(metric: Metric) -> dict[tuple[str, tuple[tuple[str, Any], ...]], Any]:
    kind = metric.WhichOneof("data")
    found = {}
    for point in getattr(metric, kind).data_points if kind else ():
        attributes = tuple(sorted((kv.key, _plain(kv.value)) for kv in point.attributes))
        if kind in ("histogram", "exponential_histogram"):
            found[metric.name, attributes] = (point.count, point.sum)
        elif kind in ("sum", "gauge"):
            found[metric.name, attributes] = getattr(point, point.WhichOneof("value"))
    return found


def _event(record: LogRecord) -> Event:
    return Event(
        name=record.event_name,
        attributes={kv.key: _plain(kv.value) for kv in record.attributes},
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        time_ns=record.time_unix_nano,
    )


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # who asked, or would have, has gone
            super().handle_error(request, client_address)


def _handler(viewer: Viewer) -> type[BaseHTTPRequestHandler]:
    take = {"/v1/logs": viewer.take_logs, "/v1/metrics": viewer.take_metrics}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            if self.path not in take:
                return self._answer(404)
            if length > MAX_BODY:
                self.close_connection = True
                return self._answer(413)
            body = self.rfile.read(length)
            try:
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                reply = take[self.path](body)
            except (DecodeError, OSError, EOFError):
                return self._answer(400)
            return self._answer(200, reply)

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            with contextlib.suppress(ConnectionError):  # who asked has gone
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: the demo owns the screen."""

    return Handler
