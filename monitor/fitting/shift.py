"""How far probes moved between two readings of the same texts, and how far any direction moved.

Activations and differences in, shifts out. It never learns which models were read, nor what texts were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.bank import Floats, ProbeBank
from dosimeter.detectors.evaluate import Interval, Labels
from dosimeter.detectors.pack import Pack

Doubles = npt.NDArray[np.float64]

ROUNDS = 1000
LEVEL = 0.05

SHIFTED = "shifted"
ARBITRARY = "not distinguishable from an arbitrary direction"
NOTHING = "no shift shown"
"""Outcomes: the interval excludes 0 and the control is left · it excludes 0 · it does not."""


@dataclass(frozen=True, slots=True)
class Shift:
    """One feature, new model minus old.

    shift    in benign sd of the old model, over the texts; interval by bootstrap over groups
    control  95 % of random directions through the same layers shift by less, in the same sd
    p        share of random directions that shift as far · holm: the same, joint over the features
    """

    feature: str
    pack: str
    layers: tuple[int, ...]
    shift: Interval
    control: float
    p: float
    holm: float

    @property
    def outcome(self) -> str:
        if self.shift.low <= 0 <= self.shift.high:
            return NOTHING
        return SHIFTED if self.holm <= LEVEL else ARBITRARY


class Ruler:
    """Reads activations along the probes, then along random directions through each set of layers."""

    def __init__(self, packs: Sequence[Pack], bank: ProbeBank, directions: int, seed: int) -> None:
        self.layers = bank.layers
        self.of = [
            tuple(self.layers.index(block) for block in probe.layers)
            for pack in packs
            for probe in pack.probes
        ]
        self._probes = np.ascontiguousarray(bank.weights.transpose(0, 2, 1))  # [L, D, F]
        self._random: dict[tuple[int, ...], Floats] = {}
        for at in sorted(set(self.of)):
            blocks = [self.layers[i] for i in at]  # they alone decide what is drawn
            drawn = np.random.default_rng([seed, *blocks]).standard_normal(
                (len(at) * bank.hidden_size, directions), dtype=np.float32
            )
            self._random[at] = drawn / np.linalg.norm(drawn, axis=0)
        self._start = {at: len(bank.features) + n * directions for n, at in enumerate(self._random)}
        self._directions = directions

    def control(self, feature: int) -> slice:
        """Columns of the random directions through a feature's layers."""
        start = self._start[self.of[feature]]
        return slice(start, start + self._directions)

    def __call__(self, rows: Floats) -> Floats:
        """float32 [T, F + K] of activations [T, L, D]; without biases, which no difference has."""
        probes = np.einsum("tld,ldf->tf", rows, self._probes, optimize=True)
        drawn = [
            rows[:, at].reshape(len(rows), -1) @ weights for at, weights in self._random.items()
        ]
        return np.concatenate([probes, *drawn], axis=1)


def shifts(
    bank: ProbeBank, ruler: Ruler, change: Doubles, sd: Doubles, groups: Labels, seed: int
) -> tuple[Shift, ...]:
    """change [N, F + K]; the control is compared in units of each direction's own sd on the same tokens."""
    mean = change.mean(axis=0)
    unit = np.abs(mean) / sd
    n = len(bank.features)
    intervals = _intervals(change[:, :n], groups, seed)
    p = [
        (1 + int((unit[ruler.control(f)] >= unit[f]).sum())) / (1 + len(unit[ruler.control(f)]))
        for f in range(n)
    ]
    found = [
        Shift(
            column.feature,
            column.pack_name,
            tuple(ruler.layers[i] for i in ruler.of[f]),
            Interval(float(mean[f]), *intervals[f]),
            float(np.percentile(unit[ruler.control(f)], 95) * sd[f]),
            p[f],
            joint,
        )
        for (f, column), joint in zip(enumerate(bank.columns), holm(p), strict=True)
    ]
    return tuple(sorted(found, key=lambda s: (s.outcome != SHIFTED, -abs(s.shift.value), s.feature)))  # fmt: skip


def holm(p: Sequence[float]) -> list[float]:
    """p-values that hold jointly (Holm, 1979): one of them below 5 % is wrong with at most 5 %."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    found = [0.0] * len(p)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        found[i] = highest
    return found


def _intervals(change: Doubles, groups: Labels, seed: int) -> list[tuple[float, float]]:
    """95 % of the mean of each column [N, F], whole groups drawn anew."""
    _, of = np.unique(groups, return_inverse=True)
    sizes = np.bincount(of)
    sums = np.stack([np.bincount(of, column) for column in change.T], axis=1)  # [G, F]
    rng = np.random.default_rng(seed)
    means = np.empty((ROUNDS, change.shape[1]))
    for i in range(ROUNDS):
        times = np.bincount(rng.integers(0, len(sizes), len(sizes)), minlength=len(sizes))
        means[i] = times @ sums / (times @ sizes)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))
