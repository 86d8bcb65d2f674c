"""`dosimeter bench line`: from the last hook of a step to a decision, and from there to disk.

Two processes, the real socket, the real sidecar loop, rules and ledger; only the server is played:
256 requests decode and are replaced by new ones, 256 tokens a frame, 100 frames a second, and a few
requests drift so that rules fire. A bare reader of the same frames is timed in the same run: the
floor under any sidecar.
"""

from __future__ import annotations

import json
import signal
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODES_PER_SD, ROWS, Codes
from dosimeter.monitor.bench.child import Child
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.config import Config, HttpConfig
from dosimeter.monitor.latency import Latency
from dosimeter.monitor.pipeline import Pipeline
from dosimeter.monitor.service import run_line
from dosimeter.monitor.stopping import stop_on_signals
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.wire import Kind

FEATURES, RULES = 64, 20
TOKENS, FRAMES_PER_S = 256, 100
WARM_S, ROUND_S, ROUNDS = 1.0, 2.5, 5
PROMPT, ANSWERS = 32, (64, 400)  # tokens; the shortest and longest answer
DRIFTS = 0.02  # share of requests in which one feature rises
PACK = "0" * 64
SHAPES = ("", ", for: 4 tokens", ", average: 16 tokens", ", average: answer")
LEVELS = ("z 4.5", "z 2.5", "z 2", "z 1.5")


def run() -> Result:
    undisturbed()
    with tempfile.TemporaryDirectory() as folder:
        config = _prepare(Path(folder))
        floor = _floor(Path(folder) / "floor.sock")
        with Child(_line, config) as line:
            port = line.hear()
            traffic = _Traffic(config.socket_path)
            traffic.play(WARM_S)
            rounds = []
            for _ in range(ROUNDS):
                line.send(None)
                line.hear()
                traffic.play(ROUND_S)
                time.sleep(0.1)
                rounds.append(_status(port)["latency"])
            traffic.end()
            time.sleep(1.2)
            status = _status(port)
    decision = [found["hook_to_decision"] for found in rounds]
    durable = [found["decision_to_durable"] for found in rounds]
    coverage = status["coverage"]
    alerts = sum(alert["count"] for alert in status["alerts"])
    counters = traffic.sender.counters()

    def middle(found: list[dict[str, Any]], name: str) -> float | None:
        values = [one[name] for one in found if one[name] is not None]
        return float(np.median(values)) if values else None

    p50 = middle(decision, "p50_ms")
    return Result(
        "line",
        (
            Figure("hook to decision, p50", p50, "ms"),
            Figure("hook to decision, p99", middle(decision, "p99_ms"), "ms", "<= 2"),
            Figure("hook to a bare reader, p50", floor.quantile_ms(0.5), "ms"),
            Figure("hook to a bare reader, p99", floor.quantile_ms(0.99), "ms"),
            Figure("decision to durable, p50", middle(durable, "p50_ms"), "ms"),
            Figure("decision to durable, p99", middle(durable, "p99_ms"), "ms", "<= 15"),
            Figure("tokens a second", round(traffic.rate), "tokens/s"),
            Figure("rows dropped", counters["rows_dropped"], "rows", "== 0"),
            Figure("tokens served", coverage["served"], "tokens"),
            Figure("unaccounted", coverage["unaccounted"], "tokens", "== 0"),
            Figure("alerts", alerts, "alerts", ">= 1"),
            Figure(
                "alerts committed - decided",
                status["ledger"]["committed"] - alerts,
                "alerts",
                "== 0",
            ),
        ),
    )


def _prepare(folder: Path) -> Config:
    """Rules, a calibration on benign noise, and the configuration that names them."""
    features = [f"feature_{index:02d}" for index in range(FEATURES)]
    rng = np.random.default_rng(3)
    requests, length = 40, 64
    Calibration(
        features=tuple(features),
        packs=(PACK,) * FEATURES,
        codes=_noise(rng, requests * length),
        offsets=np.arange(requests + 1, dtype=np.int64) * length,
        scopes=np.full(requests * length, 3, np.uint8),
        corpus="noise",
        date="2026-01-01",
    ).save(folder / "calibration")
    lines = ["version: 1", "rules:"]
    for number in range(RULES):
        shape, level = SHAPES[number % 4], LEVELS[number % 4]
        when = f"{{feature: {features[number]}, in: answer, above: {level}{shape}}}"
        lines += [
            f"  - rule: bench-{number:02d}",
            f"    when: {when}",
            "    status: live",
            "    severity: low",
            "    owner: bench",
            '    summary: "bench"',
        ]
    (folder / "rules.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Config(
        data_dir=folder / "data",
        rules=(folder / "rules.yaml",),
        calibrations=(folder / "calibration",),
        http=HttpConfig(port=0),
    )


def _noise(rng: np.random.Generator, tokens: int) -> Codes:
    return np.rint(rng.standard_normal((tokens, FEATURES)) * CODES_PER_SD).astype(np.int16)


