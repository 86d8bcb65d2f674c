"""`dosimeter bench cache`: what keeping scores for a server's prefix cache costs, in time and in memory.

The score cache's part of a step, clocked inside the tap, beside the forward of that step: prompts whose
tokens are new, decoding, and prompts of which all but the end is cached. The tap without a cache runs in the
same rounds. Memory is what Python's allocator holds for a cache that is full.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.monitor.bench.child import Child
from dosimeter.monitor.bench.decoder import PROMPT, WIDTH, Decoder, Meter, one_thread, quickest
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.bench.variants import (
    Forward,
    Nothing,
    Tapped,
    bank_of,
    going_on,
    median_ratio,
    request,
    rounds_of,
)
from dosimeter.monitor.taps import reuse, tap
from dosimeter.monitor.taps.rows import Rows
from dosimeter.monitor.taps.score_cache import Ids, ScoreCache

FEATURES = 16
LAYERS = (8,)
BATCH = 8
TAIL = 16  # tokens of a prompt that the server's cache does not hold
VOCABULARY = 8000
FULL_BYTES = 8 << 20  # what a cache may hold that is filled to be weighed
ROUNDS = {"new prompts": 9, "decoding": 41, "cached prompts": 15}


def run() -> Result:
    undisturbed()
    with one_thread(), Child(_measure) as child:
        result: Result = child.hear()
    return result


class Cached(Tapped):
    """The tap with a cache, whose part of each step is noted."""

    def __init__(self, cache: ScoreCache, rows: Callable[[], Rows]) -> None:
        super().__init__(bank_of(FEATURES, LAYERS, WIDTH), rows, cache)
        self._meter = Meter()
        tap.with_reused = self._meter.around(reuse.with_reused)  # type: ignore[attr-defined]
        self.spent: list[int] = []

    def after(self, before: Any) -> None:
        self._meter.ns = 0
        super().after(before)
        self.spent.append(self._meter.ns)


def _measure(pipe: Connection) -> None:
    decoder = Decoder(dtype=quickest())
    figures: list[Figure] = []
    for what, forward, n, rows_of in (
        ("new prompts", decoder.prefill(BATCH), PROMPT, new_prompts),
        ("decoding", decoder.decode(BATCH), 1, decoding),
        ("cached prompts", decoder.prefill(BATCH, TAIL), TAIL, cached_prompts),
    ):
        print(f"bench cache: {what}", file=sys.stderr, flush=True)
        cache = ScoreCache(b"bench", FEATURES)
        figures += _compared(decoder, what, forward, n, Cached(cache, rows_of(cache)))
        if not cache.stored:
            raise RuntimeError("nothing was kept: what was clocked is no cache")
        figures.append(Figure(f"{what}: tokens reused", cache.reused, "tokens"))
    figures.append(Figure("memory of a full cache", bytes_a_token(), "bytes a token", "<= 80"))
    pipe.send(Result("cache", tuple(figures)))


def _compared(
    decoder: Decoder, what: str, forward: Forward, n: int, cached: Cached
) -> list[Figure]:
    variants = {
        "bare": Nothing(),
        "without": Tapped(bank_of(FEATURES, LAYERS, WIDTH), going_on(BATCH, n)),
        "with": cached,
    }
    found = rounds_of(decoder.blocks, forward, variants, ROUNDS[what])
    whole = [t.whole for t in found["bare"]]
    without = median_ratio([t.ours for t in found["without"]], whole)
    share = median_ratio(cached.spent[1:], whole)
    return [
        Figure(f"{what}: forward", float(np.median(whole)) / 1e6, "ms"),
        Figure(f"{what}: the tap without a cache", 100 * without, "% of forward"),
        Figure(f"{what}: the cache", 100 * share, "% of forward", "<= 2"),
    ]


def new_prompts(cache: ScoreCache) -> Callable[[], Rows]:
    """Every step brings prompts that nobody has sent before."""
    rng = np.random.default_rng(0)
    return lambda: _rows([_ids(rng, PROMPT) for _ in range(BATCH)], 0, PROMPT)


def decoding(cache: ScoreCache) -> Callable[[], Rows]:
    """The same requests get one row more in every step."""
    rng = np.random.default_rng(0)
    streams = _rows([_ids(rng, 1024) for _ in range(BATCH)], 0, 1).requests
    return lambda: Rows(streams, [one.next_position for one in streams], [1] * BATCH)


def cached_prompts(cache: ScoreCache) -> Callable[[], Rows]:
    """Every step brings the same prompts again, and the server runs their ends."""
    rng = np.random.default_rng(0)
    prompts = [_ids(rng, PROMPT) for _ in range(BATCH)]
    for ids in prompts:
        cache.add(cache.chain(), 0, np.zeros((PROMPT, FEATURES), np.int16), ids)
    start = PROMPT - TAIL
    return lambda: _rows(prompts, start, TAIL)


def _rows(prompts: Sequence[Ids], start: int, n: int) -> Rows:
    """Of new requests."""
    rows = Rows()
    for key, ids in enumerate(prompts):
        one = request(key, PROMPT)
        one.ids = ids
        rows.add(one, start, n)
    return rows


def _ids(rng: np.random.Generator, tokens: int) -> Ids:
    ids: npt.NDArray[np.int32] = rng.integers(0, VOCABULARY, tokens, np.int32)
    return lambda start, stop: ids[start:stop]  # type: ignore[return-value]


def bytes_a_token() -> float:
    """What was allocated and is still held when a cache has taken all it may, by the tokens in it."""
    rng = np.random.default_rng(0)
    scores = np.zeros((PROMPT, FEATURES), np.int16)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        cache = ScoreCache(b"bench", FEATURES, limit_bytes=FULL_BYTES)
        while not cache.evicted:
            cache.add(cache.chain(), 0, scores, _ids(rng, PROMPT))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (held - before) / len(cache)
