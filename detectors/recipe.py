"""How a probe is to be fitted, chosen by cross-validation: which neighbouring layers, how strongly regularised.

And what the choice is worth: the whole choosing is repeated without each fold, so that no row is scored by
anything that has seen its group. Arrays in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dosimeter.detectors import nulls
from dosimeter.detectors.evaluate import Bools, Labels, auroc
from dosimeter.detectors.fit import Doubles, Fit, fit_probe, folds
from dosimeter.detectors.sweep import NEAR, choose_layer, layer_aurocs

WIDTHS = (3, 1, 5)
"""Layers side by side, the first where nothing tells them apart: three averaged are steadier than one."""
STRENGTHS = (0.1, 0.01, 0.001)
FOLDS, INNER = 5, 3
CHOSEN_ON = 1200
"""Examples, whole groups, that a choice is made on: more do not change it, and take their time twenty times over."""
FITTED_TOKENS = 40_000
"""Tokens that a fit on tokens learns from, evenly thinned: those of one text tell little more than one another."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What a fit learns from: N examples, their pooled activations and what they are.

    layers    [L]              block indices of the arrays
    pooled    float32 [N, L, D]  one row an example, pooled as the feature is read
    sampled   float32 [M, L, D]  tokens, and `of` int64 [M] the example of each
    embedded  float32 [N, D]     embedding layer, a null · texts [N], a null
    positive  bool [N] · groups [N]
    weights   float64 [N]      1: a row of the feature itself, which figures are of; below: only fitted on
    """

    layers: tuple[int, ...]
    pooled: npt.NDArray[np.float32]
    sampled: npt.NDArray[np.float32]
    of: npt.NDArray[np.int64]
    embedded: npt.NDArray[np.float32]
    texts: tuple[str, ...]
    positive: Bools
    groups: Labels
    weights: Doubles

    @property
    def own(self) -> Bools:
        """bool [N]: rows that figures are of."""
        return self.weights >= 1.0

    def take(self, chosen: Bools) -> Rows:
        """The examples of a mask [N]."""
        number = np.cumsum(chosen) - 1
        kept = chosen[self.of]
        return Rows(
            self.layers,
            self.pooled[chosen],
            self.sampled[kept],
            number[self.of[kept]],
            self.embedded[chosen],
            tuple(t for t, c in zip(self.texts, chosen, strict=True) if c),
            self.positive[chosen],
            self.groups[chosen],
            self.weights[chosen],
        )

    def at(self, layers: Sequence[int]) -> list[int]:
        """Where blocks stand in the arrays."""
        return [self.layers.index(n) for n in layers]


@dataclass(frozen=True, slots=True)
class Recipe:
    """layers: blocks the probe reads · strength: C · pool: `mean`, `tokens` or `last`.

    sweep: AUROC of every single layer, in the order of `Rows`
    """

    layers: tuple[int, ...]
    strength: float
    pool: str
    sweep: tuple[float, ...] = ()


def choose(rows: Rows, blocks: int, pool: str, seed: int) -> Recipe:
    """Centre by the sweep, then how many neighbours, then how strongly; ties to the simpler and deeper."""
    rows = _some(rows, CHOSEN_ON, seed)
    sweep = layer_aurocs(rows.pooled, rows.positive, rows.groups, seed, INNER, rows.own)
    centre = rows.layers.index(choose_layer(sweep, rows.layers, blocks))
    windows = dict.fromkeys(
        _window(rows.layers, centre, width) for width in WIDTHS if width <= len(rows.layers)
    )
    best = _best(rows, [Recipe(window, STRENGTHS[0], pool) for window in windows], seed)
    strengths = [replace(best, strength=strength) for strength in STRENGTHS]
    return replace(_best(rows, strengths, seed), sweep=tuple(sweep))


def fit_recipe(feature: str, rows: Rows, recipe: Recipe) -> Fit:
    """The probe of a recipe on these rows; benign is every sampled token of the negatives."""
    at = rows.at(recipe.layers)
    benign = rows.sampled[~rows.positive[rows.of]][:, at]
    if recipe.pool == "tokens":
        thin = slice(None, None, -(-len(rows.of) // FITTED_TOKENS))
        of = rows.of[thin]
        return fit_probe(
            feature, recipe.layers, rows.sampled[thin][:, at], rows.positive[of], benign,
            groups=of, weights=rows.weights[of], strength=recipe.strength,
        )  # fmt: skip
    return fit_probe(
        feature, recipe.layers, rows.pooled[:, at], rows.positive, benign,
        groups=rows.groups, weights=rows.weights, strength=recipe.strength,
    )  # fmt: skip


def read_out(fit: Fit, rows: Rows, *, check: bool = False) -> Doubles:
    """Scores [N] of the pooled rows; check: of the difference of means instead."""
    probe = fit.difference_of_means if check else fit.probe
    x = rows.pooled[:, rows.at(probe.layers)]
    return np.asarray(np.einsum("nld,ld->n", x, probe.weights, dtype=np.float64) + probe.bias)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The same rows [N] by the probe and by each null that is a score a row."""

    probe: Doubles
    nulls: dict[str, Doubles]


