"""How a log lies in files (C2SP tlog-tiles): names of tiles and entry bundles, and what is in them.

A tile is 256 hashes of one level, an entry bundle 256 entries with a length before each; at the
right edge both are partial. It reads and writes no file itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dosimeter.monitor.tlog.merkle import EMPTY_ROOT, tree_hash

WIDTH = 256
HEIGHT = 8
TILE_BYTES = WIDTH * 32
MAX_ENTRY = 65535
ENTRIES = "entries"
CHECKPOINT, CHECKPOINTS = "checkpoint", "checkpoints"


class BundleError(ValueError):
    """A bundle that ends inside an entry; `before` are the entries that come before."""

    def __init__(self, before: list[bytes]) -> None:
        self.before = before
        super().__init__(f"ends inside its entry {len(before)}")


def name(level: int | str, index: int, width: int = WIDTH) -> str:
    """Path under the log's folder; level is a number, or ENTRIES for a bundle."""
    parts = [f"{index % 1000:03}"]
    while index := index // 1000:
        parts.insert(0, f"x{index % 1000:03}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(parts)}{partial}"


def pack(leaves: Iterable[bytes]) -> bytes:
    """Entries as they stand in a bundle. Raises OverflowError beyond MAX_ENTRY bytes."""
    return b"".join([len(leaf).to_bytes(2, "big") + leaf for leaf in leaves])


def unpack(bundle: bytes) -> list[bytes]:
    leaves: list[bytes] = []
    at, end = 0, len(bundle)
    while at < end:
        start = at + 2
        at = start + (bundle[at] << 8 | bundle[at + 1]) if start <= end else end + 1
        if at > end:
            raise BundleError(leaves)
        leaves.append(bundle[start:at])
    return leaves


def edge(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, index, width) of the last tile of each level, lowest first; a width may be 0."""
    level = 0
    while size:
        yield level, size // WIDTH, size % WIDTH
        level, size = level + 1, size // WIDTH


def edge_root(tiles: Sequence[bytes]) -> bytes:
    """The root, from the partial tiles at the right edge, lowest level first."""
    below = b""
    for tile in tiles:
        if tile or below:
            below = tree_hash(tile + below)
    return below or EMPTY_ROOT


def split_notes(lines: Iterable[str]) -> Iterator[str]:
    """The signed notes in the text of CHECKPOINTS, which holds one after another."""
    note: list[str] = []
    for line in lines:
        if note and note[-1].startswith("— ") and not line.startswith("— "):
            yield "".join(note)
            note = []
        note.append(line)
    if note:
        yield "".join(note)
