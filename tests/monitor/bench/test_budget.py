"""The bench of the budget finds a plan that does not hold, and an alarm that does not come."""

from __future__ import annotations

import numpy as np
import pytest

from dosimeter.monitor.bench import budget
from dosimeter.monitor.bench.budget import Cell


def cells(came: float, bound: float = 80.0) -> list[Cell]:
    """Ten plans for 60 reviews a day with an interval from 45 to 75."""
    return [Cell(60, 60.0, 45, 75, bound, round(60 * came), round(24 * came)) for _ in range(10)]


def values(of: list[budget.Figure]) -> dict[str, float | int | None]:
    return {figure.name: figure.value for figure in of}


def test_days_beyond_the_interval_are_counted() -> None:
    mixed = cells(1.0)[:8] + cells(1.5)[:1] + cells(0.5)[:1]
    found = values(budget.held(mixed))
    assert found["plans: realised reviews within the stated interval"] == 80
    assert found["plans: realised reviews above it"] == 10


def test_shifts_are_alarmed_of_and_quiet_weeks_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "QUIET_WEEKS", 2)
    found = values(budget.spent(cells(1.0)))
    for shift in budget.SHIFTS:
        assert found[f"alarm: {shift}: before twice the budget"] == 100
    assert found["alarm: quiet weeks with an alarm"] == 0


def test_an_alarm_that_does_not_come_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(budget.Spend):
        def review(self, time_ns: int) -> None:
            return None

    monkeypatch.setattr(budget, "Spend", Deaf)
    monkeypatch.setattr(budget, "QUIET_WEEKS", 1)
    assert (
        values(budget.spent(cells(1.0)))["alarm: 2.5 times as fast: before twice the budget"] == 0
    )


def test_a_plan_is_made_on_one_half_and_held_against_the_other() -> None:
    """On traffic of one kind the cells lie near the budget; the halves share no request."""
    traffic = budget.autoregressive(("deception", "scam", "sycophancy", "defection", "x"), 4000)
    half = np.arange(traffic.requests) < 1500
    assert budget.part(traffic, half).requests == 1500
    assert (budget.part(traffic, ~half).codes == traffic.codes[int(traffic.offsets[1500]) :]).all()
    found = list(budget.planned(budget.rulesets()["lab"], traffic, seed=3))
    assert [cell.budget for cell in found] == list(budget.BUDGETS)
    for cell in found:
        assert 0.6 * cell.budget < cell.expected <= cell.budget < cell.bound
        assert cell.low < cell.came < cell.high
