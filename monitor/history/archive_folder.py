"""Where the archive keeps what: the names below its folder, and nothing of what is in the files.

    spool/chunk-SEQUENCE-ROWS.chunk   ended by the line, not read yet      spool/chunk-SEQUENCE.open  being written
    work/                             the chunk that is being read, and `carry-SEQUENCE`: requests open after it
    refused/                          chunks and parts that could not be read
    outbox/                           what is to be sent to Kafka (monitor/scores)
    day=2026-11-29/part-FIRST-LAST-BANK.parquet   what chunks FIRST up to LAST held of one bank
    key                               32 random bytes that decide which requests the sample takes

Sequences only grow, over restarts too: the highest one is always the name of some file here.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK = re.compile(r"chunk-(\d{12})(?:-(\d{1,15}))?\.(chunk|open)")
CARRY = re.compile(r"carry-(\d{12})")
PART = re.compile(r"part-(\d{12})-(\d{12})-([0-9a-f]{12})\.parquet")
DAY = re.compile(r"day=(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True, slots=True, order=True)
class ChunkFile:
    """rows: tokens in it, as its name says; 0 while it is open."""

    sequence: int
    rows: int
    path: Path


@dataclass(frozen=True, slots=True, order=True)
class PartFile:
    """The codes of one bank out of chunks first up to last, both included."""

    day: str
    first: int
    last: int
    bank: str  # first 12 digits of its digest
    path: Path


@dataclass(frozen=True, slots=True)
class ArchiveFolder:
    """The folder `archive` under data-dir."""

    path: Path

    @property
    def spool(self) -> Path:
        return self.path / "spool"

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def refused(self) -> Path:
        return self.path / "refused"

    @property
    def outbox(self) -> Path:
        return self.path / "outbox"

    @property
    def key(self) -> Path:
        return self.path / "key"

    def make(self) -> None:
        for folder in (self.path, self.spool, self.work, self.refused):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def open_chunk(self, sequence: int) -> Path:
        return self.spool / f"chunk-{sequence:012d}.open"

    def sealed_chunk(self, sequence: int, rows: int) -> Path:
        return self.spool / f"chunk-{sequence:012d}-{rows}.chunk"

    def carry(self, sequence: int) -> Path:
        return self.work / f"carry-{sequence:012d}"

    def part(self, day: str, first: int, last: int, bank: str) -> PartFile:
        """bank: its digest."""
        short = bank[:12]
        name = f"part-{first:012d}-{last:012d}-{short}.parquet"
        return PartFile(day, first, last, short, self.path / f"day={day}" / name)

    def sealed(self) -> list[ChunkFile]:
        return sorted(_chunks(self.spool, "chunk"))

    def unsealed(self) -> list[ChunkFile]:
        """The one that is being written, or was when its writer died."""
        return sorted(_chunks(self.spool, "open"))

    def taken(self) -> list[ChunkFile]:
        return sorted(_chunks(self.work, "chunk"))

    def carries(self) -> list[tuple[int, Path]]:
        found = ((CARRY.fullmatch(path.name), path) for path in _inside(self.work))
        return sorted((int(match[1]), path) for match, path in found if match)

    def parts(self) -> list[PartFile]:
        """In the order of days and chunks, those that another one covers included."""
        return sorted(self._parts())

    def _parts(self) -> Iterator[PartFile]:
        for folder in _inside(self.path):
            day = DAY.fullmatch(folder.name)
            if day is None:
                continue
            for path in _inside(folder):
                if match := PART.fullmatch(path.name):
                    yield PartFile(day[1], int(match[1]), int(match[2]), match[3], path)

    def highest_sequence(self) -> int:
        """-1 where nothing was ever written. In this order, a chunk on its way is met at least once."""
        spooled = [chunk.sequence for chunk in (*self.sealed(), *self.unsealed())]
        worked = [chunk.sequence for chunk in self.taken()] + [s for s, _ in self.carries()]
        return max([-1, *spooled, *worked, *(part.last for part in self.parts())])


def uncovered(parts: list[PartFile]) -> list[PartFile]:
    """Without those that were merged into another one."""
    return sorted(part for part, into in covering(parts).items() if into is part)


def covering(parts: list[PartFile]) -> dict[PartFile, PartFile]:
    """Each with the one that has all of it: itself, or what it was merged into."""
    groups: dict[tuple[str, str], list[PartFile]] = {}
    for (
        part
    ) in parts:  # of one day: a clock that was set back puts later chunks into an earlier one
        groups.setdefault((part.day, part.bank), []).append(part)
    found: dict[PartFile, PartFile] = {}
    for ones in groups.values():
        into = None
        for one in sorted(ones, key=lambda part: (part.first, -part.last)):
            if into is None or one.last > into.last:
                into = one
            found[one] = into
    return found


def day_of(time_ns: int) -> str:
    """The ISO day of a wall clock, UTC."""
    seconds = time_ns // 1_000_000_000
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


def write_whole(path: Path, data: bytes) -> None:
    """The file is there whole or not at all, whatever happens meanwhile."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    keep(part, path)


def keep(part: Path, path: Path) -> None:
    """Give a finished file its name; it and the name survive power loss."""
    _sync(part)
    part.replace(path)
    _sync(path.parent)


def make_day(folder: Path) -> None:
    """Survives power loss."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _sync(folder.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _chunks(folder: Path, end: str) -> Iterator[ChunkFile]:
    for path in _inside(folder):
        match = CHUNK.fullmatch(path.name)
        if match and match[3] == end:
            yield ChunkFile(int(match[1]), int(match[2] or 0), path)


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
