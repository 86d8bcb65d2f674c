"""The alarm of a budget: never after twice of it is spent, seldom without a reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from dosimeter.rules.planning.spend import (
    DAY_NS,
    WEEK,
    Alarm,
    Spend,
    at_least,
    evidence,
    reached_with,
)

EVEN = (1 / 24,) * 24
HOURS = tuple(np.array([1] * 8 + [3] * 10 + [2] * 6) / 50)


def spread(times: np.ndarray, spend: Spend, day: int = 0) -> Alarm | None:
    """The first alarm of one day's reviews; times in days."""
    for at in np.sort(times).tolist():
        alarm = spend.review((WEEK * 3 + day) * DAY_NS + int(at * DAY_NS))
        if alarm is not None:
            return alarm
    return None


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 400), st.floats(0.01, 300))
def test_chances_are_those_of_a_poisson_number(count: int, mean: float) -> None:
    assert at_least(count, mean) == pytest.approx(stats.poisson(mean).sf(count - 1), abs=1e-9)


@given(st.floats(0.1, 500), st.sampled_from([0.05, 0.001]))
def test_a_limit_is_the_smallest_that_is_reached_so_seldom(mean: float, chance: float) -> None:
    limit = reached_with(mean, chance)
    assert at_least(limit, mean) <= chance
    assert limit == 1 or at_least(limit - 1, mean) > chance


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 300),
    st.floats(0.1, 400),
    st.lists(st.floats(0, 0.999), min_size=1, max_size=40),
    st.integers(0, 2**32 - 1),
)
def test_no_day_spends_twice_its_budget_without_an_alarm_before(
    budget: int, bound: float, centres: list[float], seed: int
) -> None:
    """Whatever the hours, whatever the plan."""
    rng = np.random.default_rng(seed)
    at = rng.choice(centres, 2 * budget) + 0.001 * rng.random(2 * budget)
    alarm = spread(np.clip(at, 0, 0.9999), Spend(budget, bound))
    assert alarm is not None
    assert alarm.count < 2 * budget or budget == alarm.count == 1


def test_the_promise_is_stated_and_kept_in_quiet_weeks() -> None:
    rng = np.random.default_rng(0)
    spend, weeks, alarmed = Spend(60, 40.0, HOURS), 100, 0
    assert spend.false_alarm_week <= 0.0101
    for week in range(weeks):
        spend = Spend(60, 40.0, HOURS)
        found = []
        for day in range(WEEK):
            hours = np.repeat(np.arange(24), rng.poisson(40 * np.array(HOURS)))
            found.append(spread((hours + rng.random(len(hours))) / 24, spend, 7 * week + day))
        alarmed += any(found)
    assert alarmed <= 3


@pytest.mark.parametrize("first_hour", [0, 8, 16])
def test_unknown_hours_alarm_no_more_often_whatever_they_are(first_hour: int) -> None:
    """2026-11-29: even hours were taken for granted, and traffic of the night alarmed in every week."""
    rng, alarmed = np.random.default_rng(first_hour), 0
    hours = np.where((np.arange(24) - first_hour) % 24 < 8, 6.0, 1.0)
    hours /= hours.sum()
    for week in range(60):
        spend = Spend(120, 120.0)
        found = []
        for day in range(WEEK):
            of = np.repeat(np.arange(24), rng.poisson(120 * hours))
            found.append(spread((of + rng.random(len(of))) / 24, spend, 7 * week + day))
        alarmed += any(found)
    assert alarmed <= 3


def test_a_budget_too_small_to_keep_both_promises_says_so() -> None:
    spend = Spend(2, 2.0)
    assert spend.limit == 3
    assert spend.false_alarm_week == 1.0


def test_five_times_the_rate_is_alarmed_of_long_before_the_day_is_over() -> None:
    times = (np.arange(600) + 0.5) / 600
    alarm = spread(times, Spend(120, 120.0, EVEN), day=4)
    assert alarm is not None
    assert alarm.look == "hours"
    assert alarm.count < 60
    assert str(alarm).startswith(f"{alarm.count} reviews, where the plan has at most")


def test_a_slow_excess_is_found_by_the_week() -> None:
    """A quarter more than planned, which no single day shows."""
    spend, found = Spend(100, 100.0), None
    for day in range(7):
        found = found or spread((np.arange(130) + 0.5) / 130, spend, day)
    assert found is not None
    assert found.look == "week"


def test_one_alarm_a_day_and_the_next_day_begins_anew() -> None:
    spend = Spend(5, 1.0)
    alarms = [spend.review(DAY_NS * 8 + i) for i in range(50)]
    assert sum(a is not None for a in alarms) == 1
    assert any(spend.review(DAY_NS * 9 + i) for i in range(9))


def test_what_comes_late_counts_as_of_the_latest_day() -> None:
    spend = Spend(3, 1.0)
    assert spend.review(DAY_NS * 8) is None
    (alarm,) = (a for i in range(9) if (a := spend.review(DAY_NS * 7 + i)))
    assert alarm.count == spend.limit == 5


def test_evidence_is_a_martingale() -> None:
    """Its mean over Poisson counts of the expected mean is 1."""
    counts = np.arange(400)
    chances = stats.poisson(30).pmf(counts)
    assert sum(
        chance * evidence(int(n), 30.0) for n, chance in zip(counts, chances, strict=True)
    ) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("budget", "bound", "hours"),
    [(0, 1.0, HOURS), (1, 0.0, HOURS), (1, 1.0, (1.0,)), (1, 1.0, (0.5,) * 24)],
)
def test_nonsense_is_refused(budget: int, bound: float, hours: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"nothing to watch|24 shares"):
        Spend(budget, bound, hours)
