"""The score cache against a dictionary of whole prefixes: what it returns is what that very prefix had."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.taps.requests import Request, Requests
from dosimeter.monitor.taps.reuse import with_reused
from dosimeter.monitor.taps.rows import Rows, entered
from dosimeter.monitor.taps.score_cache import ENTRY_BYTES, WAITING, Chain, Ids, ScoreCache
from dosimeter.monitor.taps.score_tails import PLACES, Tails

F = 2


def row(tokens: Sequence[int], salt: bytes) -> np.ndarray:
    """The planted score of a position: a number that only this prefix has, worked out without hashing."""
    digits = int("1" + "".join(str(t) for t in tokens), 3)
    return np.array([digits % 30011, (digits // 30011 + len(salt)) % 30011], np.int16)


def rows(tokens: Sequence[int], start: int, stop: int, salt: bytes = b"") -> np.ndarray:
    planted = [row(tokens[: p + 1], salt) for p in range(start, stop)]
    return np.array(planted, np.int16).reshape(-1, F)


def known(tokens: Sequence[int]) -> Ids:
    return lambda start, stop: tokens[start:stop]


def keep(cache: ScoreCache, chain: Chain, at: int, values: np.ndarray, ids: Ids) -> None:
    """As a step does: one row by `extend`, where it goes on inside a block."""
    if len(values) != 1 or cache.extend([chain], [at], values):
        cache.add(chain, at, values, ids)


def unexpected(request: Request, start: int, n: int, error: Exception) -> None:
    raise error


SEQUENCES = st.lists(
    st.tuples(
        st.lists(st.integers(0, 2), min_size=1, max_size=40),
        st.sampled_from([b"", b"adapter"]),
        st.lists(st.integers(1, 13), min_size=40, max_size=40),  # rows a step
        st.integers(0, 40),  # where its rows begin: what the server had cached
        st.integers(
            0, 40
        ),  # where they go on after the first step: passed over by then, if it is further
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(SEQUENCES, st.sampled_from([1, 3, 4, 8, 16]), st.integers(0, 6))
def test_what_is_returned_is_what_this_prefix_had(
    sequences: list[tuple[list[int], bytes, list[int], int, int]], page: int, room: int
) -> None:
    """Whatever was shared, cut, forgotten or skipped: a score of another prefix is never returned."""
    block = math.gcd(page, 64)
    cache = ScoreCache(b"m", F, limit_bytes=room * (block * F * 2 + ENTRY_BYTES))
    cache.fit(page)
    for tokens, salt, steps, first, later in sequences:
        first, later = min(first, len(tokens) - 1), min(later, len(tokens) - 1)
        chain, ids = cache.chain(salt), known(tokens)

        def passed_over(
            upto: int, chain: Chain = chain, tokens: list[int] = tokens, salt: bytes = salt
        ) -> None:
            end = 0
            for start, found in cache.prefix(chain, upto, known(tokens)):
                assert start >= end
                end = start + len(found)
                assert end <= upto
                np.testing.assert_array_equal(found, rows(tokens, start, end, salt))

        if first:
            passed_over(first)
        at = first
        for index, n in enumerate(steps):
            if index == 1 and at < later:
                passed_over(later)
                at = later
            stop = min(at + n, len(tokens))
            keep(cache, chain, at, rows(tokens, at, stop, salt), ids)
            at = stop
        assert len(cache) <= max(1, room) * block


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=60),
    st.lists(st.integers(1, 17), min_size=60, max_size=60),
    st.integers(0, 60),
)
def test_every_whole_block_that_was_scored_is_found(
    tokens: list[int], steps: list[int], stop: int
) -> None:
    """Nothing is forgotten while there is room, however the server cut its steps."""
    cache = ScoreCache(b"m", F)
    chain, at = cache.chain(), 0
    for n in steps:
        keep(cache, chain, at, rows(tokens, at, min(at + n, len(tokens))), known(tokens))
        at = min(at + n, len(tokens))
    shared = tokens[:stop]
    runs = cache.prefix(cache.chain(), len(shared), known([*shared, 0]))
    whole = len(shared) // 16 * 16
    assert [(start, len(found)) for start, found in runs] == ([(0, whole)] if whole else [])
    assert (cache.reused, cache.missed) == (whole, len(shared) - whole)


def test_many_sequences_get_one_row_each_and_every_one_its_own() -> None:
    """More than the table has places for at first, some of them begun later, some without ids for a while, some gone
    and their places taken by others: what each prefix has in the end is its own."""
    cache = ScoreCache(b"m", F)
    tokens = [
        [int(c) for c in np.base_repr(3**20 + n, 3)] + [n % 3] * 20 for n in range(3 * PLACES)
    ]
    chains = [cache.chain() for _ in tokens]
    begun = [n % 5 for n in range(len(tokens))]  # rows of the first step
    for n, chain in enumerate(chains):
        cache.add(chain, 0, rows(tokens[n], 0, 1 + begun[n]), known(tokens[n]))
    taken = 0
    for step in range(20):
        if step == 7:
            del chains[::4], tokens[::4], begun[::4]
        at = [1 + first + step for first in begun]
        values = np.concatenate([rows(one, p, p + 1) for one, p in zip(tokens, at, strict=True)])
        left = cache.extend(chains, at, values)
        taken += len(chains) - len(left)
        for n in left:
            late = n % 7 == 0 and step < 15  # of this one an id is learned later than it ran
            ids = known([*tokens[n][: at[n] - 1], -1]) if late else known(tokens[n])
            cache.add(chains[n], at[n], values[n : n + 1], ids)
    assert taken > 0.7 * 20 * len(chains)
    for one in tokens:
        ((start, found),) = cache.prefix(cache.chain(), 16, known(one))
        assert start == 0
        np.testing.assert_array_equal(found, rows(one, 0, 16))


def test_a_row_that_does_not_go_on_is_left_for_whoever_knows_holes() -> None:
    cache, tokens = ScoreCache(b"m", F), [0, 1, 2] * 16
    chain, fresh = cache.chain(), cache.chain()
    cache.add(chain, 0, rows(tokens, 0, 5), known(tokens))
    one = rows(tokens, 5, 6)
    assert cache.extend([chain, fresh], [7, 0], np.concatenate([one, one])) == [0, 1]
    assert cache.extend([chain], [4], one) == [0]  # run again
    assert cache.extend([chain], [5], one) == []
    cache.add(chain, 9, rows(tokens, 9, 11), known(tokens))
    assert cache.extend([chain], [11], one) == [0]  # its block has a hole
    cache.fit(4)
    assert cache.extend([chain], [12], one) == [0]


def test_rows_that_could_not_be_kept_at_once_are_kept_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error costs no request of the step its row, and no sequence claims a row that was not written."""
    requests = Requests(lambda kind, record: None, lambda: 0)
    cache, tokens = ScoreCache(b"m", F), [0, 1, 2] * 6
    one = requests.open(tokens, None)
    one.ids = known(tokens)

    def put(*_: object) -> None:
        raise MemoryError("injected")

    for start, n in ((0, 5), (5, 1), (6, 10)):
        with monkeypatch.context() as patch:
            if start == 5:
                patch.setattr(Tails, "put", put)
            noted, _ = entered(Rows([one], [start], [n]), unexpected)
            with_reused(cache, noted, rows(tokens, start, start + n), requests.failed)
    assert requests.errors == 1
    ((_, found),) = cache.prefix(cache.chain(), 16, known(tokens))
    np.testing.assert_array_equal(found, rows(tokens, 0, 16))


