"""You have 120 reviews a day: where every dial of a ruleset has to stand.

A review is a request with any hit of a live rule: the union, each request once, charged to its highest severity. The
algorithm, in ten lines:

1.  Every rule starts at the tightest position that can be placed. If that is too much already, nothing fits.
2.  The budget is dealt to the severities that are there (40, 30, 20, 10 per cent for critical, high, medium, low,
    unless told otherwise, over what is present).
3.  From the highest severity down its rules are loosened, one position at a time, while the expected reviews of the
    severity stay within its allowance and all reviews, those of lower severities at their tightest included, within
    the budget. What it does not use, or owes, goes to the next.
4.  Next is the rule that stands tightest against what is written: so the proportions of the file are kept.
5.  With labels next is instead the move, of any length, with most true positives a review it adds.
6.  A rule whose next move does not fit is done; the others go on.
7.  What is left after the lowest severity loosens further, highest severity first (with labels: best move first).

Owns the choice and the forecasts of what was chosen. It never learns what a level is: positions are numbers, tightest
first (`dial.py`), and which request each one reaches comes from `reach.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosimeter.rules.atoms import SEVERITIES
from dosimeter.rules.planning.forecast import Forecast, Seen
from dosimeter.rules.planning.reach import Positions

Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]

SHARES = {"critical": 40, "high": 30, "medium": 20, "low": 10}
UNKNOWN, NO, YES = -1, 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a plan is made on. A requests, R rules.

    first     int32 [A, R]   the tightest position at which the rule fires on the request
    weights   float64 [A]    how many requests each stands for
    per_day   requests a day on the traffic this stands for
    labels    int8 [A]       YES, NO, UNKNOWN; None where nobody labelled
    """

    first: Positions
    weights: Doubles
    per_day: int
    labels: npt.NDArray[np.int8] | None = None

    def union(self, positions: Sequence[int]) -> Bools:
        """bool [A]: requests on which any rule fires; a position of -1 is a rule that does not run."""
        return np.asarray((self.first <= np.array(positions, np.int32)).any(axis=1))

    def seen(self, mask: Bools, cuts: int) -> Seen:
        own = self.weights[mask]
        largest = float(self.weights.max()) if len(self.weights) else 1.0
        squares = float((own * own).sum())
        return Seen(float(own.sum()), float(self.weights.sum()), cuts, squares, largest)


