"""The cache's benchmark: its traffic is what it says, and memory is weighed on a cache that is full."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dosimeter.monitor.bench import cache as bench
from dosimeter.monitor.taps.reuse import with_reused
from dosimeter.monitor.taps.rows import Rows, entered
from dosimeter.monitor.taps.score_cache import ScoreCache


@pytest.mark.parametrize(
    ("traffic", "stored", "reused"),
    [(bench.new_prompts, 2 * 8 * 128, 0), (bench.cached_prompts, 8 * 128, 2 * 8 * 112)],
)
def test_two_steps_store_and_reuse_what_their_name_says(
    traffic: Callable[[ScoreCache], Callable[[], Rows]], stored: int, reused: int
) -> None:
    """A cache that was never hit, or never written, would cost nothing."""
    cache = ScoreCache(b"test", bench.FEATURES)
    rows_of = traffic(cache)
    errors: list[Exception] = []
    for _ in range(2):
        entries, ill = entered(rows_of(), lambda *why: errors.append(why[-1]))
        assert ill is None
        values = np.zeros((entries.total, bench.FEATURES), np.int16)
        with_reused(cache, entries, values, errors.append)
    assert errors == []
    assert (len(cache), cache.reused) == (stored, reused)


def test_a_token_takes_at_least_what_its_codes_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 features in int16 are 32 bytes: less would mean that something was not weighed."""
    monkeypatch.setattr(bench, "FULL_BYTES", 1 << 20)
    assert 32 < bench.bytes_a_token() < 80
