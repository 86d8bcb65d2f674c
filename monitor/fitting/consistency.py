"""Do questions agree about a direction? What a contrast of replies says when each question is left out.

Activations in, figures out. It never learns what the replies were, nor what separates their sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors import nulls
from dosimeter.detectors.evaluate import auroc
from dosimeter.monitor.fitting.captures import Captured
from dosimeter.monitor.fitting.contrast import AGAINST, FOR, NEITHER

Doubles = npt.NDArray[np.float64]

DIRECTIONS = 200
"""Random ones, of which 95 % order the replies less well than the null that is told."""


def gaps_of(
    means: Doubles,
    side: npt.NDArray[np.str_],
    question: npt.NDArray[np.int64],
    of: Sequence[int],
) -> Doubles:
    """float64 [Q, L, D]: of each question, mean under prompts for minus mean under prompts against."""
    return np.stack([
        means[(side == FOR) & (question == q)].mean(axis=0)
        - means[(side == AGAINST) & (question == q)].mean(axis=0)
        for q in of
    ])  # fmt: skip


def agreement(gaps: Doubles) -> Doubles:
    """[Q] of gaps [Q, D]: cosine of each question's own gap and the direction of all the others."""
    rest = gaps.sum(axis=0) - gaps
    lengths = np.linalg.norm(gaps, axis=1) * np.linalg.norm(rest, axis=1)
    dots = np.einsum("qd,qd->q", gaps, rest)
    return np.asarray(np.divide(dots, lengths, out=np.zeros(len(gaps)), where=lengths > 0))


def measured(
    captured: Captured,
    side: npt.NDArray[np.str_],
    question: npt.NDArray[np.int64],
    of: Sequence[int],
    gaps: Doubles,
    at: int,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(figures, nulls). Left out, a question has a say neither in the direction nor in its layer."""
    rows = side != NEITHER
    x, positive, asked = captured.means[rows], side[rows] == FOR, question[rows]
    alike, ordered, apart = [], [], []
    for i, q in enumerate(of):
        rest = np.delete(gaps, i, axis=0)
        best = int(np.argmax([agreement(rest[:, n]).mean() for n in range(gaps.shape[1])]))
        direction = _unit(rest[:, best].mean(axis=0))
        apart.append(float(gaps[i, best] @ direction))
        alike.append(float(_unit(gaps[i, best]) @ direction))
        ordered.append(_ordered(x[:, best] @ direction, positive, asked, [q]))
    drawn = np.random.default_rng(seed).standard_normal((x.shape[2], DIRECTIONS))
    by_chance = [
        nulls.sided(_ordered(column, positive, asked, of)) for column in (x[:, at] @ drawn).T
    ]
    separation = steadiness(np.array(apart)[:, None])[0]
    chance = float(np.percentile(steadiness(gaps[:, at] @ drawn), 95))
    direction = gaps[:, at].mean(axis=0)
    figures = {
        "consistency": {
            "what": "leave one question out, layer chosen anew",
            "cosine": round(float(np.mean(alike)), 4),
            "cosine_least": round(float(np.min(alike)), 4),
            "auroc": round(float(np.mean(ordered)), 4),
            "steadiness": round(float(separation), 4),
            "beats_random": bool(separation > chance),
        },
        "projections": {
            FOR: float((captured.means[side == FOR][:, at] @ direction).mean()),
            AGAINST: float((captured.means[side == AGAINST][:, at] @ direction).mean()),
        },
    }
    return figures, {
        "random_p95": round(float(np.percentile(by_chance, 95)), 4),
        "random_steadiness_p95": round(chance, 4),
        "random_mean": round(float(np.mean(by_chance)), 4),
        "length": round(auroc(nulls.of_lengths(captured.lengths[rows], positive), positive), 4),
    }


def _ordered(
    scores: Doubles,
    positive: npt.NDArray[np.bool_],
    question: npt.NDArray[np.int64],
    of: Sequence[int],
) -> float:
    """Mean over questions of the AUROC within each: what questions differ in has no part in it."""
    rows = [question == q for q in of]
    return float(np.mean([auroc(scores[mine], positive[mine]) for mine in rows]))


def steadiness(gaps: Doubles) -> Doubles:
    """[K] of gaps along directions [Q, K]: |mean| over sd of the questions; 0 where all are 0.

    Unlike an AUROC it does not end at 1, where in a small model most random directions are too.
    """
    mean, sd = np.abs(gaps.mean(axis=0)), gaps.std(axis=0, ddof=1)
    return np.asarray(np.minimum(np.divide(mean, sd, out=1e6 * (mean > 0), where=sd > 0), 1e6))


def _unit(direction: Doubles) -> Doubles:
    length = float(np.linalg.norm(direction))
    return direction / length if length else direction
