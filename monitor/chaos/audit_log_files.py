"""Manipulations by root in the folder of the log: bundles, tiles, checkpoints, and no row of the store.

Each is one function over a copy; the table at the end says what must be found. The signing key is not theirs.
"""

from __future__ import annotations

from dosimeter.monitor.chaos.audit_attack import Manipulation, Where
from dosimeter.monitor.chaos.audit_copy import Copy
from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.merkle import leaf_hash
from dosimeter.monitor.tlog.tiles import WIDTH


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


def _tile_of(c: Copy, index: int) -> None:

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
)  # fmt: skip
