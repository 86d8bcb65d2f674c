"""Do levels mean what they say? Placed on half of the lab's benign traffic, held against the other half.

Twenty cells of feature, shape and route. A cell holds where the rate on unseen traffic lies under the bound of
its placement, taken jointly over all cells at 95 %.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dosimeter.detectors.binomial import upper_bound
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import Level, Shape
from dosimeter.detectors.placement import NotEnough
from dosimeter.detectors.shapes import Stream, unit_statistics
from dosimeter.monitor.bench.figures import Figure

LEVEL = Level.parse("1 in 100 answers")
SHAPES = (Shape("average", 8), Shape("average_scope"), Shape("once"), Shape("for", 3))
CELLS = 20


def figures(data: Path | None) -> list[Figure]:
    from dosimeter.monitor.lab import CALIBRATION

    return held(Calibration.load(CALIBRATION))


def held(calibration: Calibration, seed: int = 0) -> list[Figure]:
    """Requests are dealt into halves, so that neither is a time of its own."""
    half = np.random.default_rng(seed).random(calibration.requests) < 0.5
    placed_on, unseen = _part(calibration, half), _part(calibration, ~half)
    sizes = np.bincount(placed_on.by_route, minlength=len(placed_on.routes))
    routes = [calibration.routes[i] for i in np.argsort(-sizes)]
    found: list[tuple[str, float, float]] = []
    for route in routes:
        for shape in SHAPES:
            for feature in calibration.features:
                if len(found) < CELLS and (cell := _cell(placed_on, unseen, feature, shape, route)):
                    found.append(cell)
    over = [name for name, rate, bound in found if rate > bound]
    worst = max((rate / bound for _, rate, bound in found), default=None)
    return [
        Figure("levels: cells of feature, shape and route", len(found), "cells", f">= {CELLS}"),
        Figure("levels: cells over their joint 95 % bound", len(over), "cells", "== 0"),
        Figure("levels: highest rate as a share of its bound", worst, "", None),
        Figure(
            "levels: mean rate on unseen traffic, as a multiple of the level",
            float(np.mean([rate for _, rate, _ in found]) * float(LEVEL.value)) if found else None,
            "", None,
        ),
    ]  # fmt: skip


def _cell(
    placed_on: Calibration, unseen: Calibration, feature: str, shape: Shape, route: str
) -> tuple[str, float, float] | None:
    try:
        placed = placed_on.place(LEVEL, feature, Scope.ANSWER, shape, route)
    except NotEnough:
        return None
    if placed.own < 1:  # a level of the pool is no cell of its own
        return None
    bound = upper_bound(placed.exceedances, placed.n_units, 1 - 0.05 / CELLS)
    mine = _part(unseen, unseen.by_route == unseen.routes.index(route))
    values = unit_statistics(mine.stream(feature), Scope.ANSWER, shape)
    return f"{feature} {shape} {route}", float((values > placed.threshold).mean()), bound


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
