"""Attacks on the tap's socket, by a process of the same user: what whoever can open it can do."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Generator
from pathlib import Path

import numpy as np

from dosimeter.detectors.frames import ROWS
from dosimeter.monitor.chaos.arena import Arena
from dosimeter.monitor.chaos.attack import Attack
from dosimeter.monitor.chaos.callers import answered, repeated
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.wire import Kind

HELD = 64
FLOOD_ROWS = 64
HOSTILE = r"socket\.hostile"


def connected(path: Path) -> socket.socket:
    here = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here.settimeout(2)
    here.connect(str(path))
    return here


def garbage(arena: Arena) -> Generator[None]:
    with connected(arena.socket) as here:
        here.send(b"GET / HTTP/1.1\r\n\r\n")
        yield


def oversized(arena: Arena) -> Generator[None]:
    with connected(arena.socket) as here:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        here.send(bytes(wire.MAX_MESSAGE + 1))
        yield


def filled(arena: Arena) -> Generator[None]:
    """All places taken, and then the tap's own connection breaks and cannot come back."""
    with contextlib.ExitStack() as stack:
        for _ in range(HELD + 8):
            with contextlib.suppress(OSError):
                stack.enter_context(connected(arena.socket))
        arena.fault("connection-cut")
        yield
    arena.mend("connection-cut")


def stolen(arena: Arena) -> Generator[None]:
    """Another process listens at the path; the tap's connection breaks, and it comes back to the thief."""
    kept = arena.socket.with_name("kept.sock")
    arena.socket.rename(kept)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as thief:
        thief.bind(str(arena.socket))
        thief.listen()
        arena.fault("connection-cut")
        yield
    arena.mend("connection-cut")
    arena.socket.unlink()
    kept.rename(arena.socket)


def removed(arena: Arena) -> Generator[None]:
    kept = arena.socket.with_name("kept.sock")
    arena.socket.rename(kept)
    yield
    if not arena.socket.exists():
        kept.rename(arena.socket)


def impostor(arena: Arena) -> Generator[None]:
    """Speaks for the server's epoch and ends every request it may have open, as often as it can."""
    status = arena.stage.status()
    assert status is not None  # the stage was well a moment ago
    [tap] = [tap for tap in status["taps"] if tap["pid"] == arena.server.pid]
    epoch, counters = int(tap["epoch"], 16), [0] * len(wire.COUNTERS.names or ())
    calls = [reply.request_id for reply in answered(arena.bystander.replies)]
    newest = max(int(str(a["key"]), 16) for call in calls[-3:] for a in arena.scores.alerts(call))
    hello = {"role": "tap+front", "pid": tap["pid"], "state": "live", "columns": []}
    close = {"outcome": "cancelled", "served": 0, "served_source": "tap"}

    def speak() -> None:
        with contextlib.suppress(OSError), connected(arena.socket) as here:
            for seq in range(64):
                kind, body = Kind.HELLO, hello
                if seq:
                    kind, body = Kind.CLOSE, close | {"key": newest + seq}
                here.send(wire.control_message(kind, epoch, seq, counters, wire.control_body(body)))

    with repeated(speak, every_s=0.2):
        yield


def flood(arena: Arena) -> Generator[None]:
    """A speaker with an epoch of its own sends rows of requests that nobody opened, as fast as they are taken."""
    epoch, counters = 1 << 62, [0] * len(wire.COUNTERS.names or ())
    rows = np.array([(1, 0, FLOOD_ROWS, 0, 0)], ROWS)
    codes = np.zeros((FLOOD_ROWS, 1), np.int16)
    column = {"feature": "scam", "pack": "00" * 32, "packName": "none"}
    hello = {"role": "tap", "state": "live", "columns": [column]}
    with connected(arena.socket) as here:
        here.send(wire.control_message(Kind.HELLO, epoch, 0, counters, wire.control_body(hello)))

        def burst() -> None:
            for seq in range(1000):
                prefix = wire.step_prefix(epoch, seq, counters, rows, codes)
                with contextlib.suppress(OSError):
                    here.send(prefix + rows.tobytes() + codes.tobytes())

        with repeated(burst, every_s=0.0):
            yield


ATTACKS = (
    Attack("socket-garbage", "writes nonsense on the socket", garbage, HOSTILE),
    Attack("socket-oversized", "sends a message above the largest size", oversized, HOSTILE),
    Attack(
        "socket-filled",
        "holds every place on the socket, then breaks the tap's connection",
        filled,
        r"socket\.refused|tap of pid \d+: absent",
        others="counted",
    ),
    Attack(
        "socket-stolen",
        "listens at the socket's path in the sidecar's place",
        stolen,
        r"socket\.lost|tap of pid \d+: absent",
        others="counted",
    ),
    Attack("socket-removed", "takes the socket file away", removed, r"socket\.lost"),
    Attack(
        "socket-flood",
        "sends rows of requests that nobody opened, as fast as they are taken",
        flood,
        r"rows_without_open",
    ),
    Attack(
        "impostor",
        "speaks for another process's epoch and closes its requests",
        impostor,
        HOSTILE,
    ),
)
