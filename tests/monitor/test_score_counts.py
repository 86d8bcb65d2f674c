"""Score counts: the same numbers as counting each score by itself, whatever the batching."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from dosimeter.monitor.score_counts import AT_ONCE, BINS, EDGES, MOST_FEATURES, ScoreCounts


def codes(*rows: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """From benign standard deviations, 256 codes each."""
    return np.array([[int(sd * 256) for sd in row] for row in rows], np.int16)


def totals(counts: ScoreCounts) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for feature, upper, tokens in counts.totals():
        found.setdefault(feature, {})[upper] = tokens
    return found


def test_a_score_counts_in_its_bin_and_all_above_and_an_edge_belongs_to_the_bin_below() -> None:
    counts = ScoreCounts()
    counts.add(("scam", "deception"), codes([-5, 2.5], [0, 2.51], [3, 100]))
    counts.settle()
    found = totals(counts)
    assert list(found["scam"]) == list(BINS)
    assert {at: found["scam"][at] for at in ("-4", "-1", "0", "2.5", "3", "+Inf")} == {
        "-4": 1,
        "-1": 1,
        "0": 2,
        "2.5": 2,
        "3": 3,
        "+Inf": 3,
    }
    assert [found["deception"][at] for at in ("2", "2.5", "3", "12", "+Inf")] == [0, 1, 2, 2, 3]


def test_any_batching_counts_every_code_there_is_as_one_by_one() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    np.random.default_rng(0).shuffle(every)
    counts = ScoreCounts()
    for part in np.split(every[:, None], [1, 2, 300, 301, 5000]):
        counts.add(("scam",), part)
    counts.settle()
    scored = [code / 256 for code in every.tolist() if code != -32768]  # which says: no score
    by_hand = [sum(score <= edge for score in scored) for edge in EDGES]
    assert list(totals(counts)["scam"].values()) == [*by_hand, 65535]


def test_few_tokens_wait_and_many_are_counted_at_once() -> None:
    counts = ScoreCounts()
    counts.add(("scam",), codes(*[[1.0]] * (AT_ONCE - 1)))
    assert totals(counts)["scam"]["+Inf"] == 0
    counts.add(("scam",), codes([1.0]))
    assert totals(counts)["scam"]["+Inf"] == AT_ONCE


def test_other_columns_begin_a_count_of_their_own_and_lose_nothing_that_waits() -> None:
    counts = ScoreCounts()
    counts.add(("a", "b"), codes([1, 5]))
    counts.add(("b", "c"), codes([5, 9]))
    counts.settle()
    assert {name: row["+Inf"] for name, row in totals(counts).items()} == {"a": 1, "b": 2, "c": 1}
    assert totals(counts)["b"]["4"] == 0


def test_series_are_bounded_and_what_has_none_is_said_and_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = tuple(f"f{n}" for n in range(MOST_FEATURES + 2))
    counts = ScoreCounts()
    with caplog.at_level(logging.WARNING):
        counts.add(names, codes([1.0] * len(names)))
    counts.settle()
    assert list(totals(counts)) == list(names[:MOST_FEATURES])
    assert all(row["+Inf"] == 1 for row in totals(counts).values())
    assert [r.getMessage() for r in caplog.records] == [
        f"scores of `f{MOST_FEATURES}` and later features have no metric"
    ]
