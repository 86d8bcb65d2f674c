"""How soon a sidecar is there without Kafka and without OTLP, and what it takes when nothing happens.

The whole of it: supervisor, line and delivery, from a configuration with both sinks, at whose addresses nobody listens.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from dosimeter.monitor.bench.child import BenchError
from dosimeter.monitor.bench.emit_process import children, command, cpu_s, pss_mib, rss_mib
from dosimeter.monitor.bench.figures import Figure
from dosimeter.monitor.lab.broker import free_port
from dosimeter.monitor.supervising import ending_with_parent

STARTS = 3
IDLE_S = 8.0
"""By when delivery has tried both sinks several times, and its libraries are loaded."""
PATIENCE_S = 60.0
OURS = (sys.executable, "-m", "dosimeter.monitor.cli.main")


def figures(starts: int = STARTS, idle_s: float = IDLE_S) -> Iterator[Figure]:
    bare = median(_bare() for _ in range(starts))
    ready, busy = [], []
    memory: dict[str, tuple[float, float]] = {}
    for number in range(starts):
        with tempfile.TemporaryDirectory(prefix="dosimeter-emit-") as name:
            last = number == starts - 1
            seconds, processor, memory = _start(Path(name), idle_s if last else 0.0)
            ready.append(seconds)
            busy.append(processor)
    yield Figure("ready without Kafka and OTLP, after", median(ready), "s", "<= 2")
    yield Figure("ready: processor time until then", median(busy), "s")
    yield Figure("ready: an interpreter that does nothing, from start to end", bare, "s")
    ours = [memory[name] for name in ("line", "deliver")]
    # Resident, as the kernel lists it, counts pages that the processes share more than once: more than they take.
    yield Figure("idle: line and deliver, RSS", sum(rss for rss, _ in ours), "MiB", "<= 150")
    yield Figure("idle: line and deliver, PSS", sum(pss for _, pss in ours), "MiB")
    yield Figure(
        "idle: line, deliver and supervisor, PSS", sum(p for _, p in memory.values()), "MiB"
    )
    for name, (rss, _) in memory.items():
        yield Figure(f"idle: {name}, RSS", rss, "MiB")


def _bare() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def _start(folder: Path, idle_s: float) -> tuple[float, float, dict[str, tuple[float, float]]]:
    """Seconds until it is ready, processor seconds until then, and by process its RSS and PSS after so long."""
    port = free_port()
    (folder / "sidecar.yaml").write_text(
        f"version: 1\ndata-dir: {folder / 'data'}\nhttp: {{port: {port}}}\nsinks:\n"
        f'  kafka: {{bootstrap: ["127.0.0.1:{free_port()}"]}}\n'
        f'  otlp: {{endpoint: "http://127.0.0.1:{free_port()}"}}\n'
    )
    began = time.perf_counter()
    process = subprocess.Popen(
        [*OURS, "sidecar", "--config", str(folder / "sidecar.yaml")],
        stderr=subprocess.DEVNULL,
        preexec_fn=ending_with_parent(signal.SIGTERM),
    )
    try:
        while not _ready(port):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE_S:
                raise BenchError("the sidecar did not become ready")
            time.sleep(0.005)
        seconds = time.perf_counter() - began
        found = {"supervisor": process.pid} | {_name(pid): pid for pid in children(process.pid)}
        processor = cpu_s(process.pid) + cpu_s(found["line"])
        time.sleep(idle_s)
        return seconds, processor, {n: (rss_mib(pid), pss_mib(pid)) for n, pid in found.items()}
    finally:
        process.terminate()
        process.wait()


def _name(pid: int) -> str:
    return "line" if "--line-only" in command(pid) else "deliver"


def _ready(port: int) -> bool:
    """It takes frames in: its socket listens, its ledger is open, its rules are loaded."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