def test_a_place_is_free_when_its_sequence_is_gone() -> None:
    cache, tokens = ScoreCache(b"m", F), [0, 1, 2] * 5
    for _ in range(10 * PLACES):
        chain = cache.chain()
        cache.add(chain, 0, rows(tokens, 0, 3), known(tokens))
        chain = chain.fork()
    assert len(cache._tails.table) == PLACES


def test_another_adapter_or_cache_salt_is_another_prefix() -> None:
    cache, tokens = ScoreCache(b"m", F), [1] * 16
    cache.add(cache.chain(b"a"), 0, rows(tokens, 0, 16), known(tokens))
    assert cache.prefix(cache.chain(b"b"), 16, known(tokens)) == []
    assert cache.prefix(cache.chain(), 16, known(tokens)) == []
    assert len(cache.prefix(cache.chain(b"a"), 16, known(tokens))) == 1


def test_another_model_or_pack_is_another_cache() -> None:
    one, other = ScoreCache(b"pack 1", F), ScoreCache(b"pack 2", F)
    assert one.chain().origin != other.chain().origin


@pytest.mark.parametrize("stop", [5, 16, 21])
def test_a_fork_inherits_the_block_that_is_not_complete(stop: int) -> None:
    cache, tokens = ScoreCache(b"m", F), [0, 1, 2] * 8
    parent = cache.chain()
    cache.add(parent, 0, rows(tokens, 0, stop), known(tokens))
    child = parent.fork()
    cache.add(parent, stop, rows(tokens, stop, 23), known(tokens))  # it runs on in its own tail
    ((start, found),) = cache.prefix(child, stop, known(tokens))
    assert start == 0
    np.testing.assert_array_equal(found, rows(tokens, 0, stop))


