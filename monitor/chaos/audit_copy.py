"""One copy of a history in the hands of an attacker: what they can do with its files, its database and its key.

Owns the tools: bundles, tiles, rows, Parquet, a log made anew over other entries. It knows neither who may use which
of them nor what is said about it afterwards.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dosimeter.monitor.audit.store.columns import NAMES, row_of
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.chaos.audit_history import Made
from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.note import Checkpoint, Note, Signer
from dosimeter.monitor.tlog.reader import LogReader
from dosimeter.monitor.tlog.tiles import ENTRIES, WIDTH
from dosimeter.monitor.tlog.writer import LogWriter
from dosimeter.rules.canonical import canonical

Row = tuple[Any, ...]
_INSERT = f"INSERT INTO entry (idx, leaf, {', '.join(NAMES)}) VALUES (?, ?, {', '.join('?' * len(NAMES))})"


class Copy:
    """root: a copy of that of `made`. dice: where and how, the same for the same seed."""

    def __init__(self, made: Made, root: Path, dice: Random) -> None:
        self.made, self.root, self.dice = made, root, dice
        self.folder = HistoryFolder(root / "history")

    # What lies in the log.

    def bundle(self, index: int) -> Path:
        """The file with this entry."""
        width = min(WIDTH, self.made.signed - index // WIDTH * WIDTH)
        return self.folder.log / tiles.name(ENTRIES, index // WIDTH, width)

    def tile(self, level: int, index: int) -> Path:
        size = self.made.signed >> 8 * level
        width = min(WIDTH, size - index * WIDTH)
        return self.folder.log / tiles.name(level, index, width)

    def in_bundle(self, index: int, change: Callable[[list[bytes], int], None]) -> None:
        """change: given the entries of the bundle and the place in it."""
        path = self.bundle(index)
        leaves = tiles.unpack(path.read_bytes())
        change(leaves, index % WIDTH)
        path.write_bytes(tiles.pack(leaves))

    def flip(self, path: Path, first: int = 0, past: int | None = None) -> int:
        """One bit of a file, anywhere in [first, past). Returns the byte."""
        data = bytearray(path.read_bytes())
        at = self.dice.randrange(first, len(data) if past is None else past)
        data[at] ^= 1 << self.dice.randrange(8)
        path.write_bytes(data)
        return at

    def leaves(self) -> list[bytes]:
        reader = LogReader(self.folder.log)
        return [leaf for _, leaf in reader.leaves(0)]

    def notes(self) -> list[Checkpoint]:
        return [
            Checkpoint.parse(Note.parse(note).text) for note in LogReader(self.folder.log).notes()
        ]

    def signer(self) -> Signer:
        return Signer.load(self.folder.signing_key)

    def relog(self, leaves: Sequence[bytes], signer: Signer | None = None) -> None:
        """All tiles anew, and with a key all checkpoints too; without, those that were signed stay."""
        draft = self.root / "draft"
        own = signer or Signer.generate("nobody")
        with LogWriter(draft, own) as writer:
            for note in self.notes():
                size = min(note.size, len(leaves))
                writer.append(writer.size, leaves[writer.size : size])
                writer.checkpoint(note.extensions)
            writer.append(writer.size, leaves[writer.size :])
            writer.checkpoint(self.notes()[-1].extensions)
        kept = ["key"] if signer else ["key", tiles.CHECKPOINT, tiles.CHECKPOINTS]
        for name in kept:
            shutil.copyfile(self.folder.log / name, draft / name)
        shutil.rmtree(self.folder.log)
        draft.rename(self.folder.log)

    def cut_log(self, note: int, *, whole: bool = True) -> int:
        """Everything after the checkpoint of this number is gone, and with `whole` the later checkpoints too."""
        notes = list(LogReader(self.folder.log).notes())
        size = Checkpoint.parse(Note.parse(notes[note]).text).size
        leaves = self.leaves()[:size]
        draft = self.root / "draft"
        with LogWriter(draft, Signer.generate("nobody")) as writer:
            writer.append(0, leaves)
            writer.checkpoint()
        for name in ("key", tiles.CHECKPOINT, tiles.CHECKPOINTS):
            shutil.copyfile(self.folder.log / name, draft / name)
        if whole:
            (draft / tiles.CHECKPOINT).write_text(notes[note])
            (draft / tiles.CHECKPOINTS).write_text("".join(notes[: note + 1]))
        shutil.rmtree(self.folder.log)
        draft.rename(self.folder.log)
        return size

    # What lies in the store.

    def sql(self, *statements: tuple[str, tuple[Any, ...]]) -> None:
        with closing(sqlite3.connect(self.folder.hot, isolation_level=None)) as db:
            db.execute("DROP TRIGGER IF EXISTS entry_is_immutable")
            for text, values in statements:
                db.execute(text, values)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def rows(self, text: str, *values: Any) -> list[Row]:
        with closing(sqlite3.connect(self.folder.hot)) as db:
            return db.execute(text, values).fetchall()

    def resize(self, size: int) -> tuple[str, tuple[Any, ...]]:
        return "UPDATE meta SET value = ? WHERE name = 'size'", (str(size),)

    def store_leaf(self, index: int, leaf: bytes) -> list[tuple[str, tuple[Any, ...]]]:
        """The row that says what this leaf says, in the place of what is there."""
        row = row_of(json.loads(leaf), self._terms(leaf))
        return [("DELETE FROM entry WHERE idx = ?", (index,)), (_INSERT, (index, leaf, *row))]

    def store_from(self, first: int, leaves: Sequence[bytes]) -> None:
        """The unsealed rows from this position on are these, and nothing behind."""
        parts: list[tuple[str, tuple[Any, ...]]] = [("DELETE FROM entry WHERE idx >= ?", (first,))]
        seen = dict[str, int]()
        for index, leaf in enumerate(leaves, first):
            said = json.loads(leaf)
            if seen.setdefault(said["id"], index) == index:
                parts.append((_INSERT, (index, leaf, *row_of(said, self._terms(leaf)))))
        self.sql(*parts, self.resize(first + len(leaves)))

    def _terms(self, leaf: bytes) -> dict[str, Any]:
        sha = json.loads(leaf).get("terms")
        if sha is None:
            return {}
        ((body,),) = self.rows("SELECT body FROM blob WHERE sha256 = ?", bytes.fromhex(sha))
        found: dict[str, Any] = json.loads(body)
        return found

    def tail(self) -> list[bytes]:
        """What is stored and not signed yet."""
        found = self.rows("SELECT leaf FROM entry WHERE idx >= ? ORDER BY idx", self.made.signed)
        return [leaf for (leaf,) in found]

    # What is sealed.

    def parquet(self, path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
        """Rows of a sealed file, rewritten with all it says about itself."""
        table = pq.read_table(path)
        rows = table.to_pylist()
        change(rows)
        path.unlink()
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path, compression="zstd")

    def segment(self) -> tuple[int, int, Path, Path]:
        """(first, past, core file, evidence file) of one of the sealed ranges."""
        every = self.rows("SELECT first, past, core, evidence FROM segment ORDER BY first")
        first, past, core, evidence = self.dice.choice(every)
        return first, past, self.folder.core / core, self.folder.evidence / str(evidence)

    # Where.

    def hot_index(self, *, before: int | None = None, after: int | None = None) -> int:
        """An entry that is signed and not sealed, whose kind nothing else hangs on."""
        first = max(self.made.sealed, after or 0)
        past = min(self.made.signed, self.made.signed if before is None else before)
        query = "SELECT idx FROM entry WHERE idx >= ? AND idx < ? AND kind = 'alert' ORDER BY idx"
        return int(self.dice.choice(self.rows(query, first, past))[0])

    def any_index(self) -> int:
        return self.dice.randrange(self.made.signed)

    def altered(self, leaf: bytes) -> bytes:
        """Says that the alert was less than it was."""
        said = json.loads(leaf)
        said["value_sum"] = int(said.get("value_sum", 0)) - self.dice.randrange(1, 1000)
        return canonical(said)

    def forged(self, like: bytes) -> bytes:
        """One more alert, which never was."""
        said = json.loads(self.altered(like))
        said["id"] = said["id"][:12] + self.dice.randbytes(10).hex()
        said.pop("evidence", None)
        return canonical(said)
