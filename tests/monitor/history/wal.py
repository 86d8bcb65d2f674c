"""A write-ahead log of SQLite, cut: which lengths are tried, and how many commits each still has whole.

The count comes from the file format (sqlite.org/fileformat2.html, 4.1 and 4.2) and not from SQLite.
Tests try the lengths around the end of each commit and of the headers, and some by chance; `wal_sweep.py` tries every
byte.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

HEADER, FRAME_HEADER = 32, 24


def ends_of_commits(wal: bytes) -> list[int]:
    """Where each commit is whole. A frame that ends one says how many pages the database then has."""
    frame = FRAME_HEADER + int.from_bytes(wal[8:12], "big")
    starts = range(HEADER, len(wal) - frame + 1, frame)
    salts = [
        at for at in starts if wal[at + 8 : at + 16] == wal[16:24]
    ]  # others are of a log before
    return [at + frame for at in salts if int.from_bytes(wal[at + 4 : at + 8], "big")]


def lengths(wal: bytes) -> list[int]:
    edges = {0, 1, HEADER - 1, HEADER, HEADER + FRAME_HEADER, len(wal)}
    edges |= {end + more for end in ends_of_commits(wal) for more in (-1, 0, 1)}
    edges |= set(random.Random(7).sample(range(len(wal)), 12))
    return sorted(one for one in edges if one <= len(wal))


def cut(db: Path, to: Path, tried: Callable[[bytes], Iterable[int]] = lengths) -> Iterator[int]:
    """`db`, which is open, as a loss of power would leave it at `to`; yields how many commits of its log are whole."""
    wal = Path(f"{db}-wal").read_bytes()
    ends = ends_of_commits(wal)
    whole = db.read_bytes()
    for length in tried(wal):
        for suffix in ("-wal", "-shm"):
            Path(f"{to}{suffix}").unlink(missing_ok=True)
        to.write_bytes(whole)
        Path(f"{to}-wal").write_bytes(wal[:length])
        yield sum(end <= length for end in ends)


def beside(folder: Path, to: Path) -> None:
    """A copy of all else that is in a folder."""
    shutil.copytree(folder, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.db*"))
