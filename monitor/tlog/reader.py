"""Reads a log's folder: checkpoints, entries, proofs. Trusts what it reads as far as its caller does.

A proof from here is worth what its verification against a signed root says. Reading beside a
running writer is fine: what a checkpoint names is there before the checkpoint is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from dosimeter.monitor.tlog import merkle, tiles
from dosimeter.monitor.tlog.note import Checkpoint, Note, NoteError
from dosimeter.monitor.tlog.tiles import ENTRIES, WIDTH

TILES_KEPT = 64


class LogUnreadable(RuntimeError):
    """A file of the log is missing or cannot be what it should be."""


def notes_in(folder: Path) -> Iterator[str]:
    """All signed checkpoints that a log has kept, the oldest first; unread and unverified."""
    path = folder / tiles.CHECKPOINTS
    if path.exists():
        with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
            yield from tiles.split_notes(lines)


class LogReader:
    """The log as of the checkpoint that was there when it was opened; `refresh` looks again."""

    def __init__(self, folder: Path) -> None:
        """Raises LogUnreadable where there is no checkpoint."""
        self.folder = folder
        self._tile = lru_cache(TILES_KEPT)(self._read_tile)
        self.refresh()

    def refresh(self) -> None:
        """Goes on to the newest checkpoint. Raises LogUnreadable."""
        path = self.folder / tiles.CHECKPOINT
        try:
            self.note = path.read_text(encoding="utf-8")
            self.checkpoint = Checkpoint.parse(Note.parse(self.note).text)
        except FileNotFoundError:
            raise LogUnreadable(
                f"{path}: missing\n  hint: is this the folder of a log, and has it been signed yet?"
            ) from None
        except (NoteError, UnicodeDecodeError) as error:
            raise LogUnreadable(f"{path}: {error}") from None
        self._tile.cache_clear()  # a partial tile may be known wider by now

    @property
    def size(self) -> int:
        return self.checkpoint.size

    def notes(self) -> Iterator[str]:
        """All signed checkpoints kept so far, the oldest first; unread and unverified."""
        return notes_in(self.folder)

    def leaf(self, index: int) -> bytes:
        """Raises LogUnreadable, also for an index that the checkpoint does not cover."""
        return next(self.leaves(index, index + 1))[1]

    def leaves(self, first: int, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(index, entry) from `first` up to, not including, `end`; to the last one without it."""
        end = self.size if end is None else end
        if not 0 <= first <= end <= self.size:
            raise LogUnreadable(
                f"{self.folder}: entries {first} to {end - 1} are not within its {self.size}"
            )
        for bundle in range(first // WIDTH, (end + WIDTH - 1) // WIDTH):
            start = bundle * WIDTH
            held = self.bundle(bundle)
            for index in range(max(first, start), min(end, start + WIDTH)):
                yield index, held[index - start]

    def bundle(self, index: int) -> list[bytes]:
        """The entries of one bundle, as many as the checkpoint names. Raises LogUnreadable."""
        width = min(WIDTH, self.size - index * WIDTH)
        path, data = self._read(ENTRIES, index, width)
        try:
            leaves = tiles.unpack(data)
        except tiles.BundleError as error:
            raise LogUnreadable(f"{path}: {error}") from None
        if len(leaves) < width:
            raise LogUnreadable(f"{path}: {len(leaves)} entries where {width} should be")
        return leaves[:width]

    def hashes(self, level: int, index: int) -> bytes:
        """The hash of a perfect subtree, for `merkle`'s proofs. Raises LogUnreadable."""
        row, within = divmod(level, tiles.HEIGHT)
        first, count = index << within, 1 << within
        tile = self._tile(row, first // WIDTH)
        at = first % WIDTH * 32
        return merkle.tree_hash(tile[at : at + count * 32])

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Raises ProofError outside the tree and LogUnreadable."""
        return merkle.inclusion_proof(index, self._within(size), self.hashes)

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Raises ProofError where old is not before new, and LogUnreadable."""
        return merkle.consistency_proof(old, self._within(new), self.hashes)

    def root_at(self, size: int) -> bytes:
        return merkle.root_at(self._within(size), self.hashes)

    def _within(self, size: int | None) -> int:
        if size is not None and size > self.size:
            raise merkle.ProofError(f"{self.folder}: holds {self.size} entries, not `{size}`")
        return self.size if size is None else size

    def _read_tile(self, level: int, index: int) -> bytes:
        width = min(WIDTH, (self.size >> tiles.HEIGHT * level) - index * WIDTH)
        path, data = self._read(level, index, width)
        if len(data) < width * 32:
            raise LogUnreadable(f"{path}: {len(data)} bytes where {width * 32} should be")
        return data[: width * 32]

    def _read(self, level: int | str, index: int, width: int) -> tuple[Path, bytes]:
        """A partial tile or bundle, or the whole one that has replaced it since."""
        path = self.folder / tiles.name(level, index, width)
        try:
            return path, path.read_bytes()
        except FileNotFoundError:
            whole = self.folder / tiles.name(level, index)
        try:
            return whole, whole.read_bytes()
        except FileNotFoundError:
            raise LogUnreadable(
                f"{path}: missing, though the checkpoint names {self.size} entries"
            ) from None
