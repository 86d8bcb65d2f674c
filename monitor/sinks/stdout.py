"""The plain sink: one canonical record per line, to standard output or to a file.

It owns nothing but the stream. A line is the exact bytes of the ledger, so `sha256sum` of a line
without its newline is the record's hash.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.config import StdoutConfig
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, retry


class StdoutSink:
    """Delivered means: handed to the operating system, in the file that has the name then."""

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
            left = memoryview(b"\n" + lines if self._torn else lines)
            self._torn = True  # until all of it is written
            while left:
                left = left[
                    stream.write(left) :
                ]  # a disk that fills takes a part, without an error
            stream.flush()
        except OSError as error:
            where = self._path or "standard output"
            return [retry(f"`{where}`: {error.strerror or error}")] * len(batch)
        self._torn = False
        return [DELIVERED] * len(batch)

    def _open(self) -> BinaryIO:
        if (
            self._stream is not None
            and self._path is not None
            and _is_gone(self._stream, self._path)
        ):
            self.close()  # it was moved or removed, as rotation does
        if self._stream is None:
            if self._given is not None:
                self._stream = self._given
            elif self._path is None:
                self._stream = sys.stdout.buffer
            else:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._path.open("ab", buffering=0)
                self._torn = _ends_torn(self._path)
        return self._stream

    def close(self) -> None:
        if self._path is not None and self._stream is not None:
            self._stream.close()
        self._stream = None


def _is_gone(stream: BinaryIO, path: Path) -> bool:
    """Whether another file has the name, or none."""
    try:
        return not os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return True


def _ends_torn(path: Path) -> bool:
    """Whether whoever wrote it before us, maybe killed, left the half of one."""
    if not path.is_file():  # of a pipe nothing can be read back
        return False
    with suppress(PermissionError), path.open("rb") as file:  # we may write it, and need no more
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    return False
