"""How far probes moved between two readings of the same texts, and how far any direction moved.

Activations and differences in, shifts out. It never learns which models were read, nor what texts were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.bank import Floats, ProbeBank
from dosimeter.detectors.evaluate import Bools, Interval, Labels
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
    """One feature, new model minus old, over a part of the texts.

    part     `all`, or `risky less benign`: how much more the risky texts moved than the others
    shift    in benign sd of the old model, over the texts; interval by bootstrap over groups
    control  95 % of random directions through the same layers shift by less, in the same sd
    p        share of random directions that shift as far · holm: the same, joint over all that is told
    """

    feature: str
    pack: str
    part: str
    layers: tuple[int, ...]
    shift: Interval
    control: float
    p: float
    holm: float = 1.0

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
    bank: ProbeBank,
    ruler: Ruler,
    change: Doubles,
    sd: Doubles,
    groups: Labels,
    parts: Mapping[str, tuple[Bools, Bools | None]],
    seed: int,
) -> tuple[Shift, ...]:
    """change [N, F + K] by part (over [N], less [N]): mean over the first rows, less that over the others.

    The control is compared in units of each direction's own sd [F + K] on the same tokens.
    """
    found = []
    n = len(bank.features)
    for part, (over, less) in parts.items():
        mean = change[over].mean(axis=0) - (0.0 if less is None else change[less].mean(axis=0))
        unit = np.abs(mean) / sd
        intervals = _intervals(change[:, :n], groups, over, less, seed)
        for f, column in enumerate(bank.columns):
            drawn = unit[ruler.control(f)]
            found.append(
                Shift(
                    column.feature,
                    column.pack_name,
                    part,
                    tuple(ruler.layers[i] for i in ruler.of[f]),
                    Interval(float(mean[f]), *intervals[f]),
                    float(np.percentile(drawn, 95) * sd[f]),
                    (1 + int((drawn >= unit[f]).sum())) / (1 + len(drawn)),
                )
            )
    joint = holm([one.p for one in found])
    found = [replace(one, holm=p) for one, p in zip(found, joint, strict=True)]
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


def _intervals(
    change: Doubles, groups: Labels, over: Bools, less: Bools | None, seed: int
) -> list[tuple[float, float]]:
    """95 % of what `shifts` takes of each column [N, F], whole groups drawn anew."""
    _, of = np.unique(groups, return_inverse=True)
    count = int(of.max()) + 1
    sides = [over] if less is None else [over, less]
    sums = [
        np.stack([np.bincount(of[rows], column, count) for column in change[rows].T], axis=1)
        for rows in sides
    ]  # [G, F]
    sizes = [np.bincount(of[rows], minlength=count) for rows in sides]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(ROUNDS):
        times = np.bincount(rng.integers(0, count, count), minlength=count)
        if all(times @ size for size in sizes):  # a draw without one side has no difference
            means = [times @ a / (times @ n) for a, n in zip(sums, sizes, strict=True)]
            drawn.append(means[0] if less is None else means[0] - means[1])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))
