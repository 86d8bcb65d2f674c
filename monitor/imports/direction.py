"""`Imported`: a direction that someone else found, and how it becomes a probe of ours.

Whatever file it came from, a direction has no tier, no calibration and no scale here until it has met this
model's own benign activations. It never learns about file formats.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.bank import BankError, Probe
from dosimeter.detectors.evaluate import Array, auroc
from dosimeter.detectors.fields import NAME
from dosimeter.detectors.findings import InputError, visible
from dosimeter.detectors.fit import FitError, standardise
from dosimeter.detectors.pack import ProbeNote

Doubles = npt.NDArray[np.float64]

MAX_WIDTH = 1 << 16
"""Of a residual stream; the widest published models have a third of it."""

MAX_BLOCKS = 1000
MAX_SAID = 300
"""Characters of a label, a source or a note."""

TIER = "T0"
"""The lowest there is. The note's metrics say that even this was not shown on this model."""

NEAR_ZERO = 1e-9
"""Of the largest raw score: a spread below it is rounding and not activations."""


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """One direction as its maker stored it, in its maker's units: score = Σ over layers `h·w` + bias.

    layers   [L]             block indices from 0, ascending; the output of the block
    weights  float64 [L, D]
    source   file, place in it and model it was made on, as far as the file says
    kind     what it is, in a few words
    notes    what whoever uses it should know
    floor    scores up to here say nothing (a latent that is off); None: every score counts

    Raises InputError, so that no reader can return what a probe could not carry.
    """

    feature: str
    layers: tuple[int, ...]
    weights: Doubles
    bias: float
    source: str
    kind: str
    notes: tuple[str, ...] = ()
    floor: float | None = None

    def __post_init__(self) -> None:
        place = printable(self.source)
        for name, value in (
            ("source", place),
            ("kind", printable(self.kind)),
            ("notes", tuple(printable(note) for note in self.notes)),
        ):
            object.__setattr__(self, name, value)
        if not NAME.fullmatch(self.feature):
            raise InputError.at(
                place, f"feature `{printable(self.feature)}`", f"it matches `{NAME.pattern}`"
            )
        if self.weights.dtype != np.float64 or self.weights.ndim != 2:
            raise InputError.at(place, "weights must be float64 [L, D]")
        if len(self.layers) != len(self.weights) or not self.layers:
            raise InputError.at(place, f"{len(self.weights)} rows for layers {self.layers}")
        if not 0 <= self.layers[0] <= self.layers[-1] < MAX_BLOCKS or any(
            a >= b for a, b in pairwise(self.layers)
        ):
            raise InputError.at(
                place, f"layers {self.layers} must ascend, from 0 to {MAX_BLOCKS - 1}"
            )
        if not 1 <= self.width <= MAX_WIDTH:
            raise InputError.at(place, f"{self.width} wide, 1 to {MAX_WIDTH} are read")
        others = (self.bias, 0.0 if self.floor is None else self.floor)
        if not (np.isfinite(self.weights).all() and all(map(math.isfinite, others))):
            raise InputError.at(place, "holds NaN or infinity")
        if not self.weights.any():
            raise InputError.at(place, "the direction is zero throughout", "it can tell nothing")

    @property
    def width(self) -> int:
        return int(self.weights.shape[1])


