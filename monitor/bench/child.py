"""The other process of a benchmark: started, heard, and ended whatever happens.

A child that dies is an error of the benchmark at once, in the child's own words, and never a wait for
something that will not come. It knows nothing of what is measured.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

PATIENCE_S = 10.0


class BenchError(RuntimeError):
    """Nothing could be measured."""


@dataclass(frozen=True, slots=True)
class Failed:
    """What a child says of its own end."""

    error: str


class Child:
    """Runs `target(*arguments, pipe)` in a new interpreter, for the length of a `with`."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_run, args=(target, arguments, there), daemon=True)
        self._process.start()
        there.close()  # the child has the only other end, so that its death is heard here

    def send(self, message: object) -> None:
        self._pipe.send(message)

    def hear(self) -> Any:
        """What the child says next. Raises BenchError if it ended instead."""
        try:
            said = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(PATIENCE_S)
            said = Failed(f"exit code {self._process.exitcode}; it may have said more above")
        if isinstance(said, Failed):
            raise BenchError(f"the measured process ended: {said.error}")
        return said

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it with SIGTERM, and with SIGKILL if it does not go."""
        self._process.terminate()
        self._process.join(PATIENCE_S)
        self._process.kill()
        self._process.join()


def _run(target: Callable[..., None], arguments: tuple[object, ...], pipe: Connection) -> None:
    try:
        target(*arguments, pipe)
    except Exception as error:
        pipe.send(Failed(f"{type(error).__name__}: {error}"))
        raise