@dataclass(frozen=True, slots=True)
class Knob:
    """What the choice has to know of one rule. offsets: as `Dial` has them."""

    rule: str
    severity: str
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A position for each rule. fits: the expected reviews are within the budget."""

    positions: tuple[int, ...]
    fits: bool
    allowance: Mapping[str, float]  # reviews a day, by severity, before anything was passed on


def choose(
    knobs: Sequence[Knob],
    evidence: Evidence,
    budget: float,
    shares: Mapping[str, float] = SHARES,
) -> Choice:
    """Raises ValueError where no share is left for anyone."""
    present = [s for s in reversed(SEVERITIES) if any(k.severity == s for k in knobs)]
    dealt = sum(shares.get(severity, 0) for severity in present)
    if present and dealt <= 0:
        raise ValueError(f"no share for {', '.join(present)}: nothing can be planned")
    allowance = {s: budget * shares.get(s, 0) / dealt for s in present}
    board = _Board(knobs, present, evidence, budget)
    fits = board.total() <= budget
    if fits:
        left = 0.0
        for rank, severity in enumerate(present):
            allowed = allowance[severity] + left
            board.loosen([r for r in board.rules if board.rank[r] == rank], allowed)
            left = allowed - board.cost(rank)
        if evidence.labels is None:
            for rank in range(len(present)):
                board.loosen([r for r in board.rules if board.rank[r] == rank], None)
        else:
            board.loosen(board.rules, None)
    return Choice(tuple(board.positions), fits, allowance)


class _Board:
    """Where the dials stand, and what that costs."""

    def __init__(
        self,
        knobs: Sequence[Knob],
        present: Sequence[str],
        evidence: Evidence,
        budget: float,
    ) -> None:
        self._knobs, self._budget, self._labels = knobs, budget, evidence.labels
        self.rules = range(len(knobs))
        self.rank = [present.index(knob.severity) for knob in knobs]
        first, self._weights = evidence.first, evidence.weights
        self._unit = evidence.per_day / (float(self._weights.sum()) + 1)
        self._order = [np.argsort(first[:, r], kind="stable") for r in self.rules]
        self._starts = [
            np.searchsorted(first[order, r], np.arange(len(knobs[r].offsets) + 1))
            for r, order in enumerate(self._order)
        ]
        self.positions = [-1 for _ in knobs]
        self._reached = np.zeros((len(present), len(first)), bool)
        self._sums = np.zeros(len(present))
        for rule in self.rules:
            self._move(rule, 0)

    def cost(self, rank: int) -> float:
        """Reviews a day that are charged to a severity."""
        own = self._sums[rank] - (self._sums[rank - 1] if rank else 0.0)
        return float(self._unit * (own + self.rank.count(rank)))

    def total(self) -> float:
        return float(self._unit * ((self._sums[-1] if len(self._sums) else 0.0) + len(self.rank)))

    def loosen(self, rules: Sequence[int], allowed: float | None) -> None:
        """As far as these go. allowed: for the severity that they are of."""
        turning = list(rules)
        while turning:
            moves = {rule: self._next(rule, allowed) for rule in turning}
            turning = [rule for rule in turning if moves[rule] is not None]
            wanted = [
                (move[0], self._knobs[rule].offsets[self.positions[rule]], -rule, move[1])
                for rule, move in moves.items()
                if move is not None
            ]
            if wanted:
                *_, rule, position = max(wanted)
                self._move(-rule, position)

    def _next(self, rule: int, allowed: float | None) -> tuple[float, int] | None:
        """(how much it is wanted, position) of the rule's next move; None where none fits.

        Without labels the next position, wanted by how tight the rule stands against its file; with labels the one
        with the best share of true positives among the requests it adds. Where nobody labelled any that share is
        taken for one half, which a single label of either kind overrules.
        """
        here, offsets, rank = self.positions[rule], self._knobs[rule].offsets, self.rank[rule]
        last = len(offsets) - 1 if self._labels is not None else min(here + 1, len(offsets) - 1)
        if here == last:
            return None
        starts = self._starts[rule]
        new = self._new(rule, last)
        steps = np.searchsorted(starts[here + 2 : last + 2] - starts[here + 1], np.arange(len(new)),
                                side="right")  # fmt: skip

        def added(mask: Bools) -> Doubles:
            weights = np.where(mask, self._weights[new], 0.0)
            return np.cumsum(np.bincount(steps, weights, last - here))

        fresh = ~self._reached[-1, new]
        fits = self.total() + self._unit * added(fresh) <= self._budget
        if allowed is not None:
            own = self.cost(rank) + self._unit * added(~self._reached[rank, new])
            fits &= own <= allowed
        if not fits.any():
            return None
        if self._labels is None:
            return float(offsets[here]), here + 1
        yes = added(fresh & (self._labels[new] == YES))
        known = added(fresh & (self._labels[new] != UNKNOWN))
        wanted = np.where(fits, (yes + 0.5) / (known + 1), -1.0)
        best = int(np.argmax(wanted))
        return float(wanted[best]), here + 1 + best

    def _new(self, rule: int, position: int) -> npt.NDArray[np.int64]:
        starts = self._starts[rule]
        return self._order[rule][starts[self.positions[rule] + 1] : starts[position + 1]]

    def _move(self, rule: int, position: int) -> None:
        new = self._new(rule, position)
        for rank in range(self.rank[rule], len(self._reached)):
            fresh = new[~self._reached[rank, new]]
            self._reached[rank, fresh] = True
            self._sums[rank] += self._weights[fresh].sum()
        self.positions[rule] = position


@dataclass(frozen=True, slots=True)
class Outlook:
    """Reviews a day: of each rule, charged to each severity, and all."""

    rules: tuple[Forecast | None, ...]
    severities: Mapping[str, Forecast]
    total: Forecast


def outlook(knobs: Sequence[Knob], evidence: Evidence, positions: Sequence[int | None]) -> Outlook:
    """What these positions bring. None: the rule cannot be placed there, and brings nothing."""
    at = [-1 if position is None else position for position in positions]
    running = [position >= 0 for position in at]

    def forecast(mask: Bools, cuts: int) -> Forecast:
        return evidence.seen(mask, cuts).forecast(evidence.per_day)

    rules = tuple(
        forecast(evidence.first[:, r] <= at[r], 1) if running[r] else None
        for r in range(len(knobs))
    )
    severities: dict[str, Forecast] = {}
    above = np.zeros(len(evidence.first), bool)
    for severity in reversed(SEVERITIES):
        mine = [knob.severity == severity for knob in knobs]
        if not any(mine):
            continue
        own = evidence.union([a if m else -1 for a, m in zip(at, mine, strict=True)])
        cuts = sum(r and m for r, m in zip(running, mine, strict=True))
        severities[severity] = forecast(own & ~above, cuts)
        above |= own
    return Outlook(rules, severities, forecast(above, sum(running)))
