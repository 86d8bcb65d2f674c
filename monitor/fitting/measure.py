"""One set of rows, measured: the evidence document's entry, and what the verdict is judged by.

Figures stand beside their nulls on the same rows. It is given scores and never learns how they were made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors import nulls
from dosimeter.detectors.evaluate import (
    LEAST_GROUPS,
    Array,
    Bools,
    Interval,
    Labels,
    auroc,
    auroc_interval,
    paired_difference,
    random_direction_null,
    roc,
    smallest_difference,
    tpr_interval,
)
from dosimeter.detectors.verdict import HELD_AGAINST, SATURATED

RATES = (0.01, 0.001)
LEAST_OF_A_KIND = 5
BINS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """document: the entry of the evidence · judged: what `verdict.judge` takes."""

    document: dict[str, Any]
    judged: dict[str, Any]


def measure(
    name: str,
    scores: Array,
    others: Mapping[str, Array],
    x: Array,
    positive: Bools,
    groups: Labels,
    kinds: Sequence[str],
    lengths: npt.NDArray[np.int64],
    leaked: int = 0,
    seed: int = 0,
) -> Measured:
    """scores [N] of the probe; others: nulls [N] by name; x [N, L, D] what random directions read."""
    rivals = {**others, "length": nulls.of_lengths(lengths, positive)}
    value = auroc_interval(scores, positive, groups, seed)
    found = {null: auroc(rival, positive) for null, rival in rivals.items()}
    margins = {
        null: paired_difference(scores, rivals[null], positive, groups, seed)
        for null in HELD_AGAINST
        if null in rivals
    }
    random_mean, random_p95 = random_direction_null(x, positive, seed)
    shuffled = nulls.shuffled_p95(scores, positive, groups, seed)
    closest = min(margins, key=lambda null: margins[null].value)
    independent = [value.value, *(v for null, v in found.items() if null != "length")]
    turned = nulls.wrong_way_round(independent)
    alarms = []
    if (count := len(np.unique(groups))) < LEAST_GROUPS:
        alarms.append(f"{count} groups of texts: an interval needs at least {LEAST_GROUPS}")
    if turned:
        alarms.append("every method scores the positives lower: the labels may be turned round")
    if found["length"] >= 0.95:
        alarms.append(f"length alone separates the classes (AUROC {found['length']:.3f})")
    if found.get("tfidf", 0) >= SATURATED:
        alarms.append(f"words alone separate the classes (AUROC {found['tfidf']:.3f})")
    document = {
        "name": name,
        "positives": int(positive.sum()),
        "negatives": int((~positive).sum()),
        "leaked": leaked,
        "auroc": _interval(value),
        "tpr": [_tpr(scores, positive, rate) for rate in RATES],
        "nulls": {
            **{null: round(v, 4) for null, v in found.items()},
            "random_p95": round(random_p95, 4),
            "random_mean": round(random_mean, 4),
            "shuffled_p95": round(shuffled, 4),
        },
        "margin": {"null": closest, **_interval(margins[closest])},
        "smallest_difference": round(
            smallest_difference(value.value, int(positive.sum()), int((~positive).sum())), 4
        ),
        "alarms": alarms,
        "slices": slices(scores, positive, kinds),
        "roc": [[round(a, 5), round(b, 5)] for a, b in roc(scores, positive)],
        "histogram": _histogram(scores, positive),
    }
    judged = {
        "auroc": value,
        "margins": margins,
        "words": found.get("tfidf", 0.0),
        "random_p95": random_p95,
        "shuffled_p95": shuffled,
        "wrong_way_round": turned,
        "leaked": leaked,
    }
    return Measured(document, judged)


def slices(scores: Array, positive: Bools, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """By kind, worst first: its own AUROC where it has both classes, else how many lie above the
    threshold that 1 % of all negatives exceed: caught of the risky, fired of the others.
    """
    negatives = np.sort(scores[~positive])
    threshold = negatives[len(negatives) - 1 - int(0.01 * len(negatives))]
    found = []
    of = np.array(kinds)
    for kind in sorted(set(kinds) - {""}):
        rows = of == kind
        n = int(rows.sum())
        if n < LEAST_OF_A_KIND:
            continue
        labels = positive[rows]
        both = bool(labels.any() and (~labels).any())
        above = float((scores[rows] > threshold).mean())
        worth = auroc(scores[rows], labels) if both else (above if labels.all() else 1 - above)
        entry = {
            "kind": kind,
            "label": None if both else int(labels[0]),
            "n": n,
            "fires": None if both else round(above, 4),
            "auroc": round(worth, 4) if both else None,
        }
        found.append((worth, kind, entry))
    return [entry for _, _, entry in sorted(found, key=lambda one: one[:2])]


def _tpr(scores: Array, positive: Bools, rate: float) -> dict[str, Any]:
    found = tpr_interval(scores, positive, rate)
    if found is None:
        return {"fpr": rate, "value": None, "low": None, "high": None, "shown": False}
    return {"fpr": rate, **_interval(found), "shown": True}


def _interval(interval: Interval) -> dict[str, float]:
    return {
        "value": round(interval.value, 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
    }


def _histogram(scores: Array, positive: Bools) -> dict[str, list[float]]:
    low, high = np.percentile(scores, [0.5, 99.5])
    edges = np.linspace(low, high + 1e-9, BINS + 1)
    clipped = np.clip(scores, low, high)
    return {
        "edges": [round(float(e), 4) for e in edges],
        "risky": np.histogram(clipped[positive], edges)[0].tolist(),
        "benign": np.histogram(clipped[~positive], edges)[0].tolist(),
    }