def test_a_block_waits_for_token_ids_that_the_server_learns_later() -> None:
    """A server that runs a step ahead knows a generated token's id only after the next step has begun."""
    cache, tokens = ScoreCache(b"m", F), [0, 1] * 8
    chain = cache.chain()
    cache.add(chain, 0, rows(tokens, 0, 16), known([*tokens[:15], -1]))
    assert len(cache) == 0
    cache.add(chain, 16, rows([*tokens, 2], 16, 17), known([*tokens, 2]))
    assert len(cache) == 16
    ((_, found),) = cache.prefix(cache.chain(), 16, known(tokens))
    np.testing.assert_array_equal(found, rows(tokens, 0, 16))


def test_a_sequence_with_an_id_that_never_comes_does_not_grow_for_ever() -> None:
    """After a step without a row map each of its blocks had waited to the end: all its scores beside the limit."""
    cache, n = ScoreCache(b"m", F), 16 * 3 * WAITING
    chain, one = cache.chain(), rows([0], 0, 1)

    def ids(start: int, stop: int) -> list[int]:
        return [-1 if at == 20 else 1 for at in range(start, stop)]

    for at in range(n):
        keep(cache, chain, at, one, ids)
    assert (chain.end, len(chain.waiting), len(cache)) == (n, WAITING, 16)


def test_a_row_that_was_not_scored_leaves_its_block_out() -> None:
    """A step that failed is a hole: the block around it is not kept, the next one is."""
    cache, tokens = ScoreCache(b"m", F), [0, 1] * 16
    chain = cache.chain()
    cache.add(chain, 0, rows(tokens, 0, 5), known(tokens))
    cache.add(chain, 7, rows(tokens, 7, 32), known(tokens))
    runs = cache.prefix(cache.chain(), 32, known(tokens))
    assert [(start, len(found)) for start, found in runs] == [(16, 16)]


def test_a_new_page_size_starts_over_and_a_sequence_under_way_goes_on() -> None:
    cache, tokens = ScoreCache(b"m", F), [0, 1] * 24
    chain = cache.chain()
    cache.add(chain, 0, rows(tokens, 0, 20), known(tokens))
    cache.fit(8)
    cache.add(chain, 20, rows(tokens, 20, 48), known(tokens))
    runs = cache.prefix(cache.chain(), 48, known(tokens))
    assert [(start, len(found)) for start, found in runs] == [(24, 24)]
    np.testing.assert_array_equal(runs[0][1], rows(tokens, 24, 48))


def test_other_packs_begin_anew_and_no_score_of_the_old_is_given_to_a_sequence_under_way() -> None:
    cache, tokens = ScoreCache(b"pack 1", F), [0, 1] * 24
    chain = cache.chain(b"adapter")
    cache.add(chain, 0, rows(tokens, 0, 20), known(tokens))
    child = chain.fork()
    cache.rebind(b"pack 2", 3)
    wide = np.arange(28 * 3, dtype=np.int16).reshape(28, 3)
    assert cache.prefix(child, 20, known(tokens)) == []
    cache.add(chain, 20, wide, known(tokens))
    ((start, found),) = cache.prefix(cache.chain(b"adapter"), 48, known(tokens))
    assert start == 32
    np.testing.assert_array_equal(found, wide[12:])
    cache.rebind(b"pack 1", F)
    assert cache.prefix(cache.chain(b"adapter"), 48, known(tokens)) == []


