"""Apache Kafka on this machine: one broker or a cluster, from the jars that `deploy/kafka/apache.sh` puts in a folder.

It owns these processes and their folder, ends them and no others, and knows nothing of alerts. Each broker is a
controller too (KRaft), so killing one takes both. What they hold is on disk: a broker killed with SIGKILL comes back
with what it had. That is no power failure; what the kernel had not written yet is not lost here.
"""

from __future__ import annotations

import base64
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from dosimeter.monitor.lab.broker import BrokerError, free_port
from dosimeter.monitor.supervising import ending_with_parent

JVM = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Small and soon there: what is measured on it is whether it keeps its word, never how fast."""

PROPERTIES = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "unclean.leader.election.enable": "false",
    "offsets.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # Soon noticed when one is gone, not after Kafka's own 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.enable": "false",
}


def ready(jars: Path) -> bool:
    """Whether brokers can be started from this folder here."""
    return (jars / ".ready").is_file() and shutil.which("java") is not None


def cluster_id(random: bytes) -> str:
    """From 16 bytes; none begins with a dash, which kafka-storage would read as an option."""
    text = base64.urlsafe_b64encode(random).decode().rstrip("=")
    return "A" + text[1:] if text.startswith("-") else text


class ApacheKafka:
    """`brokers` of them on 127.0.0.1 from `start` to `stop`. Nodes are numbered from 1."""

    def __init__(
        self,
        jars: Path,
        folder: Path,
        *,
        brokers: int = 1,
        properties: Mapping[str, str] | None = None,
        listeners: Sequence[str] = (),
        format_args: Sequence[str] = (),
        timeout_s: float = 90.0,
    ) -> None:
        """listeners: names beside PLAINTEXT, whose protocols `properties` give. format_args: of kafka-storage."""
        if not ready(jars):
            raise BrokerError(f"{jars}: no Apache Kafka is here\n  hint: `make setup-kafka`")
        self._jars, self._folder = jars.absolute(), folder.absolute()
        self._timeout_s, self._format_args = timeout_s, tuple(format_args)
        self._names = ("PLAINTEXT", "CONTROLLER", *listeners)
        self._ports = {
            n: {name: free_port() for name in self._names} for n in range(1, brokers + 1)
        }
        self._cluster = cluster_id(uuid.uuid4().bytes)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        copies = str(min(3, brokers))
        self._properties = PROPERTIES | {
            "controller.quorum.voters": ",".join(
                f"{n}@127.0.0.1:{ports['CONTROLLER']}" for n, ports in self._ports.items()
            ),
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": str(min(2, brokers)),
            **(properties or {}),
        }

    def bootstrap(self, listener: str = "PLAINTEXT") -> list[str]:
        return [f"127.0.0.1:{ports[listener]}" for ports in self._ports.values()]

    @property
    def nodes(self) -> tuple[int, ...]:
        """Those that run."""
        return tuple(n for n, process in self._processes.items() if process.poll() is None)

    def start(self) -> ApacheKafka:
        """Format the folders and return when every broker accepts connections. Raises BrokerError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            formatting = {n: self._format(n) for n in self._ports}
            for node, process in formatting.items():
                if process.wait(self._timeout_s) != 0:
                    raise BrokerError(f"storage of broker {node} not formatted: {self._said(node)}")
            for node in self._ports:
                self.begin(node)
            for node in self._ports:
                self.wait(node)
        except BaseException:
            self.stop()
            raise
        return self

    def begin(self, node: int) -> None:
        """Start it, or start it again; `wait` says when it serves."""
        self._processes[node] = self._java(node, *JVM, "kafka.Kafka", str(self._file(node)))

    def wait(self, node: int) -> None:
        """Until it accepts connections, which a broker does once its controller has let it in. Raises BrokerError."""
        deadline = time.monotonic() + self._timeout_s
        while not all(self._accepts(self._ports[node][name]) for name in self._names):
            code = self._processes[node].poll()
            if code is not None or time.monotonic() > deadline:
                state = "did not listen in time" if code is None else f"ended with status {code}"
                raise BrokerError(f"broker {node} {state}: {self._said(node)}")
            time.sleep(0.05)

    def kill(self, node: int) -> None:
        """SIGKILL, as a machine's end is to the others."""
        self._processes[node].kill()
        self._processes[node].wait()

    def stop(self) -> None:
        """End what this object started; what it held is in the folder still. Nothing waits for a clean end."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def _format(self, node: int) -> subprocess.Popen[bytes]:
        ports = self._ports[node]
        listening = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
        said = self._properties | {
            "node.id": str(node),
            "listeners": listening,
            "log.dirs": str(self._folder / f"data-{node}"),
        }
        self._file(node).write_text("".join(f"{k}={v}\n" for k, v in said.items()))
        tool = ("kafka.tools.StorageTool", "format", "-t", self._cluster, "-c")
        return self._java(node, *JVM, *tool, str(self._file(node)), *self._format_args)

    def _java(self, node: int, *args: str) -> subprocess.Popen[bytes]:
        config = f"-Dlog4j2.configurationFile={self._jars / 'log4j2.properties'}"
        with (self._folder / f"broker-{node}.log").open("ab") as log:
            return subprocess.Popen(
                ["java", "-cp", f"{self._jars}/lib/*", config, *args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                start_new_session=True,
                preexec_fn=ending_with_parent(signal.SIGKILL),  # none is left when we are killed
            )

    def _file(self, node: int) -> Path:
        return self._folder / f"broker-{node}.properties"

    def _said(self, node: int) -> str:
        path = self._folder / f"broker-{node}.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    @staticmethod
    def _accepts(port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
        except OSError:
            return False
        return True

    def __enter__(self) -> ApacheKafka:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
