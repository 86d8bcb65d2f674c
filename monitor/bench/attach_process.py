"""A process of `dosimeter bench attach`: one way to read activations, in the environment that it needs.

It owns the start, the exchange of one JSON line a step, and the end, whatever happens. A peer's environment has another
interpreter and other packages than ours, so this is no `Child`. It knows nothing of what is measured.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
from collections import deque
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any

from dosimeter.monitor.bench.attach_setting import Setting, Step
from dosimeter.monitor.bench.child import BenchError

WORKER = "dosimeter.monitor.bench.attach_worker"
PATIENCE_S = 900.0  # a compiler of a model, on a busy machine
END_S = 10.0


class Process:
    """`kind` of the worker under `python`, for the length of a `with`."""

    def __init__(self, python: Path | str, kind: str, setting: Setting) -> None:
        self.kind = kind
        self._process = subprocess.Popen(
            [str(python), "-m", WORKER, kind, setting.as_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._last_words: deque[str] = deque(maxlen=1)
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ready(self) -> dict[str, Any]:
        """What the process says when it can be asked: its versions and its variants."""
        return self._hear()

    def step(self, phase: str, variant: str) -> Step:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `_hear` says how it ended
            self._process.stdin.write(json.dumps([phase, variant]) + "\n")
            self._process.stdin.flush()
        return Step(**self._hear())

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = ""
        if select.select([self._process.stdout], [], [], PATIENCE_S)[0]:
            line = self._process.stdout.readline()
            if not line:
                self._process.wait(END_S)
                self._listener.join(END_S)
                said = self._last_words[-1] if self._last_words else "without a word"
                raise BenchError(f"{self.kind}: ended: {said}")
        if not line:
            raise BenchError(f"{self.kind}: nothing heard for {PATIENCE_S:g} s")
        found: dict[str, Any] = json.loads(line)
        return found

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.strip():
                self._last_words.append(line.strip())

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(END_S)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(BrokenPipeError):  # of a last request that nobody took
                    pipe.close()
