"""The line of `dosimeter bench reload`, and the model server that is played to it in its own thread.

Requests live longer than rules do: each hits every rule in turn, under the rules it began with. It owns what is sent
and how long each turn took; rules come from outside.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.detectors.frames import CODES_PER_SD, ROWS, Codes
from dosimeter.monitor import status
from dosimeter.monitor.bench.child import BenchError
from dosimeter.monitor.bench.reload_files import FEATURES, PACK, features
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.pipeline import Pipeline
from dosimeter.monitor.receive import Receiver
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.wire import Kind
from dosimeter.monitor.writer import Writer

REQUESTS, PROMPT, LENGTH = 64, 4, 100
EARLY, LATE = 20, 80
"""Tokens of a request at which it hits rules: under the same ones, though others came in between."""
FRAMES_PER_S = 100
EPOCH = 7
PATIENCE_S = 60.0


@dataclass
class Turns:
    """How long one frame took, from its send to the decision, in ms."""

    quiet: list[float] = field(default_factory=list)
    working: list[float] = field(default_factory=list)  # while files were read, tested, compiled
    swapping: list[float] = field(default_factory=list)  # in which other rules were taken over


class Line:
    """The sidecar's line and the server that is played to it."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.ahead_ns = 0
        self.working = threading.Event()
        self.swapped = threading.Event()
        self.rulebook = Rulebook((folder / "rules",), (folder / "calibration",))
        if self.rulebook.error is not None:
            raise BenchError(self.rulebook.error)
        self._writer = Writer(ledger, Refused.beside(ledger.path)).start()
        self.pipeline = Pipeline(
            Receiver(folder / "tap.sock"),
            self.rulebook,
            self._writer,
            monotonic_ns=lambda: time.monotonic_ns() + self.ahead_ns,
            time_ns=lambda: time.time_ns() + self.ahead_ns,
        )
        columns = [{"feature": f, "pack": PACK, "packName": "bench"} for f in features()]
        hello = {"role": "tap", "state": "live", "columns": columns}
        self._sender = Sender(folder / "tap.sock", EPOCH, lambda: hello, list)
        self._sender.tick()
        while EPOCH not in self.pipeline.servers:
            self.pipeline.turn()
        self._lengths: dict[int, int] = {}  # of open requests, by key
        self._key = self._frames = 0
        self._codes = _risen()

    @property
    def in_force(self) -> str:
        return self.pipeline.servers[EPOCH].engine.program.digest

    def play_for(self, seconds: float) -> Iterator[None]:
        for _ in range(int(seconds * FRAMES_PER_S)):
            yield

    def play_while(self, work: Callable[[], None]) -> Iterator[None]:
        """Frames until `work`, on a thread of its own, is done. Raises BenchError if it failed."""
        failed: list[BaseException] = []

        def keeping() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=keeping, name="rules-watch", daemon=True)
        thread.start()
        while thread.is_alive():
            yield
        if failed:
            raise BenchError(f"the reloads ended: {failed[0]!r}")

    def turns(self, frames: Iterator[None]) -> Turns:
        """Plays a frame for each of `frames`, FRAMES_PER_S at most."""
        found = Turns()
        due = time.perf_counter()
        for _ in frames:
            due = max(due + 1 / FRAMES_PER_S, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
            rows, codes = self._frame()
            working, before = self.working.is_set(), self.in_force
            began = time.perf_counter()
            self._sender.step(rows, codes, self.pipeline.monotonic_ns(), self.pipeline.time_ns())
            while self.pipeline.turn(0):
                pass
            took = 1000 * (time.perf_counter() - began)
            if self.in_force != before:
                found.swapping.append(took)
                self.swapped.set()
            elif working:
                found.working.append(took)
            elif not self.working.is_set():
                found.quiet.append(took)
            self._frames += 1
            if self._frames % (FRAMES_PER_S // 2) == 0:
                self._sender.tick()
        return found

    def end(self) -> tuple[Any, int, int, int]:
        """Coverage, rows dropped, rows not evaluated, entries not committed."""
        for key, length in list(self._lengths.items()):
            self._close(key, length)
        self._sender.tick()
        self._sender.tick()
        while self.pipeline.turn(0.05):
            pass
        self.pipeline.flush()
        committed = self._writer.stop(PATIENCE_S)
        account = status.coverage(self.pipeline)
        unknown = self.pipeline.servers[EPOCH].engine.rows_unknown
        dropped = self._sender.counters()["rows_dropped"]
        self._sender.close()
        self.pipeline.receiver.close()
        return account, dropped, unknown, self._writer.refused + int(not committed)

    def _frame(self) -> tuple[Any, Any]:
        """One token of each request; the first frame of a new one is its prompt."""
        for key, length in list(self._lengths.items()):
            if length >= LENGTH:
                self._close(key, length)
        entries, blocks = [], []
        new = min(REQUESTS - len(self._lengths), 1 + REQUESTS // 32)
        for _ in range(new):
            self._key += 1
            self._lengths[self._key] = 0
            self._sender.control(Kind.OPEN, _opened(self._key))
        for key, length in self._lengths.items():
            n = 1 if length else PROMPT
            entries.append((key, length, n, 0, int(not length)))
            blocks.append(self._codes[key % FEATURES, length : length + n])
            self._lengths[key] = length + n
        return np.array(entries, ROWS), np.concatenate(blocks)

    def _close(self, key: int, length: int) -> None:
        del self._lengths[key]
        record = {"key": key, "outcome": "finished", "served": length, "emitted": length}
        self._sender.control(Kind.CLOSE, record)


def _risen() -> Codes:
    """Of FEATURES kinds of requests, codes of each token: two features rise to 9 sd, early and late."""
    codes = np.zeros((FEATURES, LENGTH, FEATURES), np.int16)
    for kind in range(FEATURES):
        for feature, begin in ((kind, EARLY), ((kind + 5) % FEATURES, LATE)):
            codes[kind, begin : begin + 8, feature] = 9 * CODES_PER_SD
    return codes


def _opened(key: int) -> dict[str, Any]:
    record = {"key": key, "prompt_len": PROMPT, "labels": {"request_id": str(key)}}
    return record | {"spans": [[2, 0, PROMPT]], "spans_exact": True, "trusted": []}
