"""A search of every byte of every file of a folder for names that should be gone, and for keys.

Owns the ways a name can be written (UTF-8, UTF-16, hexadecimal, base64 at any of three places), and that compressed
columns are looked into as well. It never learns why they should be gone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class Traces:
    """mark: what all names have in it, ASCII. keys: of one length, 3 bytes at least."""

    def __init__(self, mark: str, keys: Sequence[bytes]) -> None:
        self._written = tuple(_ways(mark.encode()))
        self._keys = frozenset(keys)
        self._length = len(keys[0]) if keys else 0
        self._begin = np.zeros(1 << 24, bool)
        for key in keys:
            self._begin[int.from_bytes(key[:3])] = True

    def within(self, folder: Path) -> tuple[set[str], int]:
        """The files in which a name is, and how many of the keys are anywhere."""
        files: set[str] = set()
        keys: set[bytes] = set()
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            for data in _contents(path):
                if any(way in data for way in self._written):
                    files.add(str(path.relative_to(folder)))
                keys |= self._keys_in(data)
        return files, len(keys)

    def _keys_in(self, data: bytes) -> set[bytes]:
        if len(data) < max(3, self._length):
            return set()
        each = np.frombuffer(data, np.uint8).astype(np.uint32)
        begins = each[:-2] << 16 | each[1:-1] << 8 | each[2:]
        likely = np.flatnonzero(self._begin[begins]).tolist()
        return {data[at : at + self._length] for at in likely} & self._keys


def _ways(mark: bytes) -> Iterator[bytes]:
    yield mark
    yield mark.decode().encode("utf-16-le")
    yield mark.hex().encode()
    yield mark.hex().upper().encode()
    for before in range(3):
        text = base64.b64encode(bytes(before) + mark)
        whole = text[(8 * before + 5) // 6 : 8 * (before + len(mark)) // 6]
        yield whole
        yield whole.translate(bytes.maketrans(b"+/", b"-_"))


def _contents(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()
    if path.suffix == ".parquet":
        for column in pq.read_table(path).columns:
            if pa.types.is_string(column.type):
                yield "\0".join(text or "" for text in column.to_pylist()).encode()
            elif not pa.types.is_integer(column.type):
                yield b"\0".join(data or b"" for data in column.to_pylist())