class _Traffic:
    """A played server: requests that decode side by side, and are replaced when they end."""

    def __init__(self, path: Path) -> None:
        self._rng = np.random.default_rng(4)
        self._pool = [_noise(self._rng, TOKENS) for _ in range(64)]
        self._length: dict[int, int] = {}  # key -> rows sent
        self._end: dict[int, int] = {}  # key -> rows in all
        self._drift: dict[int, int] = {}  # key -> feature that rises
        self._key = 0
        self._frames = 0
        self._seconds = 0.0
        hello = {
            "role": "tap",
            "state": "live",
            "columns": [
                {"feature": f"feature_{i:02d}", "pack": PACK, "packName": "bench"}
                for i in range(FEATURES)
            ],
        }
        self.sender = Sender(path, 77, lambda: hello, list)
        self.sender.tick()

    @property
    def rate(self) -> float:
        return self._frames * TOKENS / self._seconds

    def play(self, seconds: float) -> None:
        began = time.perf_counter()
        frames = int(seconds * FRAMES_PER_S)
        for number in range(frames):
            rows, codes = self._frame()
            pause = began + number / FRAMES_PER_S - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            self.sender.step(rows, codes, time.monotonic_ns(), time.time_ns())
        self._frames += frames
        self._seconds += time.perf_counter() - began

    def end(self) -> None:
        for key in list(self._length):
            self._close(key)
        self.sender.tick()
        self.sender.tick()

    def _frame(self) -> tuple[np.ndarray[Any, np.dtype[np.void]], Codes]:
        """Prompts of new requests first, then one token each of the oldest others."""
        entries: list[tuple[int, int, int, int, int]] = []
        left = TOKENS
        for key in [key for key, n in self._length.items() if n >= self._end[key]]:
            self._close(key)
        while len(self._length) < TOKENS and left >= PROMPT:
            entries.append((self._open(), 0, PROMPT, 0, 1))
            left -= PROMPT
        fresh = {entry[0] for entry in entries}
        for key in [key for key in self._length if key not in fresh][:left]:
            entries.append((key, self._length[key], 1, 0, 0))
        # What a frame could not take goes first in the next one.
        codes = self._pool[self._frames % 64].copy() if self._drift else self._pool[0].copy()
        at = 0
        for key, start, n, _, _ in entries:
            self._length[key] = start + n
            if key in self._drift and start > PROMPT + 64:
                codes[at : at + n, self._drift[key]] += 4 * CODES_PER_SD
            at += n
        for key, *_ in entries:
            self._length[key] = self._length.pop(key)
        return np.array(entries, ROWS), codes[:at]

    def _open(self) -> int:
        self._key += 1
        self._length[self._key] = 0
        self._end[self._key] = PROMPT + int(self._rng.integers(*ANSWERS))
        if self._rng.random() < DRIFTS:
            self._drift[self._key] = int(self._rng.integers(RULES))
        record = {
            "key": self._key,
            "prompt_len": PROMPT,
            "labels": {"tenant": "bench", "request_id": str(self._key)},
            "spans": [[0, 0, 8], [2, 8, PROMPT]],
            "spans_exact": True,
        }
        self.sender.control(Kind.OPEN, record)
        return self._key

    def _close(self, key: int) -> None:
        rows = self._length.pop(key)
        self._drift.pop(key, None)
        del self._end[key]
        record = {"key": key, "outcome": "finished", "served": rows, "emitted": rows}
        self.sender.control(Kind.CLOSE, record)


def _line(config: Config, pipe: Connection) -> None:
    """The sidecar's line; on request its latencies begin anew."""
    stop = stop_on_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def ready(line: Pipeline, port: int) -> None:
        import threading

        def reset() -> None:
            while True:
                try:
                    pipe.recv()
                except EOFError:
                    return
                line.decision, line.writer.durable = Latency(), Latency()
                pipe.send(None)

        threading.Thread(target=reset, daemon=True).start()
        pipe.send(port)

    raise SystemExit(run_line(config, stop, ready))


def _status(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as reply:
        found: dict[str, Any] = json.load(reply)
        return found


def _floor(path: Path) -> Latency:
    """The same frames at the same rate to a process that only receives."""
    with Child(_bare, path) as reader:
        reader.hear()
        traffic = _Traffic(path)
        traffic.play(2.0)
        traffic.sender.close()
        latency = Latency()
        for duration in reader.hear():
            latency.add(duration)
    return latency


def _bare(path: Path, pipe: Connection) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()
    pipe.send(None)
    source, _ = listener.accept()
    pipe.send(list(_durations(source)))


def _durations(source: socket.socket) -> Iterator[int]:
    buffer = bytearray(wire.MAX_MESSAGE + 1)
    while size := source.recv_into(buffer):
        now = time.monotonic_ns()
        message = wire.unpack(bytes(memoryview(buffer)[:size]))
        if message.kind is Kind.STEP:
            yield now - message.counters["hook_ns"]