def as_probe(imported: Imported, benign_tokens: Array) -> tuple[Probe, ProbeNote]:
    """Standardised on this model's own benign answer tokens, float [M, L, D]: mean 0 and sd 1 on them.

    The note is in the maker's units, its metrics say that nothing was measured here and, for a latent,
    at how many sd it comes on. Raises FitError for tokens that cannot carry a scale.
    """
    tokens = np.asarray(benign_tokens, dtype=np.float64)
    if tokens.ndim != 3 or tokens.shape[1:] != imported.weights.shape:
        raise FitError(
            f"`{imported.feature}` reads [L, D] = {list(imported.weights.shape)}, the benign tokens are "
            f"{list(tokens.shape)}\n  hint: [M, L, D] of the model that it was made on"
        )
    if len(tokens) < 2 or not np.isfinite(tokens).all():
        raise FitError(f"`{imported.feature}`: {len(tokens)} benign tokens, 2 or more finite ones")
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            probe, mean, sd = standardise(
                imported.feature, imported.layers, imported.weights, tokens
            )
    except BankError as error:
        raise FitError(f"{error} after standardising") from None
    if sd <= NEAR_ZERO * abs(mean):
        raise FitError(f"scores of `{imported.feature}` do not vary on the benign tokens (sd {sd})")
    mean += imported.bias
    metrics: dict[str, Any] = {
        "imported": True,
        "measured_here": False,
        "calibrated": False,
        "source": imported.source,
        "kind": imported.kind,
        "notes": list(imported.notes),
    }
    if imported.floor is not None:
        metrics["floor_sd"] = (imported.floor - mean) / sd
    return probe, ProbeNote(TIER, mean, sd, len(tokens), metrics)


def check_sign(imported: Imported, having: Array, lacking: Array) -> Imported:
    """The same with a note, if rows that have the feature score above rows that lack it.

    having, lacking  [N, L, D], [M, L, D]  one row an independent example (a mean over an answer's tokens)

    Raises InputError where it points the other way, and where so few rows cannot tell (one-sided 5 %).
    """
    place = f"contrast for {imported.source}"
    scores = []
    for rows in (having, lacking):
        rows = np.asarray(rows, dtype=np.float64)
        if rows.ndim != 3 or rows.shape[1:] != imported.weights.shape or not len(rows):
            want = f"[N, {', '.join(map(str, imported.weights.shape))}]"
            raise InputError.at(place, f"rows are {list(rows.shape)}, not {want}")
        if not np.isfinite(rows).all():
            raise InputError.at(place, "rows hold NaN or infinity")
        scores.append(np.tensordot(rows, imported.weights, axes=([1, 2], [0, 1])))
    n, m = map(len, scores)
    found = auroc(np.concatenate(scores), np.arange(n + m) < n)
    by_chance = 1.645 * math.sqrt((n + m + 1) / (12 * n * m))  # sd of the rank sum under the null
    told = f"AUROC {found:.3f} on {n} rows with the feature and {m} without"
    if found < 0.5 - by_chance:
        raise InputError.at(place, f"the direction points the other way: {told}", "negate it")
    if found <= 0.5 + by_chance:
        raise InputError.at(
            place,
            f"the rows do not tell which way the direction points: {told}",
            f"chance alone reaches {0.5 + by_chance:.3f}; give more rows",
        )
    return replace(imported, notes=(*imported.notes, f"sign checked: {told}"))


@dataclass(frozen=True, slots=True)
class Top:
    """A text, and the token of it that scored highest."""

    text: str
    index: int  # of the text, among those given
    token: int
    score: float


def top_examples(scores: Sequence[Array], texts: Sequence[str], k: int) -> list[Top]:
    """The `k` texts whose highest token is highest, best first; of equals the earlier.

    scores  one [T] a text; tokens that are not finite are passed over, and texts without another
    """
    if len(scores) != len(texts):
        raise ValueError(f"scores of {len(scores)} texts, {len(texts)} texts")
    found = []
    for index, (row, text) in enumerate(zip(scores, texts, strict=True)):
        tokens = np.asarray(row, dtype=np.float64)
        tokens = np.where(np.isfinite(tokens), tokens, -np.inf)
        if tokens.size and np.isfinite(best := float(tokens.max())):
            found.append(Top(text, index, int(tokens.argmax()), best))
    return heapq.nsmallest(k, found, key=lambda top: (-top.score, top.index))


def printable(text: str) -> str:
    """What a stranger's file says of itself, fit to be shown: one line, capped, nothing a terminal acts on."""
    shown = visible(text[: MAX_SAID + 1])
    return shown if len(shown) <= MAX_SAID else shown[: MAX_SAID - 1] + "…"
