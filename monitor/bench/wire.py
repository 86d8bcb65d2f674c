"""`dosimeter bench wire`: how long the server's thread is held, and what a stalled reader costs it.

Two processes and the real socket. The same bytes sent raw, alternating with ours in the same run,
are the floor: what the kernel takes to copy them.
"""

from __future__ import annotations

import socket
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from dosimeter.detectors.frames import ROWS
from dosimeter.monitor.bench.child import Child
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.wire import Kind

FEATURES = 64
TOKENS = 256  # 32 KiB of codes
ROUNDS = 7
FRAMES = 300  # a round
PAUSE_S = 0.002  # 500 frames a second
STALL_S = 1.0


def run() -> Result:
    undisturbed()
    rows = np.zeros(TOKENS, ROWS)
    rows["key"], rows["n"] = np.arange(TOKENS), 1
    codes = np.random.default_rng(1).integers(-999, 999, (TOKENS, FEATURES), np.int16)
    raw_bytes = b"\0" * (wire.STEP_PREFIX.size + rows.nbytes + codes.nbytes)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "tap.sock")
        with Child(_read, path) as reader:
            reader.hear()
            sender = Sender(path, 1, dict, list)
            sender.tick()
            raw = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            raw.connect(path)

            def ours() -> None:
                sender.step(rows, codes, 1, 1)

            def floor() -> None:
                raw.send(raw_bytes, socket.MSG_DONTWAIT)

            for call in (ours, floor) * 50:
                _timed(call)
                time.sleep(PAUSE_S)
            held = [_round((ours, floor)) for _ in range(ROUNDS)]
            raw.close()
            reader.send(STALL_S)
            reader.hear()
            longest, end = 0.0, time.perf_counter() + STALL_S + 0.3
            while time.perf_counter() < end:
                longest = max(longest, _timed(ours))
                time.sleep(PAUSE_S)
            time.sleep(0.1)
            sender.tick()
            counters = sender.counters()
            sender.close()
            received, stated = reader.hear()
    p50 = [float(np.median(ours)) for ours, _ in held]
    p99 = [float(np.percentile(ours, 99)) for ours, _ in held]
    base = [float(np.median(floor)) for _, floor in held]
    ratio = [one / two for one, two in zip(p50, base, strict=True)]
    lost = counters["rows_emitted"] - counters["rows_dropped"] - received
    us = 1e6
    return Result(
        "wire",
        (
            Figure("thread held per 32 KiB frame, p50", float(np.median(p50)) * us, "µs", "<= 25"),
            Figure("thread held per 32 KiB frame, p99", float(np.median(p99)) * us, "µs"),
            Figure("the same bytes sent raw, p50", float(np.median(base)) * us, "µs"),
            Figure("held / raw", float(np.median(ratio)), "ratio"),
            Figure("longest send while the reader stalls 1 s", longest * 1e3, "ms", "<= 2"),
            Figure("rows sent", counters["rows_emitted"], "rows"),
            Figure("rows dropped, as the sender counts", counters["rows_dropped"], "rows", ">= 1"),
            Figure("rows dropped, as the reader was told", stated, "rows"),
            Figure("sent - received - dropped", lost, "rows", "== 0"),
        ),
    )


def _timed(call: object) -> float:
    began = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - began


def _round(calls: tuple[object, object]) -> tuple[list[float], list[float]]:
    """Alternating, each after the same pause, so that caches are as cold for one as for the other."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(FRAMES):
        for which in (0, 1) if number % 2 else (1, 0):
            times[which].append(_timed(calls[which]))
            time.sleep(PAUSE_S)
    return times


def _read(path: str, pipe: Connection) -> None:
    """The reader: counts rows; sleeps when told to, without reading; reports at the end."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    pipe.send(None)
    ours, _ = listener.accept()
    raw, _ = listener.accept()
    ours.setblocking(False)
    raw.setblocking(False)
    buffer = bytearray(wire.MAX_MESSAGE + 1)
    received = dropped = 0
    import selectors

    selector = selectors.DefaultSelector()
    for one in (ours, raw, pipe):
        selector.register(one, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is pipe:
                seconds = pipe.recv()
                pipe.send(None)
                time.sleep(seconds)
                continue
            source = key.fileobj
            assert isinstance(source, socket.socket)
            size = source.recv_into(buffer)
            if not size:
                selector.unregister(source)
                if source is ours:
                    pipe.send((received, dropped))
                    return
            elif source is ours:
                message = wire.unpack(bytes(memoryview(buffer)[:size]))
                dropped = message.counters["rows_dropped"]
                if message.kind is Kind.STEP and not isinstance(message.body, dict):
                    received += len(message.body.codes)
