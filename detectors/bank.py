"""`Probe` and `ProbeBank`: activations in, scores out; the reference that a tap must agree with.

A score is affine: the sum over a probe's layers of `h·w`, plus one bias, in benign standard
deviations. The standardisation was folded in once, at fit time; nothing here re-scales. Disk, model
formats and thresholds are other modules' subjects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import ActivationFrame, Codes, to_codes

if TYPE_CHECKING:
    from dosimeter.detectors.pack import Pack

Floats = npt.NDArray[np.float32]

MAX_BYTES = 4 << 30
"""Of the stacked weights: a pack of a few MiB whose probes share no layer would take thousands of times that."""


class BankError(ValueError):
    """Probes that cannot stand in one bank: a feature twice, or widths that differ."""


class LayerMissing(ValueError):
    """The frame did not record layers that the bank reads. missing, recorded: block indices."""

    def __init__(self, missing: Sequence[int], recorded: Sequence[int]) -> None:
        super().__init__(
            f"layers {list(missing)} are not in the frame, which holds {list(recorded)}\n"
            "  hint: tap every layer of `ProbeBank.layers`"
        )
        self.missing = tuple(missing)
        self.recorded = tuple(recorded)


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """One linear read-out of one feature.

    layers   [L]             block indices from 0, ascending; the output of the block
    weights  float32 [L, D]  standardisation folded in: `h·w + bias` is in benign sd
    """

    feature: str
    layers: tuple[int, ...]
    weights: Floats
    bias: float

    def __post_init__(self) -> None:
        if self.weights.dtype != np.float32 or self.weights.ndim != 2:
            raise BankError(f"probe `{self.feature}`: weights must be float32 [L, D]")
        if len(self.layers) != len(self.weights) or not self.layers:
            raise BankError(f"probe `{self.feature}`: one row of weights a layer")
        if self.layers[0] < 0 or any(a >= b for a, b in pairwise(self.layers)):
            raise BankError(f"probe `{self.feature}`: layers {self.layers} must ascend from 0")
        if not (np.isfinite(self.weights).all() and np.isfinite(np.float32(self.bias))):
            raise BankError(f"probe `{self.feature}`: weights and bias must be finite")


def fold(
    direction: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], sd: float
) -> tuple[Floats, float]:
    """Standardise `h·direction` by benign mean activation [L, D] and score sd into (weights, bias).

    Weights are rounded to float32 first and the bias is computed from the rounded ones in float64:
    where an activation dimension sits hundreds of sd from zero, the rounding error of its weight
    then cancels against the bias instead of shifting every score.
    """
    weights = np.asarray(direction / sd, dtype=np.float32)
    return weights, -float(np.vdot(weights.astype(np.float64), mean))


@dataclass(frozen=True, slots=True)
class Column:
    """What a column of the bank reads: the feature, and the pack it came from."""

    feature: str
    pack: str  # digest, hex
    pack_name: str


class ProbeBank:
    """Probes stacked into arrays, in the order in which they were given.

    columns  [F]                what each column is
    layers   [L]                union of the probes' layers, ascending
    weights  float32 [L, F, D]  zero where a probe does not read a layer
    bias     float32 [F]
    """

    def __init__(self, entries: Iterable[tuple[Column, Probe]]) -> None:
        columns, probes = [], []
        for column, probe in entries:
            columns.append(column)
            probes.append(probe)
        self.columns: tuple[Column, ...] = tuple(columns)
        self.features: tuple[str, ...] = tuple(c.feature for c in columns)
        for i, column in enumerate(columns):
            first = self.features.index(column.feature)
            if first != i:
                raise BankError(
                    f"feature `{column.feature}` is in pack `{columns[first].pack_name}` and in "
                    f"`{column.pack_name}`\n  hint: load one of them"
                )
        widths = {p.weights.shape[1] for p in probes}
        if len(widths) > 1:
            raise BankError(f"probes of different hidden sizes {sorted(widths)} in one bank")
        self.hidden_size: int = widths.pop() if widths else 0
        self.layers: tuple[int, ...] = tuple(sorted({n for p in probes for n in p.layers}))
        size = 4 * len(self.layers) * len(probes) * self.hidden_size
        if size > MAX_BYTES:
            raise BankError(
                f"{len(probes)} probes over {len(self.layers)} layers take {size} bytes stacked, "
                f"at most {MAX_BYTES} are held\n  hint: load fewer packs"
            )
        self.weights: Floats = np.zeros(
            (len(self.layers), len(probes), self.hidden_size), dtype=np.float32
        )
        for f, probe in enumerate(probes):
            for layer, row in zip(probe.layers, probe.weights, strict=True):
                self.weights[self.layers.index(layer), f] = row
        self.bias: Floats = np.array([p.bias for p in probes], dtype=np.float32)
        self.weights.setflags(write=False)
        self.bias.setflags(write=False)

    @classmethod
    def from_packs(cls, packs: Iterable[Pack]) -> ProbeBank:
        """Every probe of every pack, packs in the order given. Raises BankError."""
        packs = list(packs)
        for pack in packs[1:]:
            if pack.model.digest != packs[0].model.digest:
                raise BankError(
                    f"packs `{packs[0].name}` and `{pack.name}` are bound to different models\n"
                    "  hint: one bank reads one model"
                )
        return cls(
            (Column(probe.feature, pack.digest, pack.name), probe)
            for pack in packs
            for probe in pack.probes
        )

    def score(self, frame: ActivationFrame) -> Floats:
        """Read every probe of the bank out of one frame.

        frame.hidden  float32 [L', T, D]  after each tapped block; L' >= L
        returns       float32 [T, F]      benign sd above the benign mean, accumulated in float32

        A token with a non-finite activation in any layer of the bank is NaN in every column. Raises
        LayerMissing, and BankError for another hidden size.
        """
        missing = [n for n in self.layers if n not in frame.layers]
        if missing:
            raise LayerMissing(missing, frame.layers)
        _, tokens, width = frame.hidden.shape
        if self.columns and width != self.hidden_size:
            raise BankError(f"frame of hidden size {width}, bank of {self.hidden_size}")
        scores = np.zeros((tokens, len(self.columns)), dtype=np.float32)
        finite = np.ones(tokens, dtype=np.bool_)
        with np.errstate(invalid="ignore", over="ignore"):
            for i, layer in enumerate(self.layers):
                hidden = np.asarray(frame.hidden[frame.layers.index(layer)], dtype=np.float32)
                finite &= np.isfinite(hidden).all(axis=1)
                scores += hidden @ self.weights[i].T  # [T, D] @ [D, F]
            scores += self.bias
        scores[~finite] = np.nan  # some BLAS skip zero weights, where inf * 0 would have said so
        return scores

    def codes(self, frame: ActivationFrame) -> Codes:
        """int16 [T, F]: `score` in 1/256 benign sd; not finite -> CODE_UNSCORED."""
        with np.errstate(over="ignore"):
            return to_codes(self.score(frame))
