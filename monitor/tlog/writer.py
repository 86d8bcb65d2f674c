"""The one process that writes a log: entries in, tiles and signed checkpoints out.

The folder holds `tile/`, `checkpoint` and `checkpoints`, every note signed so far. A file appears
under its name when all of it is written, and a checkpoint is signed when all it names is on disk.
After a crash the log is what its last checkpoint says; what was appended after that is expected
again from whoever holds the entries. It knows nothing of what an entry means.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from dosimeter.monitor.history.lock import WriterLock
from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.files import Files
from dosimeter.monitor.tlog.merkle import leaf_hash, tree_hash
from dosimeter.monitor.tlog.note import Checkpoint, NoteError, Signer
from dosimeter.monitor.tlog.tiles import ENTRIES, WIDTH

NOTE_TAIL = 1 << 16  # of `checkpoints`, read when opening; a note of ours is about 250 bytes


class LogError(RuntimeError):
    """The log cannot be continued, or not with these entries."""


class LogConflict(LogError):
    """Another entry already stands at this index."""

    def __init__(self, folder: Path, index: int) -> None:
        self.index = index
        super().__init__(
            f"{folder}: entry `{index}` is another one than what is now given for it\n"
            "  hint: the log only grows; check which of the two stores was changed or restored"
        )


class LogDamaged(LogError):
    """What is on disk is not what the last checkpoint signed."""

    def __init__(self, where: Path, why: str) -> None:
        super().__init__(
            f"{where}: {why}\n  hint: keep this folder as it is, run `audit verify` on it, "
            "and go on from a backup"
        )


class LogWriter:
    """Holds the lock `<folder>/log.lock` from construction to `close`. Not for several threads."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        """Opens or begins the log. Raises AlreadyWriting, LogDamaged and OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._signer = folder, signer
        self._lock = WriterLock(folder / "log")
        try:
            self._begin()
        except BaseException:
            self._lock.close()
            raise

    def _begin(self) -> None:
        self.size = 0
        self._edge = [b""]  # the last, partial tile of each level
        self._bundle = b""  # the last, partial bundle
        self._note: str | None = None  # the last checkpoint
        self._notes_bytes = 0
        self._replaced: list[Path] = []  # folders of partial tiles that are whole by now
        self._files = Files(self.folder)
        try:
            self._recover()
        except BaseException:
            self._files.close()
            raise

    def restart(self) -> None:
        """After an OSError: goes on from the last checkpoint, as after a crash, so that all since then is written anew.

        What a disk has refused once it may not report again. Raises LogDamaged, and OSError: to be called again.
        """
        self._files.close()
        self._begin()

    def append(self, first: int, leaves: Sequence[bytes]) -> None:
        """Entries from index `first` on; those already there must be the same.

        Raises LogConflict, LogError for a gap or an entry that is too long, and OSError; what came
        before the error is in, so that the call can be made again.
        """
        if first > self.size:
            raise LogError(f"{self.folder}: entries {self.size} to {first - 1} were left out")
        longest = max(map(len, leaves), default=0)
        if longest > tiles.MAX_ENTRY:
            raise LogError(f"an entry of {longest} bytes; a log takes at most {tiles.MAX_ENTRY}")
        known = min(self.size - first, len(leaves))
        for offset in range(known):
            if self._hash_at(first + offset) != leaf_hash(leaves[offset]):
                raise LogConflict(self.folder, first + offset)
        while known < len(leaves):
            more = leaves[known : known + WIDTH - self.size % WIDTH]
            self._extend(more)
            known += len(more)

    def checkpoint(self, extensions: Sequence[str] = (), also: Signer | None = None) -> str:
        """Makes all entries durable and signs their root. The signed note; raises OSError.

        also: another who signs it, as the next key does.
        """
        made = Checkpoint(
            self._signer.name, self.size, tiles.edge_root(self._edge), tuple(extensions)
        )
        note = self._signer.sign(str(made)) + ("" if also is None else also.line(str(made)))
        if note == self._note:
            return note
        for level, index, width in tiles.edge(self.size):
            if level == 0 and width:
                self._files.write(tiles.name(ENTRIES, index, width), self._bundle)
            if width:
                self._files.write(tiles.name(level, index, width), self._edge[level])
        self._files.sync()
        while self._replaced:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._replaced[-1])
            self._replaced.pop()
        self._files.append(tiles.CHECKPOINTS, self._notes_bytes, note.encode())
        self._notes_bytes += len(note.encode())
        self._files.publish(tiles.CHECKPOINT, note.encode())
        self._note = note
        return note

    def close(self) -> None:
        """Ends without a checkpoint."""
        self._files.close()
        self._lock.close()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _extend(self, leaves: Sequence[bytes]) -> None:
        """Adds entries up to the end of the last bundle at most, and writes out what became whole.

        State changes last: after an error of the disk the same entries can be given again.
        """
        sha = sha256
        bundle = self._bundle + tiles.pack(leaves)
        edge = list(self._edge)
        edge[0] += b"".join([sha(b"\0" + leaf).digest() for leaf in leaves])
        size = self.size + len(leaves)
        if size % WIDTH == 0:
            index = size // WIDTH - 1
            self._write_bundle(index, bundle)
            bundle = b""
            for level, tile in enumerate(edge):
                if len(tile) < tiles.TILE_BYTES:
                    break
                self._write_whole(tiles.name(level, index), tile)
                edge[level], index = b"", index // WIDTH
                if level + 1 == len(edge):
                    edge.append(b"")
                edge[level + 1] += tree_hash(tile)
        self.size, self._edge, self._bundle = size, edge, bundle

    def _hash_at(self, index: int) -> bytes:
        tile, at = index // WIDTH, index % WIDTH * 32
        if tile == self.size // WIDTH:
            return self._edge[0][at : at + 32]
        with (self.folder / tiles.name(0, tile)).open("rb") as file:
            file.seek(at)
            return file.read(32)

    def _write_bundle(self, index: int, bundle: bytes) -> None:
        """Where an intact one is there, written after the last checkpoint, it must be the same."""
        found = self._files.read(tiles.name(ENTRIES, index))
        if found is not None and found != bundle:
            with contextlib.suppress(tiles.BundleError):
                there, given = tiles.unpack(found), tiles.unpack(bundle)
                if b"".join(map(leaf_hash, there)) == self._files.read(tiles.name(0, index)):
                    pairs = enumerate(zip(there, given, strict=False))
                    at = next((n for n, (old, new) in pairs if old != new), len(there))
                    raise LogConflict(self.folder, index * WIDTH + at)
        self._write_whole(tiles.name(ENTRIES, index), bundle)

    def _write_whole(self, name: str, data: bytes) -> None:
        self._files.write(name, data)
        self._replaced.append(self.folder / f"{name}.p")

    def _recover(self) -> None:
        last, published = self._last_kept(), self._files.read(tiles.CHECKPOINT)
        where = self.folder / tiles.CHECKPOINTS
        newest = self._open(where, last) if last else None
        if published is not None:
            path = self.folder / tiles.CHECKPOINT
            shown = self._open(path, published.decode("utf-8", "replace"))
            if newest is None or newest.size < shown.size:
                raise LogDamaged(where, f"does not hold the one over {shown.size} entries")
            if newest.size == shown.size and newest.root != shown.root:
                raise LogDamaged(path, f"two roots were signed over the same {shown.size} entries")
        if newest is None or last is None:
            return
        self._load(newest)
        self._note = last
        if published != last.encode():  # interrupted between keeping it and publishing it
            note = last.encode()
            self._files.append(tiles.CHECKPOINTS, self._notes_bytes - len(note), note)
            self._files.publish(tiles.CHECKPOINT, note)

    def _last_kept(self) -> str | None:
        """The last whole note in `checkpoints`; a write that was cut off after it is dropped."""
        path = self.folder / tiles.CHECKPOINTS
        if not path.exists():
            return None
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - NOTE_TAIL)
            file.seek(start)
            tail = file.read()
        lines = tail.splitlines(keepends=True)
        while lines and not (lines[-1].startswith("— ".encode()) and lines[-1].endswith(b"\n")):
            lines.pop()
        self._notes_bytes = start + sum(map(len, lines))
        notes = list(tiles.split_notes(line.decode("utf-8", "replace") for line in lines))
        return notes[-1] if notes else None

    def _open(self, where: Path, note: str) -> Checkpoint:
        try:
            found = Checkpoint.open(note, self._signer.verifier)
        except NoteError as error:
            raise LogDamaged(where, str(error)) from None
        if found.origin != self._signer.name:
            raise LogDamaged(where, f"is of another log, `{found.origin}`")
        return found

    def _load(self, last: Checkpoint) -> None:
        """The right edge as the last checkpoint signed it."""
        bundle, edge = b"", []
        for level, index, width in tiles.edge(last.size):
            edge.append(self._read_edge(level, index, width, last)[: width * 32] if width else b"")
            if level == 0 and width:
                bundle = self._read_edge(ENTRIES, index, width, last)
        whole = all(
            len(tile) == at[2] * 32 for tile, at in zip(edge, tiles.edge(last.size), strict=True)
        )
        if not whole or tiles.edge_root(edge) != last.root:
            raise LogDamaged(
                self.folder / "tile",
                f"its tiles do not give the root signed over {last.size} entries",
            )
        with contextlib.suppress(tiles.BundleError):
            leaves = tiles.unpack(bundle)[: last.size % WIDTH]
            if not edge or b"".join(map(leaf_hash, leaves)) == edge[0]:
                self.size, self._edge = last.size, edge or [b""]
                self._bundle = tiles.pack(leaves)
                return
        where = self.folder / tiles.name(ENTRIES, last.size // WIDTH, last.size % WIDTH)
        raise LogDamaged(where, "its entries are not those of the tile beside it")

    def _read_edge(self, level: int | str, index: int, width: int, last: Checkpoint) -> bytes:
        """A partial tile or bundle, or the whole one that has replaced it since."""
        name = tiles.name(level, index, width)
        found = self._files.read(name)
        if found is None:
            found = self._files.read(tiles.name(level, index))
        if found is None:
            raise LogDamaged(
                self.folder / name, f"missing, though the checkpoint names {last.size} entries"
            )
        return found
