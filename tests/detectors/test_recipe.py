"""The planted layer is found, and no row is ever scored by anything that has seen its group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import sklearn.linear_model  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from dosimeter.detectors.evaluate import auroc
from dosimeter.detectors.recipe import (
    FOLDS,
    STRENGTHS,
    Recipe,
    Rows,
    choose,
    cross_validated,
    fit_recipe,
    read_out,
    score_rows,
)

BLOCKS, WIDTH = 4, 6


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for one another cost five times the arithmetic of problems as small as these.

    Limited are the libraries that are loaded by now, hence the import above.
    """
    with threadpool_limits(1):
        yield


SAMPLES = 3


def rows_of(x: np.ndarray, positive: np.ndarray, groups: np.ndarray, seed: int = 0) -> Rows:
    """Three tokens an example that scatter around its mean; embeddings and words that say nothing."""
    rng = np.random.default_rng(seed)
    n, layers, width = x.shape
    of = np.repeat(np.arange(n), SAMPLES)
    return Rows(
        tuple(range(layers)),
        x.astype(np.float32),
        (x[of] + 0.3 * rng.standard_normal((len(of), layers, width))).astype(np.float32),
        of,
        rng.standard_normal((n, 4)).astype(np.float32),
        tuple("word" if i % 3 else "other" for i in range(n)),
        positive,
        groups,
        np.ones(n),
    )


