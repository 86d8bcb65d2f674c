"""The lab's autoencoder is written as an import reads it, and finds directions that were planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dosimeter.detectors.evaluate import Interval, auroc
from dosimeter.monitor.imports.sae import read_latent
from dosimeter.monitor.lab.sae import Chosen, Sae, Seen, aurocs, best_latents, quality, train
from dosimeter.monitor.lab.world import FEATURES


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """Tokens [T, 16] that are sums of a few of 6 directions, off centre; and the directions."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((16, 16)))[0][:6]
    on = (rng.random((4000, 6)) < 0.15) * rng.uniform(3, 6, (4000, 6))
    return (on @ directions + 0.5 + 0.01 * rng.standard_normal((4000, 16))).astype("f4"), directions


@pytest.fixture(scope="module")
def sae(planted: tuple[np.ndarray, np.ndarray]) -> Sae:
    torch.set_num_threads(1)
    return train(planted[0], seed=0, steps=600, latents=24)


def test_planted_directions_are_found_and_mostly_off(
    planted: tuple[np.ndarray, np.ndarray], sae: Sae
) -> None:
    tokens, directions = planted
    decoder = sae.w_dec / np.linalg.norm(sae.w_dec, axis=1, keepdims=True)
    nearest = (directions @ decoder.T).max(axis=1)
    assert nearest.mean() > 0.9
    assert nearest.min() > 0.75
    found = quality(sae, tokens)
    assert found["variance_kept"] > 0.8
    assert found["on_per_token"] < 4  # 0.9 directions are on at a token


def test_an_import_reads_what_was_trained(
    tmp_path: Path, planted: tuple[np.ndarray, np.ndarray], sae: Sae
) -> None:
    size = sae.save(tmp_path)
    assert size == sum(path.stat().st_size for path in tmp_path.iterdir())
    expected = sae.before(planted[0])
    for latent in (0, 7, 23):
        found = read_latent(tmp_path, latent, "scam")
        scores = planted[0] @ found.weights[0] + found.bias
        assert scores == pytest.approx(expected[:, latent], abs=0.02)  # weights in half precision
        assert (found.layers, found.floor) == ((2,), 0.0)


def test_every_column_has_the_auroc_that_it_has_alone() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 5, (60, 7)).astype("f4"), rng.random(60) < 0.3
    expected = [auroc(column, positive) for column in scores.T]
    assert aurocs(scores, positive).tolist() == pytest.approx(expected)


def test_the_latent_of_a_feature_is_chosen_on_one_set_and_measured_on_the_other(
    planted: tuple[np.ndarray, np.ndarray], sae: Sae
) -> None:
    tokens, directions = planted
    features = np.array([*FEATURES, "nothing", "nothing"])
    rng = np.random.default_rng(1)

    def seen(order: np.ndarray) -> Seen:
        kinds = rng.integers(0, 6, 300)
        return Seen(tokens, (4 * directions[kinds] + 0.5).astype("f4"), features[order][kinds])

    same = best_latents(sae, seen(np.arange(6)), seen(np.arange(6)))
    assert all(one.held_out.value > 0.9995 for one in same.values())
    other = best_latents(sae, seen(np.arange(6)), seen(np.array([1, 2, 3, 0, 4, 5])))
    assert {f: one.latent for f, one in other.items()} == {f: one.latent for f, one in same.items()}
    # A feature's rows now score below those of one kind of six: 4 of 5 at best.
    assert all(one.held_out.value < 0.9 for one in other.values())


def test_a_latent_is_shown_where_its_interval_lies_above_random_directions() -> None:
    found = Interval(0.9, 0.8, 0.95)
    assert Chosen(7, found, 0.79).shown
    assert not Chosen(7, found, 0.81).shown
