"""Figures out of hits and weights, against tables that were worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dosimeter.detectors.evaluate import Interval
from dosimeter.rules.backtesting.backtest import HITS
from dosimeter.rules.backtesting.estimate import (
    DAY_NS,
    REQUESTS,
    Found,
    changes,
    day_of,
    figures,
    joined,
    nothing,
    overlap,
    precision,
)

MONDAY = 20_000 * DAY_NS


def found(
    requests: list[tuple[int, int, int, int, int]],
    hits: list[tuple[int, int, int, bool]],
    rules: tuple[str, ...] = ("a", "b"),
) -> Found:
    """requests: (key, day, one_in, tenant, route); hits: (request, position, rule, exempt)."""
    rows = [(7, key, MONDAY + day * DAY_NS, one_in, t, r) for key, day, one_in, t, r in requests]
    return Found(
        rules,
        np.array(rows, REQUESTS),
        np.array(hits, HITS),
        ("", "bank", "shop"),
        ("", "chat"),
    )


WEEK = found(
    # key, day, one_in, tenant, route
    [(1, 0, 1, 1, 1), (2, 0, 1, 2, 1), (3, 1, 10, 1, 0), (4, 3, 10, 0, 1)],
    # request, position, rule, exempt
    [(0, 5, 0, False), (0, 9, 0, False), (1, 2, 0, True), (2, 4, 0, False),
     (0, 7, 1, False), (3, 1, 1, False)],
)  # fmt: skip


def test_alerts_are_hits_times_weights_without_those_that_are_exempt() -> None:
    """Rule a: two hits on request 1 (weight 1), one on request 3 (weight 10), one exempt."""
    of = figures(WEEK, 10, "a")
    assert (of.hits, of.requests, of.exempt, of.certain) == (3, 2, 1, 2)
    assert of.total.value == 2 + 10
    assert of.by_day == {"2024-10-04": 2, "2024-10-05": 10}
    assert of.tenants == {"bank": 11}
    assert of.routes == {"chat": 1}
    assert of.a_day(4.0).value == 3.0


def test_all_rules_together_count_each_alert_and_each_request_once() -> None:
    of = figures(WEEK, 10)
    assert (of.hits, of.requests, of.exempt) == (5, 3, 1)
    assert of.total.value == (2 + 10) + (1 + 10)
    assert of.tenants == {"bank": 11}  # request 1 has two rules, and stands for one request
    assert of.routes == {"chat": 11}


def test_the_interval_is_that_of_a_poisson_count_where_everything_is_kept() -> None:
    """Garwood (1936): of 3 the interval is 0.6187 to 8.767, of none up to 3.689."""
    three = found([(k, 0, 1, 0, 0) for k in range(3)], [(k, 0, 0, False) for k in range(3)])
    assert figures(three, 1, "a").total == Interval(
        3.0, pytest.approx(0.6187, abs=1e-4), pytest.approx(8.767, abs=1e-3)
    )
    none = figures(nothing(["a"]), 1, "a").total
    assert none == Interval(0.0, 0.0, pytest.approx(3.689, abs=1e-3))
    sampled = figures(nothing(["a"]), 50, "a").total
    assert sampled.high == pytest.approx(50 * 3.689, rel=1e-3)


def test_a_request_with_several_hits_is_one_event_and_not_several() -> None:
    """Five hits of one request say as little of the rate as one hit: the interval is five times that of one."""
    one = found([(1, 0, 1, 0, 0)], [(0, at, 0, False) for at in range(5)])
    assert figures(one, 1, "a").total == Interval(
        5.0, pytest.approx(5 * 0.0253, abs=1e-3), pytest.approx(5 * 5.572, abs=1e-2)
    )


def test_overlap_counts_requests_on_which_both_alert() -> None:
    kept, weighted = overlap(WEEK)
    assert kept.tolist() == [[2, 1], [1, 2]]
    assert weighted.tolist() == [[11, 1], [1, 11]]


def test_files_come_together_under_one_list_of_names() -> None:
    """The second file has other names in another order, and a rule that the first does not run."""
    other = Found(
        ("c", "a"),
        np.array([(7, 9, MONDAY, 3, 0, 0)], REQUESTS),
        np.array([(0, 1, 0, False), (0, 2, 1, False)], HITS),
        ("shop",),
        ("mail",),
    )
    both = joined([WEEK, other])
    assert both.rules == ("a", "b", "c")
    assert figures(both, 10, "a").hits == 4
    assert figures(both, 10, "c").tenants == {"shop": 3}
    assert figures(both, 10, "c").routes == {"mail": 3}
    assert figures(both, 10, "b") == figures(WEEK, 10, "b")
    assert joined([]).rules == ()


def test_changes_name_requests_and_not_positions() -> None:
    before = found(
        [(1, 0, 1, 1, 1), (5, 0, 1, 2, 1)],
        [(0, 1, 0, False), (1, 6, 0, False), (1, 3, 0, False)],
    )
    added, removed = changes(WEEK, before)
    assert [(c.rule, c.key, c.position, c.one_in, c.tenant) for c in added] == [
        ("a", 3, 4, 10, "bank"),
        ("b", 1, 7, 1, "bank"),
        ("b", 4, 1, 10, ""),
    ]
    assert [(c.rule, c.key, c.position, c.tenant) for c in removed] == [("a", 5, 3, "shop")]
    assert changes(WEEK, WEEK) == ([], [])


def test_precision_is_of_labelled_requests_alone() -> None:
    labels = {(7, 1): True, (7, 3): False, (7, 2): False, (6, 4): True}
    of_a = precision(WEEK, "a", labels)
    assert (of_a.right, of_a.labelled) == (1, 2)  # request 2 is exempt
    assert of_a.interval is not None
    assert of_a.interval.low == pytest.approx(0.0126, abs=1e-4)  # Clopper-Pearson of 1 in 2
    assert of_a.interval.high == pytest.approx(0.9874, abs=1e-4)
    assert precision(WEEK, "b", {(6, 4): True}).interval is None
    assert precision(WEEK, None, labels).labelled == 2


def test_days_are_those_of_utc() -> None:
    assert day_of(0) == "1970-01-01"
    assert day_of(20_000) == "2024-10-04"
