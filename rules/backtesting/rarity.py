"""How rare a value is among ordinary traffic, and which ordinary requests look most like an alert.

Owns `share_beyond` and `lookalikes`, both over a calibration's streams. It never learns which rule asks, nor where a
level lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODE_UNSCORED, CODES_PER_SD, Codes, Scope
from dosimeter.detectors.levels import Shape
from dosimeter.detectors.shapes import Stream, unit_statistics
from dosimeter.rules.atoms import Atom

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Share:
    """Of `units` requests with tokens of the scope, so many reach the value or lie beyond it."""

    beyond: int
    units: int

    def __str__(self) -> str:
        if not self.units:
            return "no ordinary request has such tokens"
        if not self.beyond:
            return f"none of {self.units:,} ordinary ones"
        return f"1 in {round(self.units / self.beyond):,} of {self.units:,} ordinary ones"


@dataclass(frozen=True, slots=True)
class Lookalike:
    """An ordinary request. distance: between mean scores, in benign sd over all features together."""

    request: int  # of the calibration
    route: str
    distance: float
    scores: tuple[float, ...]  # mean of each feature over the scope, in benign sd


def share_beyond(stream: Stream, atom: Atom, value_sum: int, value_n: int) -> Share:
    """How many ordinary requests have, in this scope and shape, a statistic at least as far out.

    Of `share` the statistic is a code, so the value that counts there is the threshold that was reached.
    """
    codes = stream.codes
    signed = np.where(codes == CODE_UNSCORED, codes, atom.direction * codes).astype(np.int16)
    shape = Shape(atom.shape, atom.n, atom.k, atom.least, atom.coverage)  # type: ignore[arg-type]
    values = unit_statistics(Stream(signed, stream.offsets, stream.scopes), atom.scope, shape)
    if atom.shape == "share":
        return Share(int((values > atom.direction * atom.threshold).sum()), len(values))
    least = -(-atom.direction * value_sum // value_n)  # a mean is its ceiling there
    return Share(int((values >= least).sum()), len(values))


def lookalikes(
    calibration: Calibration, scope: Scope, codes: Codes, features: tuple[str, ...], count: int = 3
) -> list[Lookalike]:
    """The requests whose mean scores over the scope are nearest to those of these tokens.

    codes: int16 [T, F] of the alert's span, columns as `features`; compared are the features that the calibration has.
    """
    shared = [name for name in features if name in calibration.features]
    if not shared or not len(codes):
        return []
    columns = [calibration.features.index(name) for name in shared]
    inside = np.flatnonzero(calibration.scopes == int(scope))
    if not inside.size:
        return []
    request = np.searchsorted(calibration.offsets, inside, side="right") - 1
    first = np.flatnonzero(np.diff(request, prepend=-1))
    means = _means(calibration.codes[inside][:, columns], first)
    mine = _means(codes[:, [features.index(name) for name in shared]], np.zeros(1, np.int64))[0]
    gaps = np.nan_to_num(means - mine, nan=0.0)  # a feature that one of them lacks says nothing
    distance = np.sqrt((gaps**2).sum(axis=1))
    nearest = np.argsort(distance, kind="stable")[:count]
    return [
        Lookalike(
            int(request[first[i]]),
            calibration.routes[int(calibration.by_route[request[first[i]]])],
            float(distance[i]),
            tuple(float(x) for x in means[i]),
        )
        for i in nearest
    ]


def _means(codes: Codes, first: npt.NDArray[np.int64]) -> Floats:
    """float64 [U, F]: means of the scored tokens between `first`s, in benign sd; NaN where none is."""
    scored = codes != CODE_UNSCORED
    sums = np.add.reduceat(np.where(scored, codes, 0).astype(np.float64), first, axis=0)
    counts = np.add.reduceat(scored.astype(np.float64), first, axis=0)
    return np.asarray(sums / np.where(counts, counts, np.nan) / CODES_PER_SD)