def score_rows(feature: str, fitted: Rows, rows: Rows, recipe: Recipe) -> Scored:
    """Fit on `fitted`, score `rows`: the probe, difference of means, words, embedding layer."""
    fit = fit_recipe(feature, fitted, recipe)
    return Scored(
        read_out(fit, rows),
        {
            "difference_of_means": read_out(fit, rows, check=True),
            "tfidf": nulls.words(fitted.texts, fitted.positive, rows.texts),
            "embedding": nulls.linear(
                fitted.embedded, fitted.positive, rows.embedded, STRENGTHS[0]
            ),
        },
    )


def cross_validated(
    feature: str, rows: Rows, blocks: int, pool: str, seed: int
) -> tuple[Scored, list[Recipe]]:
    """Every row scored by a probe whose layers, strength and weights never saw its group.

    Scores of different folds share the benign scale that each fit froze.
    """
    probe = np.zeros(len(rows.positive))
    others: dict[str, Doubles] = {}
    recipes = []
    for train, test in folds(rows.groups, rows.positive, FOLDS, seed):
        fitted = rows.take(train)
        recipe = choose(fitted, blocks, pool, seed)
        found = score_rows(feature, fitted, rows.take(test), recipe)
        probe[test] = found.probe
        for name, scores in found.nulls.items():
            others.setdefault(name, np.zeros(len(probe)))[test] = _level(
                scores, rows.positive[test]
            )
        recipes.append(recipe)
    return Scored(probe, others), recipes


def _level(scores: Doubles, positive: Bools) -> Doubles:
    """A null freezes no scale of its own: each fold's scores are brought to mean 0 and sd 1, classes counting alike.

    Were rows to count alike, the scale would move with the share of positives, and the null be weaker than it is.
    """
    weights = np.where(positive, 1 / max(1, positive.sum()), 1 / max(1, (~positive).sum()))
    mean = np.average(scores, weights=weights)
    sd = float(np.sqrt(np.average((scores - mean) ** 2, weights=weights)))
    return np.asarray((scores - mean) / (sd or 1.0), dtype=np.float64)


def _best(rows: Rows, recipes: Sequence[Recipe], seed: int) -> Recipe:
    """The first whose inner cross-validation is within NEAR of the best."""
    found = [_inner(rows, recipe, seed) for recipe in recipes]
    return next(r for r, value in zip(recipes, found, strict=True) if value >= max(found) - NEAR)


def _inner(rows: Rows, recipe: Recipe, seed: int) -> float:
    """On pooled rows, whatever the last fit learns from: tokens would take an hour to say the same."""
    at = rows.at(recipe.layers)
    x = rows.pooled[:, at]
    scores = np.zeros(len(rows.positive))
    for train, test in folds(rows.groups, rows.positive, INNER, seed):
        probe = fit_probe(
            "inner", recipe.layers, x[train], rows.positive[train], x[train & ~rows.positive],
            groups=rows.groups[train], weights=rows.weights[train], strength=recipe.strength,
        ).probe  # fmt: skip
        scores[test] = np.einsum("nld,ld->n", x[test], probe.weights) + probe.bias
    return auroc(scores[rows.own], rows.positive[rows.own])


def _some(rows: Rows, most: int, seed: int) -> Rows:
    """Whole groups by lot, up to about `most` examples, half of them of groups with a positive one."""
    if len(rows.positive) <= most:
        return rows
    risky = np.isin(rows.groups, rows.groups[rows.positive])
    r, kept = np.random.default_rng(seed), []
    for kind in (risky, ~risky):
        names, counts = np.unique(rows.groups[kind], return_counts=True)
        order = r.permutation(len(names))
        fit = int((np.cumsum(counts[order]) <= (most if risky.all() else most // 2)).sum())
        kept.append(names[order[: max(fit, INNER)]])
    return rows.take(np.isin(rows.groups, np.concatenate(kept)))


def _window(layers: Sequence[int], centre: int, width: int) -> tuple[int, ...]:
    low = max(0, min(centre - width // 2, len(layers) - width))
    return tuple(layers[low : low + width])
