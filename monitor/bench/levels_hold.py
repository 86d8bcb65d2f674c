"""Do levels mean what they say? Placed on half of the lab's benign traffic, held against the other half.

A cell is a feature, a shape and a route. It holds where what is seen on unseen traffic is no rarer than its share of
5 %, dealt over all cells: how many of m unseen values lie above the (k + 1)-th largest of n is a negative
hypergeometric number, whatever the scores are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import Level, Shape
from dosimeter.detectors.placement import NotEnough
from dosimeter.detectors.shapes import Stream, unit_statistics
from dosimeter.monitor.bench.figures import Figure

LEVEL = Level.parse("1 in 50 answers")
SHAPES = (Shape("average", 8), Shape("average_scope"), Shape("once"), Shape("for", 3))
CELLS = 20


@dataclass(frozen=True, slots=True)
class Cell:
    """k of n requests lie above the threshold that was placed on them, y of m unseen ones."""

    name: str
    k: int
    n: int
    y: int
    m: int

    @property
    def chance(self) -> float:
        """Of seeing y or more."""
        from scipy.stats import hypergeom  # type: ignore[import-untyped]

        return float(hypergeom.cdf(self.k, self.n + self.m, self.n, self.k + self.y))


def figures(data: Path | None) -> list[Figure]:
    from dosimeter.monitor.lab import CALIBRATION

    return held(Calibration.load(CALIBRATION))


def held(calibration: Calibration, seed: int = 0) -> list[Figure]:
    """Requests are dealt into halves, so that neither is a time of its own."""
    half = np.random.default_rng(seed).random(calibration.requests) < 0.5
    placed_on, unseen = _part(calibration, half), _part(calibration, ~half)
    cells = [
        cell
        for route in placed_on.routes
        for shape in SHAPES
        for feature in placed_on.features
        if (cell := _cell(placed_on, unseen, feature, shape, route))
    ]
    over = [cell for cell in cells if cell.chance < 0.05 / len(cells)]
    rates = [cell.y / cell.m for cell in cells]
    return [
        Figure("levels: cells of feature, shape and route", len(cells), "cells", f">= {CELLS}"),
        Figure("levels: cells over their joint 95 % bound", len(over), "cells", "== 0"),
        Figure(
            "levels: least chance of a cell, as a multiple of its bound",
            min((cell.chance * len(cells) / 0.05 for cell in cells), default=None), "", None,
        ),
        Figure(
            "levels: mean rate on unseen traffic, as a multiple of the level",
            float(np.mean(rates) * float(LEVEL.value)) if cells else None, "", None,
        ),
    ]  # fmt: skip


def _cell(
    placed_on: Calibration, unseen: Calibration, feature: str, shape: Shape, route: str
) -> Cell | None:
    try:
        placed = placed_on.place(LEVEL, feature, Scope.ANSWER, shape, route)
    except NotEnough:
        return None
    if placed.own < 1:  # a level of the pool is no cell of its own
        return None
    mine = _part(unseen, unseen.by_route == unseen.routes.index(route))
    values = unit_statistics(mine.stream(feature), Scope.ANSWER, shape)
    return Cell(
        f"{feature} {shape} {route}",
        placed.exceedances, placed.n_units, int((values > placed.threshold).sum()), len(values),
    )  # fmt: skip


def _part(calibration: Calibration, chosen: np.ndarray) -> Calibration:
    """The chosen requests alone."""
    ends = calibration.offsets
    spans = [slice(ends[i], ends[i + 1]) for i in np.flatnonzero(chosen)]
    columns = [
        Stream(calibration.codes[:, c], ends, calibration.scopes)
        for c in range(len(calibration.features))
    ]
    codes = np.stack(
        [np.concatenate([column.codes[span] for span in spans]) for column in columns], axis=1
    )
    return Calibration(
        calibration.features,
        calibration.packs,
        codes,
        np.cumsum([0, *(span.stop - span.start for span in spans)], dtype=np.int64),
        np.concatenate([calibration.scopes[span] for span in spans]),
        calibration.corpus,
        calibration.date,
        calibration.answers_per_day,
        calibration.routes,
        calibration.by_route[chosen].copy(),
        calibration.labelled,
    )
