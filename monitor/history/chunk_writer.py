"""Chunk files on disk: one is written, ends at a size or an age, and the oldest give way when all are too large.

Records are appended in groups, each there whole or not at all as far as this process can help it. Use it from one
thread. It knows nothing of queues, and of the clock what it is told.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.chunk import Bank, ProgramText, Record, Rows, Seal, encode, header
from dosimeter.monitor.history.chunk_reader import SpoolError, read_chunk

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """chunk_bytes and chunk_ns: at which a chunk ends. total_bytes: of all that nobody has read yet."""

    chunk_bytes: int = 32 << 20
    chunk_ns: int = 60_000_000_000
    total_bytes: int = 4 << 30


class ChunkWriter:
    """rows_expired: tokens in chunks that nobody read in time; chunks_expired: how many those were."""

    def __init__(self, folder: ArchiveFolder, limits: ChunkLimits) -> None:
        self._folder, self._limits = folder, limits
        self.rows_expired = self.chunks_expired = 0
        self._fd = -1
        self._sequence = folder.highest_sequence()
        self._size = self._rows = self._began_ns = 0
        self._sealed = False  # the chunk says that it is whole, and has not its name yet
        self._named: set[str] = set()  # digests of banks and programs that this chunk holds

    def append(self, records: Sequence[Record], now_ns: int) -> None:
        """Raises OSError: nothing of the group is in the file; try again."""
        self.tick(now_ns)
        if self._fd < 0:
            self._begin(now_ns)
        named: set[str] = set()
        pieces: list[bytes] = []
        rows = 0
        for record in records:
            if isinstance(record, Bank | ProgramText):
                if record.digest in self._named or record.digest in named:
                    continue
                named.add(record.digest)
            elif isinstance(record, Rows):
                rows += len(record.codes)
            pieces.append(encode(record))
        self._write(b"".join(pieces))
        self._rows += rows
        self._named |= named

    def tick(self, now_ns: int) -> None:
        """End a chunk that has become large or old, or older than the clock says. Raises OSError."""
        if self._fd < 0:
            return
        goes_on = 0 <= now_ns - self._began_ns < self._limits.chunk_ns
        if self._sealed or not goes_on or self._size >= self._limits.chunk_bytes:
            self.end()

    def end(self) -> None:
        """Give the chunk to whoever reads it. Raises OSError: nothing comes behind it; try again."""
        if self._fd < 0:
            return
        if not self._sealed:
            self._write(encode(Seal(self._rows)))
            self._sealed = True
        open_path = self._folder.open_chunk(self._sequence)
        open_path.replace(self._folder.sealed_chunk(self._sequence, self._rows))
        fd, self._fd = self._fd, -1
        os.close(fd)
        try:
            self._expire()
        except OSError as error:  # the chunk is whole: the next one tries again
            log.error("old chunks are not removed: %s", error)

    def _begin(self, now_ns: int) -> None:
        sequence = self._sequence + 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._fd = os.open(self._folder.open_chunk(sequence), flags, 0o600)
        self._size = self._rows = 0
        try:
            self._write(header(sequence, now_ns))
        except OSError:
            os.close(self._fd)
            self._fd = -1
            raise
        self._sequence, self._began_ns = sequence, now_ns
        self._named, self._sealed = set(), False

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.pwrite(self._fd, view, self._size + len(data) - len(view)) :]
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def _expire(self) -> None:
        chunks = self._folder.sealed()
        sizes = {chunk.path: file_size(chunk.path) for chunk in chunks}
        total = sum(sizes.values())
        for chunk in chunks[:-1]:
            if total <= self._limits.total_bytes:
                return
            total -= sizes[chunk.path]
            try:
                chunk.path.unlink()
            except FileNotFoundError:  # the archive has just taken it
                continue
            self.rows_expired += chunk.rows
            self.chunks_expired += 1
            log.warning("%s was never read and gave way: is `dosimeter archive` alive?", chunk.path)


def file_size(path: Path) -> int:
    """0 for one that is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def end_leftovers(folder: ArchiveFolder) -> None:
    """What a writer that died left open ends here, as far as it is whole. Hold the lock of the spool."""
    for chunk in folder.unsealed():
        try:
            rows = read_chunk(chunk.path).rows
        except SpoolError as error:
            log.error("%s", error)
            chunk.path.replace(folder.refused / chunk.path.name)
        else:
            chunk.path.replace(folder.sealed_chunk(chunk.sequence, rows))
