"""One writer per file: an advisory lock, released by the kernel when its process dies.

It lives beside the file it protects and not on it, because closing any descriptor of a locked
SQLite database would drop SQLite's own locks. It knows nothing of what is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

ATTEMPTS, PAUSE_S = 3, 0.02
"""To ask whether a writer lives is to hold its lock for microseconds (feed/life.py)."""


class AlreadyWriting(RuntimeError):
    """Another process holds the writer's lock of this file."""

    def __init__(self, path: Path, holder: str) -> None:
        self.path, self.holder = path, holder
        super().__init__(
            f"{path}: already being written by process `{holder or 'unknown'}`\n"
            "  hint: stop that process, or give this one its own `data-dir`"
        )


class WriterLock:
    """Held from construction to `close`. Raises AlreadyWriting; waits no longer than for somebody who only asks."""

    def __init__(self, path: Path) -> None:
        """path is the file to protect; the lock is `<path>.lock`, left in place when released."""
        self._fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for _ in range(ATTEMPTS):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(PAUSE_S)
        else:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise AlreadyWriting(path, holder)
        with contextlib.suppress(OSError):  # a full disk: who holds it is a word for people
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
