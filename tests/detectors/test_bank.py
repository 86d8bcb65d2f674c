"""The reference score: against float64, with massive activations, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.bank import BankError, Column, LayerMissing, Probe, ProbeBank, fold
from dosimeter.detectors.frames import (
    CODE_MAX,
    CODE_UNSCORED,
    CODES_PER_SD,
    ActivationFrame,
    to_codes,
)


def bank_of(*probes: Probe) -> ProbeBank:
    return ProbeBank((Column(p.feature, "ab" * 32, "test/pack"), p) for p in probes)


def probe(feature: str, layers: tuple[int, ...], width: int, value: float = 1.0) -> Probe:
    return Probe(feature, layers, np.full((len(layers), width), value, dtype=np.float32), 0.0)


def standardised_bank(
    rng: np.random.Generator, features: int, mean: np.ndarray, sd: np.ndarray
) -> tuple[ProbeBank, list[tuple[np.ndarray, float]]]:
    """Random directions over activations N(mean, sd²), standardised; and the same in float64."""
    probes, exact = [], []
    for f in range(features):
        direction = rng.standard_normal((1, len(mean))) / sd
        score_sd = float(np.sqrt(((direction[0] * sd) ** 2).sum()))
        weights, bias = fold(direction, mean[None, :], score_sd)
        probes.append(Probe(f"f{f}", (0,), weights, bias))
        exact.append((direction[0] / score_sd, float(direction[0] @ mean / score_sd)))
    return bank_of(*probes), exact


def mean_code_error(rng: np.random.Generator, mean: np.ndarray, sd: np.ndarray, hot: int) -> float:
    """Mean |code/256 - float64 score| in sd, with one dimension 300 sd away from its mean."""
    bank, exact = standardised_bank(rng, 64, mean, sd)
    hidden = (mean + sd * rng.standard_normal((64, len(mean)))).astype(np.float32)
    hidden[:, hot] = np.float32(mean[hot] + 300 * sd[hot])
    codes = bank.codes(ActivationFrame(hidden[None], (0,)))
    truth = np.stack([hidden.astype(np.float64) @ w - b for w, b in exact], axis=1)
    inside = np.abs(truth) < CODE_MAX / CODES_PER_SD - 1
    assert inside.mean() > 0.5
    return float(np.abs(codes / CODES_PER_SD - truth)[inside].mean())


def test_codes_stay_within_three_thousandths_of_a_sd_of_float64() -> None:
    """D = 4096, F = 64, one dimension at 300 sd: real models have such dimensions."""
    rng = np.random.default_rng(7)
    assert mean_code_error(rng, np.zeros(4096), np.ones(4096), hot=11) <= 0.003


def test_codes_hold_when_a_dimension_sits_hundreds_of_sd_from_zero() -> None:
    """The bias then cancels a term of the order of 10^4 sd of that dimension."""
    rng = np.random.default_rng(8)
    mean, sd = rng.standard_normal(4096), np.full(4096, 1.0)
    mean[5], sd[5] = 3000.0, 10.0
    assert mean_code_error(rng, mean, sd, hot=5) <= 0.003


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(16, 512),
    offset=st.floats(-1000, 1000),
    spread=st.floats(0.01, 100),
)
def test_codes_agree_with_float64_for_any_activation_scale(
    seed: int, width: int, offset: float, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal(width) * spread
    mean[seed % width] = offset * spread
    assert mean_code_error(rng, mean, np.full(width, spread), hot=seed % width) <= 0.003


def test_bias_from_rounded_weights_cancels_their_rounding() -> None:
    """Benign activations that sit exactly at their mean score 0, however large that mean is."""
    rng = np.random.default_rng(3)
    mean = rng.standard_normal((1, 256)) * 1e4
    weights, bias = fold(rng.standard_normal((1, 256)), mean, 0.37)
    assert float(np.vdot(weights.astype(np.float64), mean)) + bias == pytest.approx(0, abs=1e-9)


def test_layers_are_summed_and_zero_where_a_probe_does_not_read() -> None:
    one, two = probe("one", (4,), 2), probe("two", (2, 4), 2, value=10.0)
    bank = bank_of(one, two)
    hidden = np.array([[[1, 2]], [[100, 200]]], dtype=np.float32)  # layers 2 and 4, one token
    assert bank.layers == (2, 4)
    assert bank.weights[0, 0].tolist() == [0, 0]
    assert bank.score(ActivationFrame(hidden, (2, 4))).tolist() == [[300, 3030]]


def test_a_frame_may_hold_more_layers_in_any_order() -> None:
    bank = bank_of(probe("one", (4,), 2))
    hidden = np.array([[[7, 7]], [[1, 2]], [[9, 9]]], dtype=np.float32)
    assert bank.score(ActivationFrame(hidden, (9, 4, 1))).tolist() == [[3]]


def test_a_missing_layer_is_named() -> None:
    bank = bank_of(probe("one", (1, 3), 2))
    with pytest.raises(LayerMissing, match=r"layers \[3\] are not in the frame") as caught:
        bank.score(ActivationFrame(np.zeros((1, 1, 2), np.float32), (1,)))
    assert caught.value.missing == (3,)


def test_a_token_that_is_not_finite_is_unscored_in_every_column_and_alone() -> None:
    bank = bank_of(probe("one", (0,), 2), probe("two", (1,), 2))
    hidden = np.ones((2, 4, 2), dtype=np.float32)
    hidden[0, 1, 0], hidden[1, 2, 1] = np.nan, np.inf
    codes = bank.codes(ActivationFrame(hidden, (0, 1)))
    assert (codes == CODE_UNSCORED).all(axis=1).tolist() == [False, True, True, False]
    assert codes[[0, 3]].tolist() == [[512, 512], [512, 512]]


def test_scores_beyond_the_code_saturate_and_never_read_as_unscored() -> None:
    bank = bank_of(probe("one", (0,), 1))
    codes = bank.codes(ActivationFrame(np.array([[[1e6], [-1e6]]], np.float32), (0,)))
    assert codes[:, 0].tolist() == [CODE_MAX, -CODE_MAX]


def test_codes_round_half_to_even() -> None:
    halves = np.array([[0.5, 1.5, 2.5, -0.5, -1.5]], dtype=np.float32) / CODES_PER_SD
    assert to_codes(halves).tolist() == [[0, 2, 2, 0, -2]]


def test_a_code_is_what_plain_arithmetic_makes_of_a_score() -> None:
    """Also beside scores that are not finite, and where a square overflows."""
    odd = [np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, 127.996, 128.0, -128.5, 0.0, -0.0, 1e-40]
    found = np.random.default_rng(0).normal(0, 60, (40, 12)).astype(np.float32)
    found[7] = odd
    found[:, 3] = np.float32(odd[3])

    def code(score: np.float32) -> int:
        if not math.isfinite(float(score) * 256) or float(score) * 256 > 3.4028235e38:
            return CODE_UNSCORED
        return max(-CODE_MAX, min(CODE_MAX, round(float(score) * 256)))

    with np.errstate(over="ignore"):
        assert to_codes(found).tolist() == [[code(score) for score in row] for row in found]
    assert to_codes(found[:0]).shape == (0, 12)


def test_one_feature_in_two_packs_is_an_error_that_names_both() -> None:
    entries = [
        (Column("scam", "aa", "lab/one"), probe("scam", (0,), 2)),
        (Column("scam", "bb", "lab/two"), probe("scam", (0,), 2)),
    ]
    with pytest.raises(BankError, match="`scam` is in pack `lab/one` and in `lab/two`"):
        ProbeBank(entries)


def test_probes_of_different_widths_do_not_share_a_bank() -> None:
    with pytest.raises(BankError, match=r"hidden sizes \[2, 3\]"):
        bank_of(probe("one", (0,), 2), probe("two", (0,), 3))


@pytest.mark.parametrize("layers", [(), (2, 1), (1, 1), (-1,)])
def test_layers_of_a_probe_ascend_from_zero(layers: tuple[int, ...]) -> None:
    with pytest.raises(BankError):
        probe("one", layers, 2)


def test_a_bank_without_packs_scores_nothing() -> None:
    bank = ProbeBank(())
    assert bank.codes(ActivationFrame(np.zeros((1, 3, 8), np.float32), (0,))).shape == (3, 0)


def test_a_small_pack_that_would_take_all_memory_when_stacked_is_refused() -> None:
    """Each probe reads a layer of its own: 4 MiB of weights, and 16 GiB of mostly zeros in the server."""
    row = np.zeros((1, 256), np.float32)
    entries = [(Column(f"f{i}", "p", "p"), Probe(f"f{i}", (i,), row, 0.0)) for i in range(4096)]
    with pytest.raises(BankError, match="take 17179869184 bytes stacked"):
        ProbeBank(entries)
