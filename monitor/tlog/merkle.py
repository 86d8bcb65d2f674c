"""The hash tree of RFC 6962: leaf and node hashes, the growing right edge, proofs and their checks.

Pure functions over SHA-256; nothing here reads a file or knows how hashes are stored. A proof is
computed through a reader `hashes(level, index)`: the hash of the perfect subtree over the leaves
`[index << level, (index + 1) << level)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()

HashReader = Callable[[int, int], bytes]


class ProofError(ValueError):
    """A proof does not show what it should."""


def leaf_hash(leaf: bytes) -> bytes:
    return sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def tree_hash(hashes: bytes) -> bytes:
    """Root over concatenated hashes of equal subtrees, of which the last may be a smaller one."""
    if not hashes:
        return EMPTY_ROOT
    if len(hashes) % HASH_SIZE:
        raise ValueError(f"{len(hashes)} bytes are no row of hashes")
    sha = sha256
    while len(hashes) > HASH_SIZE:
        whole = len(hashes) // 64 * 64
        hashes = (
            b"".join([sha(b"\1" + hashes[i : i + 64]).digest() for i in range(0, whole, 64)])
            + hashes[whole:]
        )
    return hashes


class Frontier:
    """The right edge of a growing tree: one hash per bit of its size."""

    __slots__ = ("_hashes", "size")

    def __init__(self) -> None:
        self.size = 0
        self._hashes: list[bytes] = []  # of perfect subtrees, the largest first

    def append(self, digest: bytes, height: int = 0) -> None:
        """Adds a leaf's hash, or with `height` that of a perfect subtree over 2**height leaves."""
        if self.size % (1 << height):
            raise ValueError(f"a subtree of height {height} cannot follow {self.size} leaves")
        size = self.size + (1 << height)
        while self.size >> height & 1:
            digest = node_hash(self._hashes.pop(), digest)
            height += 1
        self._hashes.append(digest)
        self.size = size

    def root(self) -> bytes:
        return _fold(self._hashes) if self._hashes else EMPTY_ROOT


def root_at(size: int, hashes: HashReader) -> bytes:
    """The root of the tree when it had `size` leaves."""
    return _subtree(0, size, hashes) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, hashes: HashReader) -> list[bytes]:
    """The hashes beside the path from leaf `index` to the root at `size`, lowest first."""
    if not 0 <= index < size:
        raise ProofError(f"entry `{index}` is not in a tree of {size} entries")
    first, last, beside = 0, size, []
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            beside.append(_subtree(middle, last, hashes))
            last = middle
        else:
            beside.append(_subtree(first, middle, hashes))
            first = middle
    return beside[::-1]


def consistency_proof(old: int, new: int, hashes: HashReader) -> list[bytes]:
    """What shows that the tree at `old` is a prefix of the tree at `new`."""
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {old} entries is no prefix of one of {new}")
    if old in (0, new):
        return []
    first, last, whole, proof = 0, new, True, []
    while old != last:  # RFC 6962 SUBPROOF over [first, last), from the outside in
        middle = first + _split(last - first)
        if old <= middle:
            proof.append(_subtree(middle, last, hashes))
            last = middle
        else:
            proof.append(_subtree(first, middle, hashes))
            first, whole = middle, False
    if not whole:
        proof.append(_subtree(first, last, hashes))
    return proof[::-1]


def verify_inclusion(
    digest: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raises ProofError unless a leaf of this hash is entry `index` under this root."""
    if not 0 <= index < size:
        raise ProofError(f"entry `{index}` is not in a tree of {size} entries")
    position, last, rest = index, size - 1, list(proof)
    while last:
        if position & 1 or position < last:
            if not rest:
                raise ProofError(f"the proof of entry `{index}` is too short")
            beside = rest.pop(0)
            digest = node_hash(beside, digest) if position & 1 else node_hash(digest, beside)
        position, last = position >> 1, last >> 1
    if rest:
        raise ProofError(f"the proof of entry `{index}` is too long")
    if digest != root:
        raise ProofError(f"entry `{index}` is not what the root over {size} entries holds")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Raises ProofError unless the tree at `old` is shown to be a prefix of the tree at `new`."""
    what = f"the proof from {old} to {new} entries"
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {old} entries is no prefix of one of {new}")
    if old in (0, new):
        if proof:
            raise ProofError(f"{what} is too long")
        if old == new and old_root != new_root:
            raise ProofError(f"two roots over the same {new} entries")
        if old == 0 and old_root != EMPTY_ROOT:
            raise ProofError("the root over 0 entries is not that of an empty tree")
        return
    rest = list(proof)
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    if position and not rest:
        raise ProofError(f"{what} is too short")
    then = now = rest.pop(0) if position else old_root
    while last:
        if position & 1 or position < last:
            if not rest:
                raise ProofError(f"{what} is too short")
            beside = rest.pop(0)
            if position & 1:
                then, now = node_hash(beside, then), node_hash(beside, now)
            else:
                now = node_hash(now, beside)
        position, last = position >> 1, last >> 1
    if rest:
        raise ProofError(f"{what} is too long")
    if then != old_root or now != new_root:
        raise ProofError(f"{what} does not hold: entries before {old} were changed")


def _split(count: int) -> int:
    """The largest power of two below count."""
    return 1 << (count - 1).bit_length() - 1


def _subtree(first: int, last: int, hashes: HashReader) -> bytes:
    """Root over the leaves [first, last), where `first` is a multiple of the largest power below."""
    perfect = []
    while first < last:
        level = (last - first).bit_length() - 1
        perfect.append(hashes(level, first >> level))
        first += 1 << level
    return _fold(perfect)


def _fold(perfect: Sequence[bytes]) -> bytes:
    """Root over perfect subtrees of falling size."""
    root = perfect[-1]
    for left in perfect[-2::-1]:
        root = node_hash(left, root)
    return root