def test_what_was_used_least_recently_goes_first_and_is_counted() -> None:
    cache = ScoreCache(b"m", F, limit_bytes=2 * (16 * F * 2 + ENTRY_BYTES))
    prompts = [[n % 3] * 8 + [n // 3] * 8 for n in (0, 1, 2)]
    for tokens in prompts[:2]:
        cache.add(cache.chain(), 0, rows(tokens, 0, 16), known(tokens))
    assert cache.prefix(cache.chain(), 16, known(prompts[0]))
    cache.add(cache.chain(), 0, rows(prompts[2], 0, 16), known(prompts[2]))
    held = [bool(cache.prefix(cache.chain(), 16, known(tokens))) for tokens in prompts]
    assert held == [True, False, True]
    assert (cache.stored, cache.evicted, len(cache)) == (48, 16, 32)


def test_what_a_request_passes_over_under_way_gets_the_scores_that_another_had() -> None:
    """Put off after 5 rows of a prompt; another request ran it to its end, and its pages are shared from there on."""
    requests = Requests(lambda kind, record: None, lambda: 0)
    cache, tokens = ScoreCache(b"m", F), [0, 1, 2] * 14
    slow, fast = (requests.open(tokens, None) for _ in range(2))

    slow.ids = fast.ids = known(tokens)

    def step(request: Request, start: int, n: int) -> list[tuple[int, int, int]]:
        noted, _ = entered(Rows([request], [start], [n]), unexpected)
        values = rows(tokens, start, start + n)
        entries, out = with_reused(cache, noted, values, requests.failed)
        np.testing.assert_array_equal(
            out, np.concatenate([rows(tokens, at, at + more) for _, at, more in entries])
        )
        return list(zip(entries.start, entries.n, entries.new, strict=True))

    assert step(slow, 0, 5) == [(0, 5, 5)]
    step(fast, 0, 42)
    assert step(slow, 32, 10) == [(5, 27, 27), (32, 10, 10)]
    assert (slow.cached, slow.next_position) == (0, 42)


def test_a_block_that_waits_for_its_ids_is_never_kept_under_those_of_a_later_one() -> None:
    cache, tokens = ScoreCache(b"m", F), [0, 1, 2] * 16
    cache.add(cache.chain(), 0, rows(tokens, 0, 48), known(tokens))
    chain = cache.chain(b"salt")
    cache.add(chain, 0, rows(tokens, 0, 16, b"salt"), known([*tokens[:15], -1]))
    assert cache.prefix(chain, 40, known([*tokens[:15], -1, *tokens[16:]])) == []
    cache.add(chain, 40, rows(tokens, 40, 48, b"salt"), known(tokens))
    ((start, found),) = cache.prefix(cache.chain(b"salt"), 48, known(tokens))
    np.testing.assert_array_equal(found, rows(tokens, start, start + 16, b"salt"))


def test_a_request_that_the_cache_fails_on_costs_no_other_its_scores() -> None:
    """One bad sequence once turned the cache off for everybody, for good."""
    requests = Requests(lambda kind, record: None, lambda: 0)
    cache, tokens = ScoreCache(b"m", F), [1] * 16
    cache.add(cache.chain(), 0, rows(tokens, 0, 16), known(tokens))

    def broken(start: int, stop: int) -> Sequence[int]:
        raise ZeroDivisionError("injected")

    bad, good = (requests.open([*tokens, 2], None) for _ in range(2))
    bad.ids, good.ids = broken, known([*tokens, 2])
    noted, _ = entered(Rows([bad, good], [16, 16], [1, 1]), unexpected)
    entries, values = with_reused(cache, noted, np.zeros((2, F), np.int16), requests.failed)
    assert (requests.errors, "injected" in (requests.last_error or "")) == (1, True)
    assert [*entries] == [
        (bad, 16, 1),
        (good, 0, 16),
        (good, 16, 1),
    ]
    np.testing.assert_array_equal(values[1:17], rows(tokens, 0, 16))
    assert (bad.cached, good.cached) == (16, 0)
