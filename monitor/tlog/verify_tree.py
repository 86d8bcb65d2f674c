"""One pass over a log's tree: every entry against its tile, every tile against the signed root.

The signed root vouches for the tiles at the right edge, each tile for those below it, the lowest
for the entries, so that a change is found where it was made. On the way the roots at earlier sizes
are computed. It knows nothing of keys, and of checkpoints only sizes and roots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import product
from pathlib import Path

from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.findings import Findings, Kind
from dosimeter.monitor.tlog.merkle import Frontier, tree_hash
from dosimeter.monitor.tlog.tiles import ENTRIES, HEIGHT, WIDTH

Look = Callable[[int, Sequence[bytes]], None]
"""(index of the first, entries): those of one bundle as they are on disk, good or not."""
Progress = Callable[[int, int], None]
"""(entries done, entries in all)"""


class TreePass:
    """`run` once; then `roots`, `unchecked`, `intact` and what was added to the findings hold."""

    def __init__(self, folder: Path, size: int, root: bytes, findings: Findings) -> None:
        self.folder, self.findings = folder, findings
        self.roots: dict[int, bytes] = {}
        self.unchecked: list[int] = []
        self.intact = 0
        self.size = size  # less where the tail is gone, with the tiles over it
        self._root = root
        self._edge: list[bytes] = []
        self.signed = self._settle_edge()  # else tiles are only known to fit what is below them
        if not self.signed and (held := self._held()) < size:
            self.size = held
            self._settle_edge()
        self._last: dict[int, tuple[int, bytes]] = {}  # by level: the tile used last

    def run(self, sizes: Sequence[int], look: Look | None, progress: Progress | None) -> None:
        """sizes: where roots are wanted, ascending and each once."""
        self.unchecked = [size for size in sizes if size > self.size]
        wanted = iter([size for size in sizes if size <= self.size])
        size = next(wanted, None)
        frontier = Frontier()
        for index in range((self.size + WIDTH - 1) // WIDTH):
            first = index * WIDTH
            within: list[int] = []
            while size is not None and size < first + WIDTH:
                within.append(size)
                size = next(wanted, None)
            expected = self._expected(0, index) if first + WIDTH <= self.size else None
            hashes = self._check(index, expected, look)
            self._grow(frontier, hashes, expected, within)
            if progress is not None and index % WIDTH == 0:
                progress(first, self.size)
        if size is not None:  # the size of the whole tree, where that ends with a whole tile
            self.roots[size] = frontier.root()
        if progress is not None:
            progress(self.size, self.size)

    def _grow(
        self,
        frontier: Frontier,
        hashes: bytes | None,
        expected: bytes | None,
        within: Sequence[int],
    ) -> None:
        """Adds one tile, leaf by leaf where roots are wanted inside it."""
        start = frontier.size
        if start in within:
            self.roots[start] = frontier.root()
        inside = {size for size in within if size > start}
        if inside and hashes is not None:
            for at in range(0, len(hashes), 32):
                frontier.append(hashes[at : at + 32])
                if frontier.size in inside:
                    self.roots[frontier.size] = frontier.root()
            return
        self.unchecked += sorted(inside)
        if expected is not None:
            frontier.append(expected, HEIGHT)

    def _check(self, index: int, expected: bytes | None, look: Look | None) -> bytes | None:
        """Leaf hashes of one bundle as they were signed; None where the log no longer holds them.

        `expected` is the hash of a whole tile; the partial one is settled already.
        """
        first = index * WIDTH
        width = min(WIDTH, self.size - first)
        leaves, problem = self._leaves(index, width)
        if look is not None and leaves:
            look(first, leaves)
        computed = _leaf_hashes(leaves)
        stored = self._edge[0] if expected is None else self._tile(0, index, width)
        vouched = expected is None or (stored is not None and tree_hash(stored) == expected)
        if vouched and stored == computed and problem is None:
            self.intact += width
            return stored
        if vouched and stored is not None:
            self._compare(first, stored, computed, problem)
            return stored
        span = (first, first + width - 1)
        if tree_hash(computed) == expected:
            self.intact += width
            self._spoiled_tile(0, index, width, stored, span)
            return computed
        if problem is not None:
            self.findings.add(*problem)
        what = f"entries {span[0]} to {span[1]}: one or more were changed, and their tile with them"
        self.findings.add(Kind.ENTRY, what, *span, tiles.name(ENTRIES, index, width))
        return None

    def _compare(
        self,
        first: int,
        stored: bytes,
        computed: bytes,
        problem: tuple[Kind, str, int, int, str] | None,
    ) -> None:
        """Says which entries are not those of their tile, which is vouched for."""
        path = tiles.name(ENTRIES, first // WIDTH, len(stored) // 32)
        wrong = [
            at // 32
            for at in range(0, min(len(stored), len(computed)), 32)
            if stored[at : at + 32] != computed[at : at + 32]
        ]
        self.intact += min(len(stored), len(computed)) // 32 - len(wrong)
        for start, end in _runs(wrong):
            where = f"entry {first + start}"
            if start < end:
                where = f"entries {first + start} to {first + end}"
            self.findings.add(
                Kind.ENTRY, f"{where}: not what was signed", first + start, first + end, path
            )
        if problem is not None:
            self.findings.add(*problem)

    def _leaves(
        self, index: int, width: int
    ) -> tuple[list[bytes], tuple[Kind, str, int, int, str] | None]:
        """Entries of a bundle, at most `width`, and what to say unless it holds just what it should."""
        first = index * WIDTH
        last = first + width - 1
        path = tiles.name(ENTRIES, index, width)
        found = self._read(ENTRIES, index, width)
        if found is None:
            return [], (Kind.MISSING, f"missing, with entries {first} to {last}", first, last, path)
        data, named = found
        torn = False
        try:
            leaves = tiles.unpack(data)
        except tiles.BundleError as error:
            leaves, torn = error.before, True
        if len(leaves) < width:
            at = first + len(leaves)
            what = f"ends before entry {at}, {last + 1 - at} too early"
            return leaves, (Kind.TRUNCATED, what, at, last, path)
        if torn or len(leaves) > named:
            what = f"holds more than the {named} entries that were signed"
            return leaves[:width], (Kind.ENTRY, what, first, last, path)
        return leaves[:width], None

    def _expected(self, level: int, index: int) -> bytes:
        """The hash of a whole tile, by the tile above it."""
        at = index % WIDTH * 32
        return self._vouched(level + 1, index // WIDTH)[at : at + 32]

    def _vouched(self, level: int, index: int) -> bytes:
        """A tile above the lowest, as the one above it says; else as it is, after saying so."""
        whole = self.size >> HEIGHT * (level + 1)
        if index == whole:
            return self._edge[level]
        if level in self._last and self._last[level][0] == index:
            return self._last[level][1]
        expected = self._expected(level, index)
        stored = self._tile(level, index, WIDTH)
        found = stored
        if stored is None or tree_hash(stored) != expected:
            span = (index << HEIGHT * (level + 1), ((index + 1) << HEIGHT * (level + 1)) - 1)
            below = self._from_below(level, index, WIDTH)
            found = below
            if tree_hash(below) == expected:
                self._spoiled_tile(level, index, WIDTH, stored, span)
            else:
                what = f"entries {span[0]} to {span[1]}: some were changed, and the tiles over them"
                self.findings.add(Kind.ENTRY, what, *span, tiles.name(level, index))
        self._last[level] = (index, found or b"")
        return found or b""

    def _settle_edge(self) -> bool:
        """Finds the partial tiles that give the signed root: as stored, or computed from below."""
        stored = [self._tile(*at) if at[2] else b"" for at in tiles.edge(self.size)]
        self._edge = [tile for tile in stored if tile is not None] or [b""]
        if len(self._edge) >= len(stored) and tiles.edge_root(self._edge) == self._root:
            return True
        computed = [self._from_below(*at) for at in tiles.edge(self.size)]
        pairs = zip(stored, computed, strict=True)
        choices = [[t for t in dict.fromkeys(pair) if t is not None] for pair in pairs]
        for choice in product(*choices):
            if tiles.edge_root(choice) == self._root:
                for level, index, width in tiles.edge(self.size):
                    if choice[level] != stored[level]:
                        start = index << HEIGHT * (level + 1)
                        span = (start, start + (width << HEIGHT * level) - 1)
                        self._spoiled_tile(level, index, width, stored[level], span)
                self._edge = list(choice)
                return True
        self._edge = computed
        return False

    def _spoiled_tile(
        self, level: int, index: int, width: int, stored: bytes | None, span: tuple[int, int]
    ) -> None:
        kind, what = Kind.TILE, "not what was signed; what lies below it is intact"
        if stored is None:
            kind, what = (
                Kind.MISSING,
                "missing, or not as long as it should be; what lies below it is intact",
            )
        self.findings.add(kind, what, *span, tiles.name(level, index, width))

    def _from_below(self, level: int, index: int, width: int) -> bytes:
        """A tile computed from the tiles below it, or from its entries."""
        if level == 0:
            return _leaf_hashes(self._leaves(index, width)[0])
        rows = []
        for below in range(index * WIDTH, index * WIDTH + width):
            tile = self._tile(level - 1, below, WIDTH)
            rows.append(tree_hash(tile or self._from_below(level - 1, below, WIDTH)))
        return b"".join(rows)

    def _held(self) -> int:
        """How many entries there are up to where those at the end are gone."""
        held = self.size
        while held:
            index = (held - 1) // WIDTH
            first = index * WIDTH
            if leaves := self._leaves(index, held - first)[0]:
                return min(held, first + len(leaves))
            held = first
        return 0

    def _tile(self, level: int, index: int, width: int) -> bytes | None:
        found = self._read(level, index, width)
        if found is None or found[1] < width or len(found[0]) != found[1] * 32:
            return None
        return found[0][: width * 32]

    def _read(self, level: int | str, index: int, width: int) -> tuple[bytes, int] | None:
        """A tile or bundle and the width its name says: if need be the whole one, which may have
        replaced it, or a narrower one, which is what a tail cut off leaves."""
        path = self.folder / tiles.name(level, index)
        partial = path.with_name(f"{path.name}.p")
        for found, named in ((partial / str(width), width), (path, WIDTH))[width == WIDTH :]:
            try:
                return found.read_bytes(), named
            except FileNotFoundError:
                continue
        widths = [int(name.name) for name in partial.glob("*") if name.name.isdecimal()]
        narrower = max((found for found in widths if found < width), default=0)
        return ((partial / str(narrower)).read_bytes(), narrower) if narrower else None


def _leaf_hashes(leaves: Sequence[bytes]) -> bytes:
    sha = sha256
    return b"".join([sha(b"\0" + leaf).digest() for leaf in leaves])


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of successive numbers."""
    start = None
    for at, number in enumerate(numbers):
        if start is None:
            start = number
        if at + 1 == len(numbers) or numbers[at + 1] != number + 1:
            yield start, number
            start = None
