"""The tree against RFC 6962's published vectors and its recursive definition, word for word."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.tlog import merkle

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [  # of the first 1..8 leaves, from the test vectors of RFC 6962's reference implementation
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = largest_below(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    k = largest_below(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """RFC 6962, 2.1.2."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = largest_below(len(leaves))
    if m <= k:
        return [*proof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*proof(m - k, leaves[k:], False), mth(leaves[:k])]


def largest_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def reader(leaves: list[bytes]) -> merkle.HashReader:
    def hashes(level: int, index: int) -> bytes:
        below = leaves[index << level : index + 1 << level]
        assert len(below) == 1 << level, "only perfect subtrees may be asked for"
        return mth(below)

    return hashes


def frontier(leaves: list[bytes]) -> merkle.Frontier:
    edge = merkle.Frontier()
    for leaf in leaves:
        edge.append(merkle.leaf_hash(leaf))
    return edge


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference_vectors(size: int) -> None:
    first = LEAVES[:size]
    assert frontier(first).root().hex() == ROOTS[size - 1]
    assert merkle.tree_hash(b"".join(map(merkle.leaf_hash, first))).hex() == ROOTS[size - 1]
    assert merkle.root_at(size, reader(LEAVES)).hex() == ROOTS[size - 1]


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.Frontier().root().hex() == empty
    assert merkle.tree_hash(b"").hex() == empty
    assert merkle.root_at(0, reader([])).hex() == empty


def test_the_audit_path_of_the_rfcs_example() -> None:
    """RFC 6962, 2.1.3: the path of d0 in a tree of 7 is [b, h, l], of d3 [c, g, l], of d6 [i, k]."""
    seven = LEAVES[:7]
    h = [merkle.leaf_hash(leaf) for leaf in seven]
    a, b, c = h[0], h[1], h[2]
    g, hh, i = merkle.node_hash(a, b), merkle.node_hash(c, h[3]), merkle.node_hash(h[4], h[5])
    k, last = merkle.node_hash(g, hh), merkle.node_hash(i, h[6])
    assert merkle.inclusion_proof(0, 7, reader(seven)) == [b, hh, last]
    assert merkle.inclusion_proof(3, 7, reader(seven)) == [c, g, last]
    assert merkle.inclusion_proof(6, 7, reader(seven)) == [i, k]
    assert merkle.consistency_proof(3, 7, reader(seven)) == [c, h[3], g, last]
    assert merkle.consistency_proof(4, 7, reader(seven)) == [last]
    assert merkle.consistency_proof(6, 7, reader(seven)) == [i, h[6], k]


@given(size=st.integers(1, 80), data=st.data())
@settings(max_examples=50, deadline=None)
def test_proofs_are_the_definitions_and_verify(size: int, data: st.DataObject) -> None:
    leaves = [bytes([n]) * (n % 5) for n in range(size)]
    index = data.draw(st.integers(0, size - 1))
    found = merkle.inclusion_proof(index, size, reader(leaves))
    assert found == path(index, leaves)
    merkle.verify_inclusion(merkle.leaf_hash(leaves[index]), index, size, found, mth(leaves))
    old = data.draw(st.integers(1, size))
    shown = merkle.consistency_proof(old, size, reader(leaves))
    assert shown == proof(old, leaves)
    merkle.verify_consistency(old, size, shown, mth(leaves[:old]), mth(leaves))


@given(size=st.integers(2, 40), data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_proof_changed_anywhere_is_refused(size: int, data: st.DataObject) -> None:
    leaves = [bytes([n]) for n in range(size)]
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    inclusion = path(index, leaves)
    consistency = proof(old, leaves)
    leaf, root, before = merkle.leaf_hash(leaves[index]), mth(leaves), mth(leaves[:old])
    spoiled = data.draw(st.sampled_from(["flip", "drop", "add", "root"]))
    for hashes in (inclusion, consistency):
        at = data.draw(st.integers(0, len(hashes) - 1))
        if spoiled == "flip":
            hashes[at] = bytes([hashes[at][0] ^ 1]) + hashes[at][1:]
        elif spoiled == "drop":
            del hashes[at]
        elif spoiled == "add":
            hashes.insert(at, bytes(32))
        else:
            root = bytes(32)
    with pytest.raises(merkle.ProofError):
        merkle.verify_inclusion(leaf, index, size, inclusion, root)
    with pytest.raises(merkle.ProofError):
        merkle.verify_consistency(old, size, consistency, before, root)


def test_an_entry_at_another_index_is_refused() -> None:
    leaves = LEAVES[:7]
    for wrong in range(1, 7):
        with pytest.raises(merkle.ProofError):
            merkle.verify_inclusion(
                merkle.leaf_hash(leaves[0]), wrong, 7, path(0, leaves), mth(leaves)
            )
    with pytest.raises(merkle.ProofError, match="entry `7` is not in a tree of 7"):
        merkle.inclusion_proof(7, 7, reader(leaves))


def test_trees_of_equal_size_are_consistent_only_with_equal_roots() -> None:
    merkle.verify_consistency(3, 3, [], b"r" * 32, b"r" * 32)
    merkle.verify_consistency(0, 3, [], merkle.EMPTY_ROOT, b"r" * 32)
    with pytest.raises(merkle.ProofError, match="two roots over the same 3 entries"):
        merkle.verify_consistency(3, 3, [], b"r" * 32, b"s" * 32)
    with pytest.raises(merkle.ProofError, match="no prefix"):
        merkle.verify_consistency(4, 3, [], b"r" * 32, b"s" * 32)
    with pytest.raises(merkle.ProofError, match="no prefix"):
        merkle.consistency_proof(4, 3, reader(LEAVES))


@given(counts=st.lists(st.integers(0, 3), max_size=12))
@settings(max_examples=50, deadline=None)
def test_whole_subtrees_and_single_leaves_build_the_same_edge(counts: list[int]) -> None:
    edge, leaves = merkle.Frontier(), list[bytes]()
    for count in counts:
        height = count if len(leaves) % (1 << count) == 0 else 0
        more = [bytes([len(leaves) + n & 255]) for n in range(1 << height)]
        edge.append(mth(more), height)
        leaves += more
        assert (edge.size, edge.root()) == (len(leaves), mth(leaves))


def test_a_subtree_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="height 3 cannot follow 2 leaves"):
        frontier(LEAVES[:2]).append(bytes(32), 3)


@pytest.mark.parametrize("length", [1, 31, 33, 63, 65])
def test_bytes_that_are_no_row_of_hashes_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} bytes are no row of hashes"):
        merkle.tree_hash(bytes(length))
