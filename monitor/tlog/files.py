"""Files of a log on their way to the disk: named when whole, waited for before anything is signed.

Syncing overlaps with the next writes, a few files at a time. Owns descriptors and a small pool of
threads; knows nothing of what is in a file.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

SYNCERS = 4
MAX_UNSYNCED = 64  # files written and not yet on disk; each holds a descriptor
UNFINISHED = "unfinished"


class Files:
    """Writes under one folder, from one thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unfinished = folder / UNFINISHED
        self._unfinished.unlink(missing_ok=True)
        self._disk = ThreadPoolExecutor(SYNCERS, "tlog-sync")
        self._syncing: deque[Future[None]] = deque()
        self._renamed: set[Path] = set()  # folders with new names in them
        self._lost: OSError | None = None

    def read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Takes its name at once and reaches the disk meanwhile, at the latest in `sync`."""
        while len(self._syncing) >= MAX_UNSYNCED:
            self._reap()
        opened = self._create(data)
        try:
            self._rename(self.folder / name)
        except BaseException:
            os.close(opened)
            raise
        self._syncing.append(self._disk.submit(_sync_and_close, opened))

    def publish(self, name: str, data: bytes) -> None:
        """Replaces a file that must never be found torn, not even after a power cut."""
        _sync_and_close(self._create(data))
        self._rename(self.folder / name)
        self.sync()

    def append(self, name: str, at: int, data: bytes) -> None:
        """Adds data from byte `at` on, over whatever an interrupted attempt left there; synced."""
        opened = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(opened, at)
            os.lseek(opened, at, os.SEEK_SET)
            _write_all(opened, data)
            os.fsync(opened)
        finally:
            os.close(opened)
        self._renamed.add(self.folder)

    def sync(self) -> None:
        """All files and names written so far are on disk. Raises OSError, and then ever after:
        what a disk has refused once it may not report again."""
        while self._syncing:
            self._reap()
        self._syncing.extend(self._disk.submit(_sync_folder, path) for path in self._renamed)
        while self._syncing:
            self._reap()
        if self._lost is not None:
            raise self._lost
        self._renamed.clear()

    def close(self) -> None:
        self._disk.shutdown()

    def _reap(self) -> None:
        try:
            self._syncing.popleft().result()
        except OSError as error:
            self._lost = error
        if self._lost is not None:
            raise self._lost

    def _create(self, data: bytes) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        opened = os.open(self._unfinished, flags, 0o644)
        try:
            _write_all(opened, data)
        except BaseException:
            os.close(opened)
            raise
        return opened

    def _rename(self, path: Path) -> None:
        if path.parent not in self._renamed and not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            self._renamed.update(p for p in path.parents if p.is_relative_to(self.folder))
        self._unfinished.replace(path)
        self._renamed.add(path.parent)


def _write_all(opened: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(opened, rest) :]


def _sync_and_close(opened: int) -> None:
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _sync_folder(path: Path) -> None:
    _sync_and_close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
