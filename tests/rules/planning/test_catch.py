"""What is caught and missed: a table worked out by hand, and what weights and missing labels do to it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from dosimeter.rules.planning.catch import caught, label_first
from dosimeter.rules.planning.plan import NO, UNKNOWN, YES, Evidence

NOW = np.array([True] * 10 + [False] * 90)
PLANNED = np.array([True] * 5 + [False] * 5 + [True] * 5 + [False] * 85)


def evidence(labels: dict[int, int], weights: np.ndarray | None = None) -> Evidence:
    said = np.full(100, UNKNOWN, np.int8)
    for request, label in labels.items():
        said[request] = label
    first = np.where(PLANNED, 0, 3).astype(np.int32)[:, None]
    return Evidence(first, np.ones(100) if weights is None else weights, 1000, said)


def test_the_table() -> None:
    """1000 a day, ten times the sample. Of the 5 that fall out 4 were labelled, 1 yes: 50 a day, a quarter right. Of
    the 85 that nobody sees 17 were, 1 yes: 850 a day, 1 in 17 right."""
    labels = {0: YES, 1: YES, 5: YES, 6: NO, 7: NO, 8: NO, 10: YES}
    labels |= {20 + i: NO for i in range(16)} | {50: YES}
    found = caught(evidence(labels), NOW, PLANNED)
    assert found is not None
    assert (found.positives, found.caught) == (5, 3)
    assert found.share == pytest.approx(0.6)
    low, high = stats.binomtest(3, 5).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.missed.expected == pytest.approx(50 / 4 + 850 / 17)
    parts = [stats.binomtest(1, n).proportion_ci(1 - 0.05 / 2, method="exact") for n in (4, 17)]
    assert found.missed.low == pytest.approx(50 * parts[0].low + 850 * parts[1].low)
    assert found.missed.high == pytest.approx(50 * parts[0].high + 850 * parts[1].high)


def test_what_was_never_sampled_has_no_number_but_a_bound() -> None:
    found = caught(evidence({0: YES, 1: NO}), NOW, PLANNED)
    assert found is not None
    assert found.missed.expected is None
    assert found.missed.high == pytest.approx(900)


def test_without_labels_there_is_no_answer() -> None:
    assert caught(evidence({}), NOW, PLANNED) is None
    none = Evidence(np.zeros((100, 1), np.int32), np.ones(100), 1000)
    assert caught(none, NOW, PLANNED) is None


def test_a_positive_counts_as_many_requests_as_it_stands_for() -> None:
    weights = np.where(NOW, 1.0, 20.0)
    found = caught(evidence({0: YES, 50: YES}, weights), NOW, PLANNED)
    assert found is not None
    assert found.share == pytest.approx(1 / 21)
    assert found.high > 0.7  # two requests say little, the more so as one is most of it


def test_to_label_first_is_what_moves_levels_and_a_spread_of_what_nobody_sees() -> None:
    found = label_first(evidence({0: YES, 20: NO}), PLANNED, 20)
    hit, quiet = found[:9], found[9:]
    assert set(hit) == set(np.flatnonzero(PLANNED).tolist()) - {0}
    assert len(found) == len(set(found.tolist())) == 20
    assert not PLANNED[quiet].any()
    assert 20 not in quiet
    assert max(np.diff(quiet)) <= 15  # all over
