"""Scores of token prefixes, kept so that tokens a server takes from its prefix cache get the scores they had.

A server that finds a prompt's first blocks in its cache runs nothing for them, so nothing can be read. But
what a token's activations are follows from the tokens before it: the same prefix under the same weights,
adapter and pack has the same scores. So they are kept here, a block of tokens at a time, under a rolling
hash of all tokens up to the block's end. Token ids are only hashed; neither they nor the hashes leave the
process. The cache is bounded, forgets what was used least recently, and counts.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from dosimeter.monitor.taps.score_tails import Tail, Tails, Values

Ids = Callable[[int, int], Sequence[int]]
"""Token ids at positions [start, stop) of one sequence; shorter, or negative, where not known yet."""

LIMIT_BYTES = 64 << 20
"""What a cache may hold: at 16 features in int16 about 1.4 million tokens."""
BLOCK_MAX = 64
SLAB = 256  # blocks allocated at a time
WAITING = 64
"""Blocks of a sequence that may wait for their ids. A server learns them a step or two later; of one that never does,
whose step had no row map, the rest is not kept."""
ENTRY_BYTES = 224  # Python's own for one block: hash, number, their places in the map


@dataclass(slots=True, eq=False)
class Chain:
    """How far the scores of one sequence are in: rows up to `end`, hashes up to `hashed` blocks. lock: its cache's."""

    lock: threading.Lock
    salt: bytes
    origin: bytes
    digest: bytes
    generation: int
    end: int = 0
    hashed: int = 0
    tail: Tail | None = None  # the block that is not complete
    whole: bool = True  # the tail has every row of its block up to `end`
    waiting: list[tuple[int, Values]] = field(default_factory=list)  # blocks whose ids are to come

    def fork(self) -> Chain:
        """For a sequence that the server starts as a copy of this one."""
        with self.lock:
            return Chain(
                self.lock,
                self.salt,
                self.origin,
                self.origin,
                self.generation,
                self.end,
                tail=None if self.tail is None else self.tail.copy(),
                whole=self.whole,
            )


