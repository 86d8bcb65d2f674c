"""`dosimeter deliver` and receivers over TLS whose certificate has expired: it says so, waits, and loses nothing."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from dosimeter.monitor.history.records import LedgerRecord
from tests.monitor.sinks.authority import Authority
from tests.monitor.sinks.deliver_scene import Delivering
from tests.monitor.sinks.receiver import Receiver

pytestmark = pytest.mark.parts


def ids_of(body: bytes) -> list[str]:
    [resource] = ExportLogsServiceRequest.FromString(gzip.decompress(body)).resource_logs
    return [
        kv.value.string_value
        for log in resource.scope_logs[0].log_records
        for kv in log.attributes
        if kv.key == "dosimeter.event_id"
    ]


def test_an_expired_certificate_keeps_alerts_waiting_and_a_renewed_one_lets_them_go(
    tmp_path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    authority = Authority(tmp_path)
    stale = authority.server("stale", -2, -1)
    with Receiver(stale) as hooks, Receiver(stale) as collector:
        sinks = {
            "webhook": {"url": f"{hooks.url}/x", "ca": str(authority.path)},
            "otlp": {"endpoint": collector.url, "ca": str(authority.path)},
        }
        with Delivering(tmp_path / "data", sinks) as run:
            run.accept([record_of(n) for n in range(20)])
            for name in sinks:
                run.fails_with("its certificate: certificate has expired", "hint: renew", of=name)
            renewed = authority.server("stale", -1, 1)
            for receiver in (hooks, collector):
                receiver.renew(renewed)
            assert [run.drained(name)["delivered"] for name in sinks] == [20, 20]
        assert {came.headers["webhook-id"]: came.body for came in hooks.came} == run.accepted
        logs = [came.body for came in collector.came if came.path == "/v1/logs"]
        assert {one for body in logs for one in ids_of(body)} == set(run.accepted)
