"""Whether a ledger is being written, and since when: told by the lock that its writer holds.

It never keeps that lock, and knows nothing of what is written.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def started_ns(ledger: Path) -> int:
    """When its writer began, or the last one it had, which tells one life from the next; 0: nothing says so."""
    try:
        return Path(f"{ledger}.lock").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def written(ledger: Path) -> bool | None:
    """Whether a writer lives. None: another user's lock cannot be asked, which says nothing of either.

    To ask is to hold the lock for some microseconds: ask seldom, a writer that begins just then finds it taken.
    """
    try:
        fd = os.open(f"{ledger}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
