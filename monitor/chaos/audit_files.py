"""Manipulations by whoever owns the machine: bundles, tiles, checkpoints, rows of the database, whole folders.

Each is one function over a copy; the table at the end says what must be found. The signing key is not theirs.
"""

from __future__ import annotations

import json
import shutil

from dosimeter.monitor.audit.store.columns import NAMES
from dosimeter.monitor.chaos.audit_attack import Manipulation, Where
from dosimeter.monitor.chaos.audit_copy import Copy
from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.note import Signer
from dosimeter.monitor.tlog.tiles import WIDTH

_CHANGEABLE = [n for n in NAMES if n not in ("id", "about", "kind")]


def flip_entry(c: Copy) -> Where:
    index = c.any_index()

    def change(leaves: list[bytes], at: int) -> None:
        leaf = bytearray(leaves[at])
        leaf[c.dice.randrange(len(leaf))] ^= 1 << c.dice.randrange(8)
        leaves[at] = bytes(leaf)

    c.in_bundle(index, change)
    return Where(entries=(index,))


def change_entry(c: Copy) -> Where:
    """Canonical again, and no longer true."""
    index = c.hot_index()
    c.in_bundle(index, lambda leaves, at: leaves.__setitem__(at, c.altered(leaves[at])))
    return Where(entries=(index,))


def flip_bundle_length(c: Copy) -> Where:
    """The two bytes before an entry: where all that follow begin."""
    index = c.any_index()
    path = c.bundle(index)
    leaves = tiles.unpack(path.read_bytes())
    at = len(tiles.pack(leaves[: index % WIDTH]))
    c.flip(path, at, at + 2)
    return Where(start=index)


def delete_bundle(c: Copy) -> Where:
    path = c.bundle(c.any_index())
    path.unlink()
    return Where(path=str(path.relative_to(c.folder.log)))


