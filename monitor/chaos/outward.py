"""Delivery, and whom it sends to: Kafka's broker and an OTLP receiver, each behind a proxy that fails on request.

The scene of `chaos kill` and of `bench emit`. Proxies and the receiver are processes of their own, so that they take no
time from what is measured. It owns these processes and what came out at the other end; the side of the line, the order
of faults and every figure are its callers'.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from dosimeter.monitor.bench.child import BenchError, Child
from dosimeter.monitor.chaos.kill_broker import Broker, serving
from dosimeter.monitor.chaos.kill_proxy import FaultProxy, Mode
from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.lab.viewer import Viewer
from dosimeter.monitor.sinks import semconv
from dosimeter.monitor.supervising import ending_with_parent

SINKS = ("kafka", "otlp")
PATIENCE_S = 60.0


@dataclass
class Outward:
    """kafka, otlp: addresses of the proxies."""

    folder: Path
    broker: Broker
    kafka: str
    otlp: str
    proxies: Child
    receiver: Child
    deliver: subprocess.Popen[bytes] | None = None

    def start_deliver(self) -> int:
        self.deliver = subprocess.Popen(
            [sys.executable, "-m", "dosimeter.monitor.cli.main", "deliver",
             "--data-dir", str(self.folder), "--kafka", self.kafka,
             "--otlp", f"http://{self.otlp}"],
            stderr=subprocess.DEVNULL, preexec_fn=ending_with_parent(signal.SIGKILL),
        )  # fmt: skip
        return self.deliver.pid

    def end_deliver(self) -> float:
        """SIGTERM; seconds until it has ended. Raises BenchError when it does not end well."""
        assert self.deliver is not None
        began = time.perf_counter()
        self.deliver.terminate()
        try:
            code = self.deliver.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise BenchError(f"delivery has not ended after {PATIENCE_S:.0f} s") from None
        if code != 0:
            raise BenchError(f"delivery ended with {code}")
        return time.perf_counter() - began

    def kill_deliver(self) -> None:
        if self.deliver is not None:
            self.deliver.kill()
            self.deliver.wait()

    def set(self, mode: Mode, *sinks: str) -> None:
        """Of these proxies; none named: of both."""
        self.proxies.send((mode, sinks or SINKS))
        self.proxies.hear()

    def came_to_otlp(self) -> list[str]:
        """Event ids, in the order received, duplicates included."""
        self.receiver.send(None)
        found: list[str] = self.receiver.hear()
        return found


@contextmanager
def outward(folder: Path, jars: Path | None = None) -> Iterator[Outward]:
    """All of it but delivery runs. jars: of an Apache Kafka to take in the embedded broker's place.

    Raises BrokerError, BenchError.
    """
    with ExitStack() as stack:
        proxies = stack.enter_context(Child(_proxies))
        kafka, otlp = proxies.hear()
        broker = stack.enter_context(serving(jars, folder, kafka))
        receiver = stack.enter_context(Child(_receiver))
        proxies.send((broker.port, receiver.hear()))
        proxies.hear()
        here = "127.0.0.1"
        found = Outward(folder, broker, f"{here}:{kafka}", f"{here}:{otlp}", proxies, receiver)
        init_topic([found.kafka])
        stack.callback(found.kill_deliver)
        yield found


def _proxies(pipe: Connection) -> None:
    each = {sink: FaultProxy().start() for sink in SINKS}
    pipe.send([one.port for one in each.values()])
    for one, target in zip(each.values(), pipe.recv(), strict=True):
        one.target = target
    while True:
        pipe.send(None)
        mode, sinks = pipe.recv()
        for sink in sinks:
            each[sink].set(mode)


class _Ids(Viewer):
    """Keeps the ids of the events, and nothing else of them."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []

    def take_logs(self, body: bytes) -> bytes:
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            for scope in resource.scope_logs:
                self.ids += [
                    attribute.value.string_value
                    for record in scope.log_records
                    for attribute in record.attributes
                    if attribute.key == semconv.EVENT_ID
                ]
        return b""


def _receiver(pipe: Connection) -> None:
    viewer = _Ids()
    with viewer:
        pipe.send(int(viewer.endpoint.rpartition(":")[2]))
        while True:
            pipe.recv()
            pipe.send(viewer.ids)
