"""The plain sink: one canonical record per line, to standard output or to a file.

It owns nothing but the stream. A line is the exact bytes of the ledger, so `sha256sum` of a line
without its newline is the record's hash.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import BinaryIO

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.config import StdoutConfig
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, retry


class StdoutSink:
    """Delivered means: handed to the operating system."""

    def __init__(self, config: StdoutConfig, *, stream: BinaryIO | None = None) -> None:
        self.name = config.name
        self._path = config.path
        self._given = stream
        self._stream: BinaryIO | None = None
        self._torn = False

    def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
        lines = b"".join(alert.core + b"\n" for alert in batch)
        try:
            stream = self._open()
            # After a failed write half a line may stand there: close it off, so that the next one
            # is whole.
            stream.write(b"\n" + lines if self._torn else lines)
            stream.flush()
        except OSError as error:
            self._torn = True
            where = self._path or "standard output"
            return [retry(f"`{where}`: {error.strerror or error}")] * len(batch)
        self._torn = False
        return [DELIVERED] * len(batch)

    def _open(self) -> BinaryIO:
        if self._stream is None:
            if self._given is not None:
                self._stream = self._given
            elif self._path is None:
                self._stream = sys.stdout.buffer
            else:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._path.open("ab", buffering=0)
        return self._stream

    def close(self) -> None:
        if self._path is not None and self._stream is not None:
            self._stream.close()
        self._stream = None
