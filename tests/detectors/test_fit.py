"""Fitting finds a planted direction, freezes the benign scale, and never trains on its test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.bank import Column, ProbeBank
from dosimeter.detectors.evaluate import auroc
from dosimeter.detectors.fit import (
    FitError,
    fit_probe,
    folds,
    group_weights,
)
from dosimeter.detectors.frames import ActivationFrame

LAYERS = (2, 5)


def planted(
    rng: np.random.Generator, n: int, direction: np.ndarray, gap: float
) -> tuple[np.ndarray, np.ndarray]:
    """[n, L, D] noise around large offsets, positives moved along a direction; and which they are."""
    positive = np.arange(n) % 2 == 0
    offset = np.linspace(-300, 300, direction.size).reshape(direction.shape)
    x = rng.standard_normal((n, *direction.shape)) + offset
    return x + gap * positive[:, None, None] * direction, positive


def test_a_planted_direction_is_found_and_read_out_by_the_bank() -> None:
    rng = np.random.default_rng(0)
    direction = rng.standard_normal((2, 32))
    direction /= np.linalg.norm(direction)
    x, positive = planted(rng, 600, direction, gap=4)
    benign, _ = planted(rng, 2000, direction, gap=0)
    fit = fit_probe("scam", LAYERS, x, positive, benign)
    bank = ProbeBank([(Column("scam", "ab", "t"), fit.probe)])
    fresh, truth = planted(rng, 400, direction, gap=4)

    def score(rows: np.ndarray) -> np.ndarray:
        frame = ActivationFrame(rows.astype(np.float32).transpose(1, 0, 2), LAYERS)
        return bank.score(frame)[:, 0]

    assert auroc(score(fresh), truth) > 0.97  # a gap of 4 sd along the best direction gives .998
    assert score(benign).mean() == pytest.approx(0, abs=1e-3)
    assert score(benign).std() == pytest.approx(1, abs=1e-3)
    assert fit.agreement > 0.5
    unit = fit.probe.weights.ravel() / np.linalg.norm(fit.probe.weights)
    assert float(unit @ direction.ravel()) > 0.8


def test_the_card_records_the_scale_that_was_folded_in() -> None:
    """raw = h·direction; score = (raw - mean) / sd, so sd * weights is the raw direction again."""
    rng = np.random.default_rng(1)
    x, positive = planted(rng, 100, rng.standard_normal((1, 6)), gap=1)
    benign, _ = planted(rng, 500, np.ones((1, 6)), gap=0)
    fit = fit_probe("scam", (0,), x, positive, benign)
    raw = benign[:, 0] @ (fit.probe.weights[0].astype(np.float64) * fit.sd)
    assert raw.mean() == pytest.approx(fit.mean, rel=1e-5)
    assert raw.std() == pytest.approx(fit.sd, rel=1e-5)
    assert fit.benign_tokens == 500


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=80),
    st.integers(2, 5),
    st.integers(0, 9),
)
def test_every_group_is_tested_once_and_never_split(
    rows: list[tuple[int, bool]], count: int, seed: int
) -> None:
    groups, positive = (np.array(column) for column in zip(*rows, strict=True))
    risky = np.unique(groups[positive])
    if len(risky) < count:
        with pytest.raises(FitError, match=f"cannot make {count} folds"):
            list(folds(groups, positive, count, seed))
        return
    tested = np.zeros(len(groups), dtype=int)
    for train, test in folds(groups, positive, count, seed):
        assert (train ^ test).all()
        assert not set(groups[train]) & set(groups[test])
        dealt = len(set(groups[test]) & set(risky))
        assert dealt in (len(risky) // count, -(-len(risky) // count))
        tested += test
    assert (tested == 1).all()


def test_groups_count_alike_however_many_rows_they_have() -> None:
    weights = group_weights(np.array(["a", "a", "a", "b"]))
    assert weights.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])


@pytest.mark.parametrize(
    ("x", "positive", "benign", "words"),
    [
        (np.ones((4, 1, 2)), [True] * 4, np.ones((3, 1, 2)), "4 of 4 rows are positive"),
        (np.ones((4, 2, 2)), [True, False] * 2, np.ones((3, 1, 2)), r"must be \[\*, 1, D\]"),
        (np.ones((4, 1, 2)) * np.nan, [True, False] * 2, np.ones((3, 1, 2)), "must be finite"),
        (np.eye(4)[:, None, :], [True, False] * 2, np.ones((3, 1, 4)), "do not vary"),
    ],
)
def test_data_that_carries_no_fit_is_refused(
    x: np.ndarray, positive: list[bool], benign: np.ndarray, words: str
) -> None:
    with pytest.raises(FitError, match=words):
        fit_probe("scam", (0,), x, np.array(positive), benign)
