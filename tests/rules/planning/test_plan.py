"""Where dials are put: on tables small enough to work out by hand, and never beyond the budget on any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.rules.planning.plan import NO, UNKNOWN, YES, Evidence, Knob, choose, outlook


def evidence(
    rows: list[list[int]], per_day: int | None = None, labels: list[int] | None = None
) -> Evidence:
    """A request a row: the tightest position of each rule that fires on it. A day as large as the sample and one more,
    so that a request of the sample is a review a day."""
    first = np.array(rows, np.int32)
    said = None if labels is None else np.array(labels, np.int8)
    return Evidence(first, np.ones(len(first)), per_day or len(first) + 1, said)


def knobs(*severities: str, positions: int = 4, now: int = 1) -> list[Knob]:
    offsets = tuple(now - i for i in range(positions))
    return [Knob(f"r{i}", severity, offsets) for i, severity in enumerate(severities)]


def test_one_rule_is_loosened_as_far_as_the_budget_goes() -> None:
    """1, 2, 3 and 4 requests at its positions, and one for the level that is placed on them."""
    found = evidence([[0], [1], [2], [3], [4], [4]])
    for budget, position in [(2, 0), (3, 1), (4, 2), (4.9, 2), (5, 3), (99, 3)]:
        chosen = choose(knobs("high"), found, budget)
        assert (chosen.positions, chosen.fits) == ((position,), True)


def test_what_does_not_fit_at_its_tightest_does_not_fit() -> None:
    chosen = choose(knobs("high"), evidence([[0], [1], [4]]), 1.9)
    assert not chosen.fits
    assert chosen.positions == (0,)


def test_a_request_on_which_two_rules_fire_is_one_review() -> None:
    """Both fire on the same three requests at their loosest: 3 reviews and 2 levels."""
    both = evidence([[0, 0], [1, 1], [2, 2], [3, 3]])
    assert choose(knobs("high", "high", positions=3), both, 5).positions == (2, 2)
    apart = evidence([[0, 9], [1, 9], [2, 9], [9, 0], [9, 1], [9, 2]])
    assert choose(knobs("high", "high", positions=3), apart, 5).positions == (1, 0)
    assert outlook(knobs("high", "high"), both, (2, 2)).total.expected == pytest.approx(5)


def test_the_budget_is_dealt_by_severity_and_what_is_left_flows_down() -> None:
    """20 reviews for critical and low, each with ten requests a position: 80 and 20 per cent are 16 and 4. The critical
    one takes 11 of its 16, the low one 9 of the 4 + 5 that are there."""
    rows = [[min(i // 10, 2), 9] for i in range(10)] + [[9, i // 8] for i in range(24)]
    chosen = choose(knobs("critical", "low", positions=3), evidence(rows), 20)
    assert chosen.allowance == {"critical": 16, "low": 4}
    assert chosen.positions == (2, 0)
    assert outlook(knobs("critical", "low"), evidence(rows), (2, 0)).total.expected == 20


def test_shares_can_be_said_and_must_leave_something() -> None:
    rows = [[i, 9] for i in range(4)] + [[9, i] for i in range(4)]
    mine = knobs("high", "low")
    assert choose(mine, evidence(rows), 6, {"high": 100}).positions == (2, 0)
    assert choose(mine, evidence(rows), 6, {"low": 100}).positions == (0, 2)
    with pytest.raises(ValueError, match="no share for high, low"):
        choose(mine, evidence(rows), 6, {"critical": 100})


def test_without_labels_the_rule_that_stands_tightest_against_its_file_is_next() -> None:
    """The second is written two positions looser than the first: it ends two positions looser."""
    rows = [[i, 9] for i in range(6)] + [[9, i] for i in range(6)]
    mine = [Knob("a", "high", (1, 0, -1, -2, -3, -4)), Knob("b", "high", (3, 2, 1, 0, -1, -2))]
    assert choose(mine, evidence(rows), 8).positions == (1, 3)


def test_with_labels_the_rule_that_is_right_more_often_gets_the_reviews() -> None:
    rows = [[i, 9] for i in range(6)] + [[9, i] for i in range(6)]
    mine = [Knob("a", "high", tuple(range(6, 0, -1))), Knob("b", "high", tuple(range(6, 0, -1)))]
    for labels, positions in [([YES] * 6 + [NO] * 6, (5, 0)), ([NO] * 6 + [YES] * 6, (0, 5))]:
        assert choose(mine, evidence(rows, labels=labels), 9).positions == positions


def test_with_labels_a_move_may_go_past_a_request_that_is_wrong() -> None:
    """The second position of the first rule adds a no, the third four times yes: two thirds and more are right, where
    the other rule is right half of the time."""
    rows = [[1, 9], *[[2, 9]] * 4, [9, 1], [9, 1], [9, 2], [9, 2], [0, 9], [9, 0]]
    labels = [NO, YES, YES, YES, YES, YES, NO, YES, NO, YES, YES]
    mine = [Knob("a", "high", (0, -1, -2)), Knob("b", "high", (0, -1, -2))]
    assert choose(mine, evidence(rows, labels=labels), 9).positions == (2, 0)


def test_a_severity_keeps_its_share_even_if_another_is_right_more_often() -> None:
    rows = [[i, 9] for i in range(4)] + [[9, i] for i in range(4)]
    labels = [NO] * 4 + [YES] * 4
    chosen = choose(
        knobs("critical", "low"), evidence(rows, labels=labels), 6, {"critical": 80, "low": 20}
    )
    assert chosen.positions[0] >= 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 60), st.booleans())
def test_no_plan_goes_beyond_its_budget_and_none_leaves_a_move_that_fits(
    seed: int, budget: float, labelled: bool
) -> None:
    rng = np.random.default_rng(seed)
    count, positions = int(rng.integers(1, 6)), int(rng.integers(1, 7))
    first = rng.integers(0, positions * 3, (60, count)).clip(max=positions).astype(np.int32)
    weights = rng.choice([1.0, 1.0, 20.0], 60)
    labels = rng.choice([UNKNOWN, NO, YES], 60).astype(np.int8) if labelled else None
    mine = knobs(*rng.choice(["critical", "high", "low"], count), positions=positions)
    found = Evidence(first, weights, int(weights.sum()) + 1, labels)

    def reviews(at: tuple[int, ...]) -> float:
        return float(weights[(first <= np.array(at)).any(axis=1)].sum()) + count

    chosen = choose(mine, found, budget)
    assert outlook(mine, found, chosen.positions).total.expected == pytest.approx(
        min(reviews(chosen.positions), found.per_day)
    )
    if not chosen.fits:
        assert chosen.positions == (0,) * count
        assert reviews((0,) * count) > budget
        return
    assert reviews(chosen.positions) <= budget + 1e-9
    for rule in range(count):
        if chosen.positions[rule] + 1 < positions:
            looser = [p + (r == rule) for r, p in enumerate(chosen.positions)]
            assert reviews(tuple(looser)) > budget - 1e-9


def test_each_review_is_charged_to_its_highest_severity() -> None:
    rows = [[0, 0], [0, 9], [9, 0], [9, 0]]
    found = outlook(knobs("low", "high"), evidence(rows), (0, 0))
    assert found.severities["high"].expected == pytest.approx(3 + 1)
    assert found.severities["low"].expected == pytest.approx(1 + 1)
    assert [f.expected for f in found.rules if f] == pytest.approx([2 + 1, 3 + 1])


def test_a_rule_that_cannot_be_placed_brings_nothing() -> None:
    found = outlook(knobs("low", "high"), evidence([[0, 0], [9, 0]]), (None, 0))
    assert found.rules[0] is None
    assert found.total.expected == pytest.approx(2 + 1)
