"""The viewer answers what an OTLP receiver answers, and only to what it was made for."""

from __future__ import annotations

import gzip
import http.client

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from dosimeter.monitor.lab.viewer import Viewer

ONE = ExportLogsServiceRequest(
    resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[LogRecord(event_name="e")])])]
).SerializeToString()


def ask(viewer: Viewer, path: str, body: bytes, headers: dict[str, str] | None = None) -> int:
    connection = http.client.HTTPConnection(viewer.endpoint.removeprefix("http://"), timeout=2)
    connection.request("POST", path, body, headers or {})
    status = connection.getresponse().status
    connection.close()
    return status


def test_plain_and_compressed_requests_are_read() -> None:
    with Viewer() as viewer:
        assert ask(viewer, "/v1/logs", ONE) == 200
        assert ask(viewer, "/v1/logs", gzip.compress(ONE), {"Content-Encoding": "gzip"}) == 200
        assert [event.name for event in viewer.events()] == ["e", "e"]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/traces", ONE, {}, 404),
        ("/v1/logs", b"\xff\xff\xff", {}, 400),
        ("/v1/logs", b"not gzip", {"Content-Encoding": "gzip"}, 400),
        ("/v1/logs", b"", {"Content-Length": str(1 << 30)}, 413),
    ],
)
def test_anything_else_is_refused_and_nothing_is_kept(
    path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    with Viewer() as viewer:
        assert ask(viewer, path, body, headers) == status
        assert viewer.events() == []
