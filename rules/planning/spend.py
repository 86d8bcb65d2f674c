"""Whether reviews come faster than a plan said: an alarm before twice a day's budget is spent.

Owns `Spend`. It is told each review with its event time, keeps no clock, and takes three looks:

day     a day's reviews reach a number that a day within the plan does not reach but with a stated chance, and that is
        below twice the budget. It does not depend on the hours at which traffic comes, and no day gets past it.
hours   evidence since midnight: a mixture of bets that reviews come `RATIOS` times as fast as the plan's bound. Each is
        a martingale where they come at the bound, as Poisson processes do at the stated hours (A. Wald, "Sequential
        tests of statistical hypotheses", 1945), so that one in 1/q of such days ever reaches q (J. Ville, "Étude
        critique de la notion de collectif", 1939).
week    the same evidence since the week began, for a slow rise.

Where nobody knows at which hours reviews come, all of a day's are taken for due at midnight: later alarms, and the same
chance of a false one, for the evidence of a day is then highest at its end, whatever its hours. Even hours would be a
guess that alarms every night of a service whose users are awake then.

The three chances are added up: at most 1 % a week, unless the budget is so small that only the promise of the day's
look can be kept; `false_alarm_week` says which. It holds for reviews that come one by one and at no more than the
bound; in bunches they alarm more often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RATIOS = (1.15, 1.3, 1.6, 2.0, 3.0, 5.0)
_BETS = tuple((math.log(ratio), ratio - 1) for ratio in RATIOS)
DAY_NS = 86_400 * 1_000_000_000
WEEK = 7
BY_DAY, BY_HOURS, BY_WEEK = 0.005, 0.0035, 0.0015
"""How the 1 % a week is shared."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Reviews of this day are too many. look: `day`, `hours` or `week`; count: of the day, this one included."""

    look: str
    time_ns: int
    count: int
    budget: int
    expected: float  # by then, at the plan's bound

    def __str__(self) -> str:
        return (
            f"{self.count} reviews, where the plan has at most {self.expected:.1f} by now "
            f"and {self.budget} a day"
        )


class Spend:
    """Tell it every review; it answers with an alarm at most once a day.

    budget  reviews a day that there are
    bound   at most so many a day on average by the plan (`Seen.bound`), which leaves room for what a sample cannot know
    hours   share of a day's reviews in each hour of UTC; None where nobody knows
    """

    def __init__(self, budget: int, bound: float, hours: Sequence[float] | None = None) -> None:
        if budget < 1 or not bound > 0:
            raise ValueError(f"nothing to watch: budget {budget}, bound {bound}")
        if hours is not None and (
            len(hours) != 24 or min(hours) < 0 or abs(math.fsum(hours) - 1) > 1e-6
        ):
            raise ValueError("hours: 24 shares that make 1")
        self.budget, self.bound = budget, bound
        self._before = None if hours is None else [math.fsum(hours[:i]) for i in range(25)]
        wanted = reached_with(bound, BY_DAY / WEEK)
        self.limit = min(wanted, 2 * budget - 1)
        self.false_alarm_week = min(1.0, WEEK * at_least(self.limit, bound) + BY_HOURS + BY_WEEK)
        self._day, self._week = -1, -1
        self._count = 0  # of the day
        self._since_week = 0
        self._alarmed = False

    def review(self, time_ns: int) -> Alarm | None:
        """One more review at this event time; what comes late counts as of the latest day."""
        day = max(self._day, time_ns // DAY_NS)
        if day != self._day:
            self._begin(day)
        self._count += 1
        self._since_week += 1
        if self._alarmed:
            return None
        into = self._into(time_ns)
        looks = (
            ("day", self._count >= self.limit),
            ("hours", evidence(self._count, self.bound * into) >= WEEK / BY_HOURS),
            ("week", evidence(self._since_week, self._of_week(into)) >= 1 / BY_WEEK),
        )
        look = next((name for name, reached in looks if reached), None)
        if look is None:
            return None
        self._alarmed = True
        return Alarm(look, time_ns, self._count, self.budget, self.bound * into)

    def _begin(self, day: int) -> None:
        self._day, self._count, self._alarmed = day, 0, False
        if day // WEEK != self._week:
            self._week, self._since_week = day // WEEK, 0

    def _into(self, time_ns: int) -> float:
        """The share of the day's reviews that are due by then."""
        before = self._before
        if before is None:
            return 1.0
        if time_ns // DAY_NS < self._day:
            return 0.0
        hour, rest = divmod((time_ns % DAY_NS) * 24 / DAY_NS, 1)
        return before[int(hour)] + rest * (before[int(hour) + 1] - before[int(hour)])

    def _of_week(self, into: float) -> float:
        return self.bound * (self._day % WEEK + into)


def evidence(count: int, expected: float) -> float:
    """That events come faster than expected: the mean over RATIOS of what a bet on that ratio has made of 1."""
    bets = (count * log - more * expected for log, more in _BETS)
    return math.fsum(math.exp(min(bet, 700.0)) for bet in bets) / len(_BETS)


def reached_with(mean: float, chance: float) -> int:
    """The smallest count that a Poisson number of this mean reaches with at most that chance."""
    low, high = 0, 1
    while at_least(high, mean) > chance:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at_least(middle, mean) <= chance else (middle, high)
    return high


def at_least(count: int, mean: float) -> float:
    """P(X >= count) of a Poisson number."""
    if count <= mean:  # the sum below is of the smaller side
        return max(0.0, 1.0 - _sum_down(count - 1, mean))
    term = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    total, at = 0.0, count
    while term > total * 1e-17:
        total += term
        at += 1
        term *= mean / at
    return min(1.0, total)


def _sum_down(count: int, mean: float) -> float:
    """P(X <= count)."""
    if count < 0:
        return 0.0
    term = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    total, at = 0.0, count
    while at >= 0 and term > total * 1e-17:
        total += term
        term *= at / mean
        at -= 1
    return min(1.0, total)
