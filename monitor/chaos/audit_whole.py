"""Manipulations by root of log and store together, so that they agree: entries with all tiles, tails, whole folders.

Each is one function over a copy; the table at the end says what must be found. The signing key is not theirs.
"""

from __future__ import annotations

import json
import shutil

from dosimeter.monitor.chaos.audit_attack import Manipulation, Where
from dosimeter.monitor.chaos.audit_copy import Copy
from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.note import Checkpoint, Signer
from dosimeter.monitor.tlog.rotation import extensions


def change_with_tiles(c: Copy) -> Where:
    """Entry, row and every tile, so that only the signature is of another tree."""
    index = c.hot_index()
    leaves = c.leaves()
    leaves[index] = c.altered(leaves[index])
    c.relog(leaves)
    c.sql(*c.store_leaf(index, leaves[index]))
    return Where(start=index)


def delete_with_tiles(c: Copy) -> Where:
    index = c.hot_index()
    leaves = c.leaves()
    del leaves[index]
    c.relog(leaves)
    c.store_from(index, leaves[index:] + c.tail())
    return Where(start=index)


def insert_with_tiles(c: Copy) -> Where:
    index = c.hot_index()
    leaves = c.leaves()
    leaves.insert(index, c.forged(leaves[index]))
    c.relog(leaves[: c.made.signed])
    c.store_from(index, leaves[index:] + c.tail())
    return Where(start=index)


def cut_tail(c: Copy) -> Where:
    """Entries and tiles; the checkpoints over them stay."""
    size = c.cut_log(len(c.notes()) - 2, whole=False)
    return Where(start=size)


def cut_tail_and_checkpoints(c: Copy) -> Where:
    """Back to a checkpoint that the anchors know to be an old one, in log and store."""
    numbers = [
        n for n, note in enumerate(c.notes()) if c.made.sealed <= note.size < c.made.anchored
    ]
    return _cut(c, c.dice.choice(numbers))


def cut_unanchored_tail(c: Copy) -> Where:
    numbers = [n for n, note in enumerate(c.notes()[:-1]) if note.size >= c.made.anchored]
    return _cut(c, c.dice.choice(numbers))


def roll_back(c: Copy) -> Where:
    """The whole folder as it was before the last anchored checkpoint."""
    return _restore(c, "early")


def roll_back_unanchored(c: Copy) -> Where:
    return _restore(c, "late")


def roll_back_store(c: Copy) -> Where:
    """The database alone: the log has more than it."""
    shutil.copyfile(c.root / "backup" / "late" / "hot.db", c.folder.hot)
    ((size,),) = c.rows("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'size'")
    return Where(start=size)


def delete_log(c: Copy) -> Where:
    shutil.rmtree(c.folder.log / "tile")
    return Where(start=0)


def swap_key(c: Copy) -> Where:
    """All of it signed anew with a key of their own, whose public half replaces log/key."""
    other = Signer.generate(c.made.verifier.name)
    leaves = c.leaves()
    index = c.hot_index()
    leaves[index] = c.altered(leaves[index])
    c.relog(leaves, other)
    c.sql(*c.store_leaf(index, leaves[index]))
    (c.folder.log / "key").write_text(other.verifier.vkey + "\n")
    return Where(path=tiles.CHECKPOINT)


def name_next_key(c: Copy) -> Where:
    """A change of the signing key to one of their own, which the key that there was has not signed."""
    own, last = Signer.generate(c.made.verifier.name), c.notes()[-1]
    said = (*last.extensions, *extensions(c.made.verifier, own.verifier))
    note = own.sign(str(Checkpoint(last.origin, last.size, last.root, said)))
    with (c.folder.log / tiles.CHECKPOINTS).open("a") as file:
        file.write(note)
    (c.folder.log / tiles.CHECKPOINT).write_text(note)
    (c.folder.log / "key").write_text(own.verifier.vkey + "\n")
    return Where(path=tiles.CHECKPOINTS)


def _cut(c: Copy, note: int) -> Where:
    size = c.cut_log(note)
    c.sql(("DELETE FROM entry WHERE idx >= ?", (size,)), c.resize(size))
    _holds_anew(c)
    _evidence_of_known(c)
    return Where(start=size)


def _holds_anew(c: Copy) -> None:
    """As the entries that are left say."""
    statements: list[tuple[str, tuple[object, ...]]] = [("DELETE FROM hold", ())]
    for leaf in c.leaves():
        said = json.loads(leaf)
        if said["kind"] == "hold":
            pair = bytes.fromhex(said["about"]), bytes.fromhex(said["id"])
            statements.append(("INSERT INTO hold VALUES (?, ?)", pair))
    c.sql(*statements)


def _evidence_of_known(c: Copy) -> None:
    c.sql(("DELETE FROM evidence WHERE id NOT IN (SELECT id FROM entry)", ()))


def _restore(c: Copy, name: str) -> Where:
    shutil.rmtree(c.folder.root)
    shutil.copytree(c.root / "backup" / name, c.folder.root)
    return Where(start=c.notes()[-1].size)


TABLE = (
    Manipulation("change an entry, its row and all tiles", "root", "found", change_with_tiles),
    Manipulation("delete an entry, its row, all tiles", "root", "found", delete_with_tiles),
    Manipulation("insert an entry, a row, all tiles", "root", "found", insert_with_tiles),
    Manipulation("cut the tail of the log", "root", "located", cut_tail),
    Manipulation("cut tail, checkpoints and store", "root", "located", cut_tail_and_checkpoints),
    Manipulation("cut a tail that is not anchored", "root", "not excluded", cut_unanchored_tail),
    Manipulation("roll the folder back", "root", "located", roll_back),
    Manipulation("roll back what is not anchored", "root", "not excluded", roll_back_unanchored),
    Manipulation("roll the store back behind its log", "root", "located", roll_back_store),
    Manipulation("delete the log's tiles", "root", "located", delete_log),
    Manipulation("swap the key, sign all anew", "root", "located", swap_key),
    Manipulation("name a next key of their own", "root", "located", name_next_key),
)  # fmt: skip
