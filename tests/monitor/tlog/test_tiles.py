"""File names and bundles against the examples in the C2SP tlog-tiles text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.tlog import merkle, tiles


@pytest.mark.parametrize(
    ("level", "index", "width", "name"),
    [
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (0, 0, 256, "tile/0/000"),
        (3, 999, 256, "tile/3/999"),
        (1, 1000, 256, "tile/1/x001/000"),
        ("entries", 273, 112, "tile/entries/273.p/112"),
        (0, 1000000, 1, "tile/0/x001/x000/000.p/1"),
    ],
)
def test_names(level: int | str, index: int, width: int, name: str) -> None:
    assert tiles.name(level, index, width) == name


def test_the_right_edge_of_the_specifications_tree_of_70000() -> None:
    assert list(tiles.edge(70_000)) == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert list(tiles.edge(256)) == [(0, 1, 0), (1, 0, 1)]
    assert list(tiles.edge(0)) == []


@given(leaves=st.lists(st.binary(max_size=300), max_size=40))
@settings(max_examples=50, deadline=None)
def test_a_bundle_gives_its_entries_back_and_names_where_it_was_cut(leaves: list[bytes]) -> None:
    bundle = tiles.pack(leaves)
    assert tiles.unpack(bundle) == leaves
    for whole, leaf in enumerate(leaves):
        for cut in range(1, 2 + len(leaf), 7):
            with pytest.raises(tiles.BundleError) as cut_off:
                tiles.unpack(bundle[: len(tiles.pack(leaves[:whole])) + cut])
            assert cut_off.value.before == leaves[:whole]


def test_lengths_are_two_bytes_big_endian() -> None:
    assert tiles.pack([b"", b"ab"]) == b"\0\0\0\2ab"
    assert len(tiles.pack([bytes(65535)])) == 65537
    with pytest.raises(OverflowError):
        tiles.pack([bytes(65536)])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 65536, 65537])
def test_the_root_from_the_edge_is_the_root_of_all_leaves(size: int) -> None:
    hashes = [merkle.leaf_hash(n.to_bytes(4, "big")) for n in range(size)]
    rows = [hashes]
    while len(rows[-1]) >= 256:
        below = rows[-1]
        whole = len(below) // 256
        rows.append([merkle.tree_hash(b"".join(below[n * 256 :][:256])) for n in range(whole)])
    edge = [b"".join(row[len(row) // 256 * 256 :]) for row in rows]
    assert tiles.edge_root(edge) == merkle.tree_hash(b"".join(hashes))


def test_kept_notes_are_told_apart_by_their_signature_lines() -> None:
    notes = ["a\n1\nr\n\n— a s\n", "a\n2\nr\next\n\n— a s\n— w s\n", "a\n3\nr\n\n— a s\n"]
    assert list(tiles.split_notes("".join(notes).splitlines(keepends=True))) == notes
    assert list(tiles.split_notes([])) == []
