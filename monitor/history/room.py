"""What is left of the disk, and who gives way when it is little: scores first, so that alerts have what there is.

It owns the order and the limits. Scores are not spooled while less than the reserve is free, or while the ledger is
near its quota; what that costs the spool counts. An alert is never given up: where the ledger itself can take no more,
nothing is accepted and nothing read, and the tap counts what it could not send.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESERVE_BYTES = 1 << 30
SHARE = 10
"""Of a small disk the reserve is one part in so many."""
NEAR = 0.9
"""Of the quota: from here on scores give way."""
BUSY_S = 0.1


@dataclass(frozen=True, slots=True)
class Disk:
    """In bytes."""

    free: int
    total: int

    @property
    def reserve(self) -> int:
        return min(RESERVE_BYTES, self.total // SHARE)


def disk_of(path: Path) -> Disk:
    found = os.statvfs(path)
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


@dataclass(frozen=True, slots=True)
class Room:
    """quota: of the ledger's file, in bytes; None: the disk's end is its own."""

    ledger: Path
    quota: int | None = None
    disk: Callable[[Path], Disk] = disk_of

    def for_scores(self) -> None:
        """Raises OSError: there is no room but for alerts."""
        disk, reason = self.disk(self.ledger.parent), None
        if disk.free < disk.reserve:
            reason = f"{disk.free >> 20} MiB are free, and {disk.reserve >> 20} are for alerts"
        elif self.quota is not None and (size := self._size()) > NEAR * self.quota:
            reason = f"the ledger has {size >> 20} MiB of the {self.quota >> 20} of its quota"
        if reason is not None:
            raise OSError(errno.ENOSPC, f"scores give way: {reason}")

    def status(self) -> dict[str, Any]:
        """None for what cannot be known: the folder may be gone."""
        disk: Disk | None = None
        with contextlib.suppress(OSError):
            disk = self.disk(self.ledger.parent)
        return {
            "free_bytes": disk and disk.free,
            "reserve_bytes": disk and disk.reserve,
            "ledger_bytes": self._size(),
            "quota_bytes": self.quota,
        }

    def _size(self) -> int:
        """What is used of the file: pages that are empty again stay in it, and are no reason to hold back.

        SQLite is asked. Were the file opened here and closed, this process would have no lock on it any more, and the
        next visitor's shell would remove the write-ahead log under the line.
        """
        try:
            uri = f"{self.ledger.resolve().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as db:
                page, pages, empty = (
                    int(db.execute(f"PRAGMA {name}").fetchone()[0])
                    for name in ("page_size", "page_count", "freelist_count")
                )
        except (sqlite3.Error, OSError):
            return 0
        return page * (pages - empty)