class ScoreCache:
    """One for one tap; any thread may call it.

    seed      what every score depends on: model revision, pack digests
    features  columns of a row; dtype: what a row is kept as
    """

    def __init__(
        self,
        seed: bytes,
        features: int,
        dtype: npt.DTypeLike = np.int16,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self._seed = seed
        self._features, self._dtype = features, np.dtype(dtype)
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self.stored = self.reused = self.missed = self.evicted = 0  # tokens, since the start
        self._generation = 0
        self._begin(16)

    def _begin(self, block: int) -> None:
        self.block = block
        row_bytes = self._features * self._dtype.itemsize
        self.capacity = max(1, self._limit_bytes // (block * row_bytes + ENTRY_BYTES))  # blocks
        self._slots: OrderedDict[bytes, int] = OrderedDict()
        self._slabs: list[Values] = []
        self._tails = Tails(block, self._features, self._dtype)
        self._generation += 1

    def rebind(self, seed: bytes, features: int) -> None:
        """Scores depend on something else from now on; what is known has other columns, and is forgotten."""
        with self._lock:
            self._seed, self._features = seed, features
            self._begin(self.block)

    def fit(self, page: int) -> None:
        """The server's cache works in pages of this many tokens, so a cached prefix ends at one of theirs."""
        with self._lock:
            block = math.gcd(page, BLOCK_MAX)
            if block != self.block:
                self._begin(block)

    def __len__(self) -> int:
        """Tokens held."""
        return len(self._slots) * self.block

    def chain(self, salt: bytes = b"") -> Chain:
        """A sequence begins. salt: what must tell it from others with the same tokens (adapter, cache salt)."""
        origin = self._origin(salt)
        return Chain(self._lock, salt, origin, origin, self._generation)

    def prefix(self, chain: Chain, stop: int, ids: Ids) -> list[tuple[int, Values]]:
        """What is known of [0, stop) of a sequence whose next row is `stop`: runs (start, rows), ascending.

        chain: new, a fork of the sequence it was copied from, or one under way, of which the server has passed over
        what is between its end and `stop`: whole blocks before its end may then be left out. It goes on at `stop`.
        """
        with self._lock:
            self._follow(chain)
            self._settle(chain, ids)
            rest = stop % self.block
            tail = (
                chain.tail
                if chain.whole and chain.end - chain.end % self.block == stop - rest
                else None
            )
            parts: list[tuple[int, Values]] = []
            while (
                not chain.waiting and chain.hashed < stop // self.block and self._hash(chain, ids)
            ):
                slot = self._slots.get(chain.digest)
                if slot is not None:
                    self._slots.move_to_end(chain.digest)
                    parts.append(((chain.hashed - 1) * self.block, self._at(slot)))
            if rest and tail is not None and chain.end >= stop:
                parts.append((stop - rest, tail.rows()[:rest]))
                chain.whole = True
            else:
                chain.whole = not rest
            chain.end = stop
            runs = _joined(parts)
            found = sum(len(rows) for _, rows in runs)
            self.reused += found
            self.missed += stop - found
            return runs

    def add(self, chain: Chain, start: int, rows: Values, ids: Ids) -> None:
        """Rows of positions [start, start + T) were scored; those below the chain's end are known."""
        with self._lock:
            self._follow(chain)
            self._settle(chain, ids)
            known = max(0, chain.end - start)
            start, rows = start + known, rows[known:]
            if start > chain.end:
                chain.end, chain.whole = start, start % self.block == 0
            while len(rows):
                inside = chain.end % self.block
                part, rows = rows[: self.block - inside], rows[self.block - inside :]
                self._take(chain, inside, part, ids)

    def extend(self, chains: Sequence[Chain], starts: Sequence[int], rows: Values) -> list[int]:
        """One row each, [N, F], of sequences inside a block that it does not complete: kept all at once.

        Returns which of them are not inside one, and are for `add`.
        """
        kept: list[int] = []
        left: list[int] = []
        places: list[int] = []
        insides: list[int] = []
        with self._lock:
            block, generation = self.block, self._generation
            for index, (chain, start) in enumerate(zip(chains, starts, strict=True)):
                inside = start % block
                if (
                    0 < inside < block - 1
                    and chain.end == start
                    and chain.whole
                    and chain.generation == generation
                    and not chain.waiting
                    and chain.tail is not None
                ):
                    places.append(chain.tail.place)
                    insides.append(inside)
                    kept.append(index)
                else:
                    left.append(index)
            if kept:
                self._tails.put(places, insides, rows[kept] if left else rows)
                for index in kept:
                    chains[index].end += 1
        return left

    # --- under the lock

    def _follow(self, chain: Chain) -> None:
        """Blocks may have changed their size since the chain began, or what scores depend on."""
        if chain.generation != self._generation:
            chain.generation, chain.origin = self._generation, self._origin(chain.salt)
            chain.digest, chain.hashed = chain.origin, 0
            chain.tail, chain.waiting = None, []
            chain.whole = chain.end % self.block == 0

    def _settle(self, chain: Chain, ids: Ids) -> None:
        """Keep the blocks whose ids have come."""
        while chain.waiting and self._store(chain, *chain.waiting[0], ids):
            chain.waiting.pop(0)

    def _origin(self, salt: bytes) -> bytes:
        return blake2b(self._seed + b"\0" + salt, digest_size=16).digest()

    def _take(self, chain: Chain, inside: int, part: Values, ids: Ids) -> None:
        """Rows of one block, from its row `inside` on."""
        chain.end += len(part)
        if not chain.whole:
            chain.whole = chain.end % self.block == 0
            return
        if len(part) < self.block:
            if chain.tail is None:
                chain.tail = self._tails.take()
            tail = chain.tail.rows()
            tail[inside : inside + len(part)] = part
            part = tail
        if chain.end % self.block == 0:
            number = chain.end // self.block - 1
            stored = not chain.waiting and self._store(chain, number, part, ids)
            if not stored and len(chain.waiting) < WAITING:
                chain.waiting.append((number, part.copy()))

    def _store(self, chain: Chain, number: int, rows: Values, ids: Ids) -> bool:
        """Keep a complete block; False while a token id up to its end is not known."""
        while chain.hashed <= number:
            if not self._hash(chain, ids):
                return False
        if chain.digest in self._slots:
            self._slots.move_to_end(chain.digest)
            return True
        if len(self._slots) < self.capacity:
            slot = len(self._slots)
            if slot % SLAB == 0:
                self._slabs.append(np.empty((SLAB, self.block, self._features), self._dtype))
        else:
            _, slot = self._slots.popitem(last=False)
            self.evicted += self.block
        self._at(slot)[:] = rows  # before it can be found
        self._slots[chain.digest] = slot
        self.stored += self.block
        return True

    def _at(self, slot: int) -> Values:
        found: Values = self._slabs[slot // SLAB][slot % SLAB]
        return found

    def _hash(self, chain: Chain, ids: Ids) -> bool:
        """Take one block of token ids into the chain's hash; False if they are not all known."""
        start = chain.hashed * self.block
        # No arrays of NumPy: so short, they take three times as long, and a long prompt has thousands of blocks.
        tokens = ids(start, start + self.block)
        if len(tokens) < self.block or min(tokens) < 0:
            return False
        raw = array("i", tokens).tobytes()
        chain.digest = blake2b(chain.digest + raw, digest_size=16).digest()
        chain.hashed += 1
        return True


def _joined(parts: list[tuple[int, Values]]) -> list[tuple[int, Values]]:
    """Consecutive parts as one run each, copied: what they were may be evicted."""
    runs: list[tuple[int, list[Values]]] = []
    end = -1
    for start, rows in parts:
        if start == end:
            runs[-1][1].append(rows)
        else:
            runs.append((start, [rows]))
        end = start + len(rows)
    return [(start, np.concatenate(rows)) for start, rows in runs]