def flip_tile(c: Copy) -> Where:
    path = c.tile(0, c.any_index() // WIDTH)
    c.flip(path)
    return Where(path=str(path.relative_to(c.folder.log)))


def flip_upper_tile(c: Copy) -> Where:
    path = c.tile(1, 0)
    c.flip(path)
    return Where(path=str(path.relative_to(c.folder.log)))


def delete_tile(c: Copy) -> Where:
    path = c.tile(0, c.any_index() // WIDTH)
    path.unlink()
    return Where(path=str(path.relative_to(c.folder.log)))


def cut_tile(c: Copy) -> Where:
    path = c.tile(0, c.any_index() // WIDTH)
    data = path.read_bytes()
    path.write_bytes(data[: c.dice.randrange(len(data))])
    return Where(path=str(path.relative_to(c.folder.log)))


def flip_checkpoint(c: Copy) -> Where:
    c.flip(c.folder.log / tiles.CHECKPOINT)
    return Where(path=tiles.CHECKPOINT)


def edit_tree_size(c: Copy) -> Where:
    path = c.folder.log / tiles.CHECKPOINT
    lines = path.read_text().split("\n")
    lines[1] = str(int(lines[1]) - c.dice.randrange(1, 50))
    path.write_text("\n".join(lines))
    return Where(path=tiles.CHECKPOINT)


def flip_checkpoints(c: Copy) -> Where:
    path = c.folder.log / tiles.CHECKPOINTS
    c.flip(path)
    return Where(path=tiles.CHECKPOINTS)


def delete_entry(c: Copy) -> Where:
    index = _before_end(c)
    c.in_bundle(index, lambda leaves, at: leaves.__delitem__(at))
    return Where(start=index)


def insert_entry(c: Copy) -> Where:
    index = c.any_index()
    c.in_bundle(index, lambda leaves, at: leaves.insert(at, c.altered(leaves[at])))
    return Where(start=index)


def swap_entries(c: Copy) -> Where:
    first, second = _two(c)

    def change(leaves: list[bytes], _: int) -> None:
        a, b = first % WIDTH, second % WIDTH
        leaves[a], leaves[b] = leaves[b], leaves[a]

    c.in_bundle(first, change)
    return Where(entries=(first, second))


def swap_with_tile(c: Copy) -> Where:
    """And the tile over them made to fit: the tile above it does not."""
    where = swap_entries(c)
    _tile_of(c, where.entries[0])
    return where


def reorder_bundle(c: Copy) -> Where:
    index = c.any_index()
    moved: list[int] = []

    def change(leaves: list[bytes], _: int) -> None:
        before = list(leaves)
        c.dice.shuffle(leaves)
        start = index // WIDTH * WIDTH
        moved.extend(
            start + n
            for n, pair in enumerate(zip(before, leaves, strict=True))
            if pair[0] != pair[1]
        )

    c.in_bundle(index, change)
    return Where(entries=tuple(moved))


def swap_bundles(c: Copy) -> Where:
    whole = c.made.signed // WIDTH
    a, b = c.dice.sample(range(whole), 2)
    one, two = c.bundle(a * WIDTH), c.bundle(b * WIDTH)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    return Where(path=str(two.relative_to(c.folder.log)))


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
    leaves.insert(index, _forged(c, leaves[index]))
    c.relog(leaves[: c.made.signed])
    c.store_from(index, leaves[index:] + c.tail())
    return Where(start=index)


def change_column(c: Copy) -> Where:
    index = c.hot_index()
    name = c.dice.choice(_CHANGEABLE)
    c.sql(
        (
            f"UPDATE entry SET {name} = CASE WHEN {name} IS NULL THEN 1 ELSE {name} || '1' END WHERE idx = ?",
            (index,),
        )
    )
    return Where(entries=(index,))


def change_leaf(c: Copy) -> Where:
    index = c.hot_index()
    ((leaf,),) = c.rows("SELECT leaf FROM entry WHERE idx = ?", index)
    c.sql(("UPDATE entry SET leaf = ? WHERE idx = ?", (c.altered(leaf), index)))
    return Where(entries=(index,))


def change_row(c: Copy) -> Where:
    """Leaf and columns, so that the store agrees with itself."""
    index = c.hot_index()
    ((leaf,),) = c.rows("SELECT leaf FROM entry WHERE idx = ?", index)
    c.sql(*c.store_leaf(index, c.altered(leaf)))
    return Where(entries=(index,))


def delete_row(c: Copy) -> Where:
    index = c.hot_index()
    c.sql(("DELETE FROM entry WHERE idx = ?", (index,)))
    return Where(entries=(index,))


def delete_row_and_close_up(c: Copy) -> Where:
    index = c.hot_index()
    leaves = [
        leaf for (leaf,) in c.rows("SELECT leaf FROM entry WHERE idx > ? ORDER BY idx", index)
    ]
    c.store_from(index, leaves)
    return Where(start=index)


def insert_row(c: Copy) -> Where:
    index = c.hot_index()
    leaves = [
        leaf for (leaf,) in c.rows("SELECT leaf FROM entry WHERE idx >= ? ORDER BY idx", index)
    ]
    c.store_from(index, [_forged(c, leaves[0]), *leaves])
    return Where(start=index)


def swap_rows(c: Copy) -> Where:
    first, second = c.hot_index(), c.hot_index()
    while first == second:
        second = c.hot_index()
    pairs = [c.rows("SELECT leaf FROM entry WHERE idx = ?", one)[0][0] for one in (first, second)]
    c.sql(("DELETE FROM entry WHERE idx IN (?, ?)", (first, second)), *c.store_leaf(first, pairs[1]),
          *c.store_leaf(second, pairs[0]))  # fmt: skip
    return Where(entries=(first, second))


def drop_unsigned(c: Copy) -> Where:
    """What nothing has signed yet."""
    c.sql(("DELETE FROM entry WHERE idx >= ?", (c.made.signed,)), c.resize(c.made.signed))
    return Where(start=c.made.signed)


def change_blob(c: Copy) -> Where:
    sha, body = c.dice.choice(c.rows("SELECT sha256, body FROM blob"))
    data = bytearray(body)
    data[c.dice.randrange(len(data))] ^= 1 << c.dice.randrange(8)
    c.sql(("UPDATE blob SET body = ? WHERE sha256 = ?", (bytes(data), sha)))
    return Where(path=sha.hex())


def delete_terms(c: Copy) -> Where:
    ((sha,),) = c.rows("SELECT terms FROM entry WHERE idx = ?", c.hot_index())
    c.sql(("DELETE FROM blob WHERE sha256 = ?", (sha,)))
    return Where(path=sha.hex())


def change_segment(c: Copy) -> Where:
    """The row that names a sealed file says another hash."""
    first, _, core, _ = c.segment()
    c.sql(("UPDATE segment SET sha256 = ? WHERE first = ?", ("00" * 32, first)))
    return Where(path=core.name)


def blind_segment(c: Copy) -> Where:
    """By its row, questions pass over the file: other times, or over before its time."""
    first, _, _, _ = c.segment()
    change = c.dice.choice(("from_ns = 0, to_ns = 1", "gone = 1"))
    c.sql((f"UPDATE segment SET {change} WHERE first = ?", (first,)))
    return Where(start=first)


def delete_segment(c: Copy) -> Where:
    first, _, _, _ = c.segment()
    c.sql(("DELETE FROM segment WHERE first = ?", (first,)))
    return Where(start=first)


def change_sealed_few(c: Copy) -> Where:
    """The verdict that lists show of what is sealed."""
    ((index, verdict),) = c.dice.sample(
        c.rows("SELECT idx, verdict FROM sealed_few WHERE kind = 'label'"), 1
    )
    other = "false" if verdict == "true" else "true"
    c.sql(("UPDATE sealed_few SET verdict = ? WHERE idx = ?", (other, index)))
    return Where(entries=(index,))


def forge_sealed_few(c: Copy) -> Where:
    """A verdict that nobody gave: at a position of some alert, or at one that the log does not have."""
    labels = c.rows("SELECT idx FROM sealed_few WHERE kind = 'label'")
    ((real,),) = c.dice.sample(labels, 1)
    ((past,),) = c.rows("SELECT max(past) FROM segment")
    taken = {idx for (idx,) in c.rows("SELECT idx FROM sealed_few")}
    inside = c.dice.choice([idx for idx in range(past) if idx not in taken])
    index = c.dice.choice((inside, -1 - real, past + 10**9))
    names = ", ".join(NAMES)
    c.sql(
        (
            f"INSERT INTO sealed_few (idx, {names}) SELECT ?, {names} FROM sealed_few WHERE idx = ?",
            (index, real),
        )
    )
    return Where(entries=(index,))


def delete_sealed_few(c: Copy) -> Where:
    index = c.dice.choice(c.rows("SELECT idx FROM sealed_few"))[0]
    c.sql(("DELETE FROM sealed_few WHERE idx = ?", (index,)))
    return Where(entries=(index,))


def lift_hold(c: Copy) -> Where:
    about, _ = c.dice.choice(c.rows("SELECT about, entry FROM hold"))
    c.sql(("DELETE FROM hold WHERE about = ?", (about,)))
    return Where(path=about.hex())


def flip_evidence(c: Copy) -> Where:
    id_, shut = c.dice.choice(c.rows("SELECT id, sealed FROM evidence"))
    data = bytearray(shut)
    data[c.dice.randrange(len(data))] ^= 1 << c.dice.randrange(8)
    c.sql(("UPDATE evidence SET sealed = ? WHERE id = ?", (bytes(data), id_)))
    return Where(entries=(_index_of(c, id_),))


def swap_evidence(c: Copy) -> Where:
    (a, one), (b, two) = c.dice.sample(c.rows("SELECT id, sealed FROM evidence"), 2)
    c.sql(
        ("UPDATE evidence SET sealed = ? WHERE id = ?", (two, a)),
        ("UPDATE evidence SET sealed = ? WHERE id = ?", (one, b)),
    )
    return Where(entries=(_index_of(c, a), _index_of(c, b)))


def delete_evidence(c: Copy) -> Where:
    (id_,) = c.dice.choice(c.rows("SELECT id FROM evidence"))
    c.sql(("DELETE FROM evidence WHERE id = ?", (id_,)))
    return Where(entries=(_index_of(c, id_),))


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


def _tile_of(c: Copy, index: int) -> None:
    from dosimeter.monitor.tlog.merkle import leaf_hash

    leaves = tiles.unpack(c.bundle(index).read_bytes())
    c.tile(0, index // WIDTH).write_bytes(b"".join(map(leaf_hash, leaves)))


def _two(c: Copy) -> tuple[int, int]:
    first = _before_end(c)
    start = first // WIDTH * WIDTH
    others = [n for n in range(start, min(start + WIDTH, c.made.signed)) if n != first]
    return first, c.dice.choice(others)


def _before_end(c: Copy) -> int:
    """With another entry behind it in its bundle."""
    while True:
        index = c.dice.randrange(c.made.signed - 1)
        if index % WIDTH < WIDTH - 1:
            return index


def _forged(c: Copy, like: bytes) -> bytes:
    said = json.loads(c.altered(like))
    said["id"] = said["id"][:12] + c.dice.randbytes(10).hex()
    said.pop("evidence", None)
    from dosimeter.rules.canonical import canonical

    return canonical(said)


def _index_of(c: Copy, id_: bytes) -> int:
    ((index,),) = c.rows("SELECT idx FROM entry WHERE id = ?", id_)
    return int(index)


TABLE = (
    Manipulation("flip a bit of an entry in its bundle", "root", "located", flip_entry),
    Manipulation("change an entry in its bundle", "root", "located", change_entry),
    Manipulation("flip a bit of an entry's length", "root", "located", flip_bundle_length),
    Manipulation("delete a bundle", "root", "located", delete_bundle),
    Manipulation("flip a bit of a tile", "root", "located", flip_tile),
    Manipulation("flip a bit of an upper tile", "root", "located", flip_upper_tile),
    Manipulation("delete a tile", "root", "located", delete_tile),
    Manipulation("cut a tile", "root", "located", cut_tile),
    Manipulation("flip a bit of the checkpoint", "root", "located", flip_checkpoint),
    Manipulation("change the size in the checkpoint", "root", "located", edit_tree_size),
    Manipulation("flip a bit of the kept checkpoints", "root", "located", flip_checkpoints),
    Manipulation("delete an entry from its bundle", "root", "located", delete_entry),
    Manipulation("insert an entry into a bundle", "root", "located", insert_entry),
    Manipulation("swap two entries", "root", "located", swap_entries),
    Manipulation("swap two entries, tile fitted", "root", "located", swap_with_tile),
    Manipulation("reorder a bundle", "root", "located", reorder_bundle),
    Manipulation("swap two bundles", "root", "located", swap_bundles),
    Manipulation("change an entry, its row and all tiles", "root", "found", change_with_tiles),
    Manipulation("delete an entry, its row, all tiles", "root", "found", delete_with_tiles),
    Manipulation("insert an entry, a row, all tiles", "root", "found", insert_with_tiles),
    Manipulation("change a column of a row", "root", "located", change_column),
    Manipulation("change the leaf of a row", "root", "located", change_leaf),
    Manipulation("change a row, leaf and columns", "root", "located", change_row),
    Manipulation("delete a row", "root", "located", delete_row),
    Manipulation("delete a row and close up", "root", "located", delete_row_and_close_up),
    Manipulation("insert a row", "root", "located", insert_row),
    Manipulation("swap two rows", "root", "located", swap_rows),
    Manipulation("drop what is not signed yet", "root", "not excluded", drop_unsigned),
    Manipulation("change a blob", "root", "located", change_blob),
    Manipulation("delete the terms of a rule", "root", "located", delete_terms),
    Manipulation("change the row of a segment", "root", "located", change_segment),
    Manipulation("hide a segment from questions", "root", "located", blind_segment),
    Manipulation("delete the row of a segment", "root", "located", delete_segment),
    Manipulation("change an entry beside the sealed files", "root", "located", change_sealed_few),
    Manipulation("delete an entry beside the sealed files", "root", "located", delete_sealed_few),
    Manipulation("forge an entry beside the sealed files", "root", "located", forge_sealed_few),
    Manipulation("lift a hold", "root", "located", lift_hold),
    Manipulation("flip a bit of evidence", "root", "located", flip_evidence),
    Manipulation("swap the evidence of two", "root", "located", swap_evidence),
    Manipulation("delete evidence", "root", "located", delete_evidence),
    Manipulation("cut the tail of the log", "root", "located", cut_tail),
    Manipulation("cut tail, checkpoints and store", "root", "located", cut_tail_and_checkpoints),
    Manipulation("cut a tail that is not anchored", "root", "not excluded", cut_unanchored_tail),
    Manipulation("roll the folder back", "root", "located", roll_back),
    Manipulation("roll back what is not anchored", "root", "not excluded", roll_back_unanchored),
    Manipulation("roll the store back behind its log", "root", "located", roll_back_store),
    Manipulation("delete the log's tiles", "root", "located", delete_log),
    Manipulation("swap the key, sign all anew", "root", "located", swap_key),
)  # fmt: skip
