"""What a plan will catch and what it will miss, from requests that people labelled.

Owns the estimate. Requests are dealt into four cells, by whether the rules as they are and as they are planned hit
them; within a cell the labelled ones are taken for a random sample, as alerts that were reviewed are of all alerts, and
as a review queue draws from what nobody was alerted to. Without labels there is an order in which to label, and no
number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.binomial import lower_bound, upper_bound, wilson
from dosimeter.rules.planning.plan import UNKNOWN, YES, Bools, Evidence

LABEL_FIRST = 200


@dataclass(frozen=True, slots=True)
class Cell:
    """Requests alike in what hits them. per_day: how many a day; yes of labelled, in requests they count as."""

    now: bool
    planned: bool
    per_day: float
    yes: int
    labelled: int

    @property
    def expected(self) -> float | None:
        """True positives a day in it."""
        return self.per_day * self.yes / self.labelled if self.labelled else None

    def between(self, confidence: float) -> tuple[float, float]:
        """Clopper-Pearson, two-sided; nobody labelled any: from none to all of them."""
        one_side = (1 + confidence) / 2
        low = lower_bound(self.yes, self.labelled, one_side)
        high = upper_bound(self.yes, self.labelled, one_side)
        return self.per_day * low, self.per_day * high


@dataclass(frozen=True, slots=True)
class Missed:
    """True positives a day that nobody will see. expected: None where part of it was never labelled."""

    expected: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Catch:
    """positives, caught: labelled requests; share: of positives by weight, with Wilson's 95 % interval."""

    positives: int
    caught: int
    share: float | None
    low: float
    high: float
    missed: Missed
    cells: tuple[Cell, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "positives": self.positives,
            "caught": self.caught,
            "share": self.share,
            "share_between": [self.low, self.high],
            "missed_a_day": self.missed.expected,
            "missed_a_day_between": [self.missed.low, self.missed.high],
            "cells": [
                {
                    "hit_now": cell.now,
                    "hit_planned": cell.planned,
                    "requests_a_day": cell.per_day,
                    "labelled": cell.labelled,
                    "yes": cell.yes,
                }
                for cell in self.cells
            ],
        }


def caught(evidence: Evidence, now: Bools, planned: Bools) -> Catch | None:
    """now, planned [A]: what is hit. None where nobody labelled."""
    if evidence.labels is None or not (evidence.labels != UNKNOWN).any():
        return None
    yes = evidence.labels == YES
    cells = tuple(_cells(evidence, now, planned))
    weights = evidence.weights[yes]
    own = evidence.weights[yes & planned].sum()
    total = float(weights.sum())
    share = float(own) / total if total else None
    effective = total * total / float((weights * weights).sum()) if total else 0.0
    low, high = wilson(share or 0.0, effective)
    unseen = [cell for cell in cells if not cell.planned]
    parts = [cell.between(1 - 0.05 / len(unseen)) for cell in unseen]
    each = [cell.expected for cell in unseen]
    expected = None if None in each else sum(e for e in each if e is not None)
    missed = Missed(expected, sum(p[0] for p in parts), sum(p[1] for p in parts))
    return Catch(int(yes.sum()), int((yes & planned).sum()), share, low, high, missed, cells)


def _cells(evidence: Evidence, now: Bools, planned: Bools) -> Iterator[Cell]:
    labels = evidence.labels
    assert labels is not None  # `caught` has looked
    scale = evidence.per_day / float(evidence.weights.sum())
    for was in (True, False):
        for will in (True, False):
            mine = (now == was) & (planned == will)
            if not mine.any():
                continue
            known = mine & (labels != UNKNOWN)
            weights = evidence.weights[known]
            # Unequal weights within a cell count as fewer requests.
            total = float(weights.sum())
            n = math.floor(total * total / float((weights * weights).sum())) if total else 0
            share = float(evidence.weights[known & (labels == YES)].sum()) / total if total else 0.0
            yes = min(n, math.ceil(share * n - 1e-9))
            yield Cell(was, will, float(evidence.weights[mine].sum()) * scale, yes, n)


def label_first(
    evidence: Evidence, planned: Bools, count: int = LABEL_FIRST
) -> npt.NDArray[np.int64]:
    """Requests to label: half of them where levels can be moved, the tightest first, half spread evenly over what no
    planned rule hits, which alone says what is missed. Those that are labelled are left out."""
    open_ = np.ones(len(planned), bool) if evidence.labels is None else evidence.labels == UNKNOWN
    hit = np.flatnonzero(open_ & planned)
    tightest = hit[np.argsort(evidence.first[hit].min(axis=1, initial=1 << 30), kind="stable")]
    quiet = np.flatnonzero(open_ & ~planned)
    half = min(len(tightest), max(count // 2, count - len(quiet)))
    rest = min(len(quiet), count - half)
    spread = quiet[np.arange(rest) * len(quiet) // max(rest, 1)]
    return np.concatenate([tightest[:half], spread]).astype(np.int64)