def planted(layer: int, n: int = 80, gap: float = 4.0, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    positive = np.arange(n) % 2 == 0
    x = rng.standard_normal((n, BLOCKS, WIDTH))
    x[:, layer, 5] += gap * positive
    return rows_of(x, positive, np.arange(n) // 2, seed)


def marked_groups(seed: int = 0, groups: int = 40, each: int = 4) -> Rows:
    """Every group has a mark of its own and one label: who knows the group knows the label, and only so."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(groups), each)
    positive = (np.arange(groups) % 2 == 0)[of]
    marks = 5 * rng.standard_normal((groups, 2, 64))
    return rows_of(marks[of] + 0.1 * rng.standard_normal((len(of), 2, 64)), positive, of, seed)


@pytest.mark.parametrize("layer", [0, 3])
def test_a_direction_planted_at_one_layer_is_found_there(layer: int) -> None:
    rows = planted(layer)
    recipe = choose(rows, BLOCKS, "mean", seed=1)
    assert recipe.sweep.index(max(recipe.sweep)) == layer
    assert layer in recipe.layers
    assert recipe.strength in STRENGTHS
    fit = fit_recipe("scam", rows, recipe)
    where = np.unravel_index(np.abs(fit.probe.weights).argmax(), fit.probe.weights.shape)
    assert (recipe.layers[where[0]], where[1]) == (layer, 5)
    fresh = planted(layer, seed=9)
    assert auroc(read_out(fit, fresh), fresh.positive) > 0.95


def test_layers_stand_side_by_side_and_within_the_model() -> None:
    for layer in (0, 3):
        found = choose(planted(layer, n=40), BLOCKS, "mean", seed=0).layers
        assert list(found) == list(range(found[0], found[-1] + 1))
        assert 0 <= found[0] <= found[-1] < BLOCKS


def test_a_model_of_one_layer_has_one_recipe() -> None:
    rows = planted(0)
    one = replace(rows, layers=(7,), pooled=rows.pooled[:, :1], sampled=rows.sampled[:, :1])
    assert choose(one, 10, "mean", seed=0).layers == (7,)


def test_folds_of_unlike_classes_make_no_null_weaker() -> None:
    """Five large groups, one a fold, of a tenth or nine tenths positive; `copper` stands in four of five of them.

    Words score that alone, so their AUROC is that of having the word, whatever fold a row is in.
    """
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 80)
    positive = rng.random(400) < np.array([0.1, 0.9, 0.1, 0.9, 0.5])[groups]
    copper = rng.random(400) < np.where(positive, 0.8, 0.2)
    rows = rows_of(rng.standard_normal((400, 1, WIDTH)), positive, groups)
    rows = replace(rows, texts=tuple("copper" if one else "silver" for one in copper))
    found, _ = cross_validated("scam", rows, BLOCKS, "mean", seed=0)
    assert auroc(found.nulls["tfidf"], positive) > auroc(copper.astype(float), positive) - 0.01


def test_nested_cross_validation_finds_what_is_there() -> None:
    rows = planted(3)
    found, recipes = cross_validated("scam", rows, BLOCKS, "mean", seed=0)
    assert auroc(found.probe, rows.positive) > 0.95
    assert len(recipes) == FOLDS
    assert all(3 in recipe.layers for recipe in recipes)
    assert sorted(found.nulls) == ["difference_of_means", "embedding", "tfidf"]
    for null in ("embedding", "tfidf"):
        assert abs(auroc(found.nulls[null], rows.positive) - 0.5) < 0.25


@pytest.mark.parts  # for its length
def test_with_shuffled_labels_nested_cross_validation_stays_at_chance() -> None:
    """Choice of layer, of neighbours and of strength: each would lift a figure that had seen the rows.

    Five dealings of 80 independent rows; the mean of their AUROCs has a standard error of about .03.
    """
    rng = np.random.default_rng(3)
    values = []
    for seed in range(5):
        x = rng.standard_normal((80, 2, 4))
        positive = rng.permutation(np.arange(80) % 2 == 0)
        rows = rows_of(x, positive, np.arange(80), seed)
        found, _ = cross_validated("scam", rows, 2, "mean", seed)
        values.append(auroc(found.probe, positive))
    assert np.mean(values) < 0.57
    assert max(values) < 0.7


def test_a_probe_never_sees_the_groups_it_is_judged_on() -> None:
    rows = marked_groups()
    fitted = Recipe((0, 1), 0.1, "mean")
    known, _ = np.split(np.random.default_rng(0).permutation(len(rows.positive)), 2)
    leaking = np.isin(np.arange(len(rows.positive)), known)
    seen = score_rows("scam", rows.take(leaking), rows.take(~leaking), fitted)
    assert auroc(seen.probe, rows.positive[~leaking]) > 0.95  # split over rows, it looks perfect
    found, _ = cross_validated("scam", rows, 2, "mean", seed=0)
    assert auroc(found.probe, rows.positive) < 0.65
    assert auroc(found.nulls["difference_of_means"], rows.positive) < 0.65


@pytest.mark.parametrize("pool", ["tokens", "last"])
def test_every_pool_is_fitted_and_judged(pool: str) -> None:
    rows = planted(3)
    found, _ = cross_validated("scam", rows, BLOCKS, pool, seed=0)
    assert auroc(found.probe, rows.positive) > 0.95


def test_a_rare_class_is_in_every_choice_however_many_others_there_are() -> None:
    """12 groups of 2,000 hold all positives: a lot over all groups would often leave a fold without one."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(2000), 3)
    positive = np.isin(groups, rng.permutation(2000)[:12])
    x = rng.standard_normal((6000, 2, 3)) + positive[:, None, None] * np.array([[0.0], [4.0]])
    for seed in range(3):
        assert 1 in choose(rows_of(x, positive, groups), 2, "mean", seed).layers


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**16 - 1))
def test_taken_rows_keep_what_belongs_together(mask: int) -> None:
    rows = planted(1, n=16)
    rows = replace(rows, sampled=rows.pooled[rows.of])  # a token is its example's own
    chosen = np.array([bool(mask >> i & 1) for i in range(16)])
    taken = rows.take(chosen)
    np.testing.assert_array_equal(taken.pooled, rows.pooled[chosen])
    np.testing.assert_array_equal(taken.sampled, taken.pooled[taken.of])
    assert len(taken.of) == SAMPLES * chosen.sum()
    assert taken.texts == tuple(np.array(rows.texts)[chosen].tolist())


def test_benign_is_the_tokens_of_the_negatives_and_sets_the_scale() -> None:
    rows = planted(3)
    fit = fit_recipe("scam", rows, Recipe((2, 3), 0.1, "mean"))
    benign = rows.sampled[~rows.positive[rows.of]][:, [2, 3]].astype(np.float64)
    scores = np.einsum("mld,ld->m", benign, fit.probe.weights) + fit.probe.bias
    assert scores.mean() == pytest.approx(0, abs=1e-4)
    assert scores.std() == pytest.approx(1, abs=1e-4)
    assert fit.benign_tokens == len(benign)


def test_rows_that_count_for_nothing_do_not_turn_the_probe() -> None:
    """Turned labels at weight 0: as if those rows were not there."""
    rows = planted(3)
    half = np.arange(80) < 40
    turned = replace(rows, positive=rows.positive ^ ~half, weights=half + 1e-9)
    fit = fit_recipe("scam", turned, Recipe((3,), 0.1, "mean"))
    assert auroc(read_out(fit, rows), rows.positive) > 0.95
