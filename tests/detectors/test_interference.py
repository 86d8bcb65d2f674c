"""Angles between watched directions: planted, recomputed in float64, and as findings."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.bank import Column, Probe, ProbeBank, fold
from dosimeter.detectors.findings import InputError, render
from dosimeter.detectors.frames import ActivationFrame
from dosimeter.detectors.interference import Interference, as_json, as_lines


def bank_of(*probes: Probe) -> ProbeBank:
    return ProbeBank((Column(p.feature, "ab" * 32, "test/pack"), p) for p in probes)


def probe(feature: str, rows: list[list[float]], layers: tuple[int, ...] = (0,)) -> Probe:
    return Probe(feature, layers, np.array(rows, dtype=np.float32), 0.5)


def at_angle(degrees: float, length: float = 1.0) -> list[float]:
    angle = math.radians(degrees)
    return [length * math.cos(angle), length * math.sin(angle), 0.0]


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 135, 180])
def test_the_cosine_is_that_of_the_planted_angle_whatever_the_lengths(degrees: float) -> None:
    bank = bank_of(probe("a", [at_angle(0, 3)]), probe("b", [at_angle(degrees, 0.2)]))
    found = Interference.of(bank)
    expected = math.cos(math.radians(degrees))
    np.testing.assert_allclose(found.cosine, [[1, expected], [expected, 1]], atol=1e-7)
    assert found.correlation is None


def test_crosstalk_is_what_the_bank_itself_scores_when_pushed_along_a_direction() -> None:
    """Activations moved along A's weights until A stands 4 sd up, then read by `ProbeBank.score`."""
    rng = np.random.default_rng(2)
    bank = bank_of(
        Probe("a", (1, 3), rng.standard_normal((2, 16)).astype(np.float32), 0.0),
        Probe("b", (1,), 5 * rng.standard_normal((1, 16)).astype(np.float32), 1.0),
        Probe("c", (2,), rng.standard_normal((1, 16)).astype(np.float32), -1.0),
    )
    moved = Interference.of(bank).crosstalk(4.0)
    rest = np.zeros((3, 1, 16), np.float32)
    for a in range(3):
        weights = bank.weights[:, a]
        push = 4 * weights / (weights**2).sum()
        scores = bank.score(ActivationFrame(rest + push[:, None], bank.layers))
        change = scores - bank.score(ActivationFrame(rest, bank.layers))
        np.testing.assert_allclose(moved[a], change[0], atol=1e-5)
    assert moved[0, 0] == pytest.approx(4)
    assert moved[0, 1] != pytest.approx(moved[1, 0])


def test_a_cosine_is_over_the_layers_that_both_read() -> None:
    """Equal at layer 2, whatever stands at 1 and 3; no layer shared: unknown, not 0."""
    same = [1.0, 2.0, 3.0]
    bank = bank_of(
        probe("a", [[9.0, 0, 0], same], (1, 2)),
        probe("b", [same, [0, 7.0, 0]], (2, 3)),
        probe("c", [[1.0, 0, 0]], (4,)),
    )
    found = Interference.of(bank)
    assert found.cosine[0, 1] == pytest.approx(1)
    assert np.isnan(found.cosine[2, :2]).all()
    assert found.crosstalk(4)[2, :2].tolist() == [0, 0]
    assert [f.message.split(" read")[0] for f in found.findings()] == ["`a` and `b`"]
    assert any("no shared layer" in line for line in as_lines(found))


def test_correlation_is_numpys_own_of_scores_in_float64() -> None:
    """A massive dimension 300 sd from zero beside it, as real models have."""
    rng = np.random.default_rng(3)
    mixing = rng.standard_normal((2, 12, 12))
    benign = np.einsum("mld,lde->mle", rng.standard_normal((500, 2, 12)), mixing) + 1
    benign[:, :, 5] += 300
    probes = []
    for f in range(4):
        direction = rng.standard_normal((2, 12))
        raw = np.tensordot(benign, direction, axes=2)
        weights, bias = fold(direction, benign.mean(axis=0), float(raw.std()))
        probes.append(Probe(f"f{f}", (0, 1), weights, bias))
    found = Interference.of(bank_of(*probes), benign)
    scores = np.stack([np.tensordot(benign, p.weights.astype(np.float64), axes=2) for p in probes])
    assert found.correlation is not None
    assert found.together is not None
    np.testing.assert_allclose(found.correlation, np.corrcoef(scores), atol=1e-9)
    slope = np.cov(scores, bias=True) / scores.var(axis=1)[:, None]
    np.testing.assert_allclose(found.together, slope, atol=1e-9)
    assert found.tokens == 500


def test_correlated_activations_join_directions_at_a_right_angle() -> None:
    """Two dimensions that move together: cosine 0, correlation 0.8, and a finding only with data."""
    rng = np.random.default_rng(4)
    bank = bank_of(probe("a", [[1, 0, 0]]), probe("b", [[0, 1, 0]]), probe("c", [[0, 0, 1]]))
    covariance = [[1, 0.8, 0], [0.8, 1, 0], [0, 0, 1]]
    benign = rng.multivariate_normal(np.zeros(3), covariance, 20_000)[:, None, :]
    assert Interference.of(bank).findings() == []
    found = Interference.of(bank, benign)
    assert found.correlation is not None
    assert found.correlation[0, 1] == pytest.approx(0.8, abs=0.02)
    [finding] = found.findings()
    assert (finding.code, finding.severity) == ("interference", "warning")
    assert "cosine 0.00, correlation 0.80 on 20000 benign tokens" in finding.message


def test_findings_name_both_features_the_value_and_the_sign_strongest_first() -> None:
    bank = bank_of(
        probe("scam", [at_angle(0)]), probe("fraud", [at_angle(50)]), probe("help", [at_angle(170)])
    )
    first, second = Interference.of(bank).findings(0.6)
    assert render([first]) == (
        "test/pack: warning: `scam` and `help` read each other: cosine -0.98; what raises one "
        "lowers the other, and a rule on it goes blind [interference]\n"
        "  hint: fit each against examples of the other, or let a rule on `scam` ask for `help` too"
    )
    assert (
        "`scam` and `fraud` read each other: cosine 0.64; what raises one raises" in second.message
    )


def test_the_limit_itself_is_a_finding_and_just_below_it_is_not() -> None:
    bank = bank_of(probe("a", [[1, 0]]), probe("b", [[3, 4]]))  # cosine 0.6
    found = Interference.of(bank)
    assert len(found.findings(float(found.cosine[0, 1]))) == 1
    assert found.findings(0.6001) == []
    for limit in (0, -0.5, 1.5, float("nan")):
        with pytest.raises(InputError, match="no cosine"):
            found.findings(limit)


def test_a_direction_of_zeros_and_a_score_that_never_varies_are_unknown_not_zero() -> None:
    bank = bank_of(probe("a", [[1, 0]]), probe("none", [[0, 0]]), probe("still", [[0, 1]]))
    rng = np.random.default_rng(1)
    benign = np.stack([rng.standard_normal(200), np.full(200, 0.1)], axis=1)[:, None, :]
    found = Interference.of(bank, benign)
    assert found.correlation is not None
    assert np.isnan(found.cosine[1]).all()
    assert np.isnan(found.correlation[2]).all()
    assert found.findings() == []
    written = json.loads(as_json(found))
    assert written["cosine"][1] == [None, None, None]
    assert written["correlation"][0] == [1.0, None, None]
    assert len(list(as_lines(found))) == 3


def test_tokens_that_are_not_finite_are_left_out_and_too_few_are_refused() -> None:
    rng = np.random.default_rng(1)
    bank = bank_of(probe("a", [[1, 0]]), probe("b", [[1, 1]]))
    benign = rng.standard_normal((102, 1, 2))
    benign[0, 0, 0], benign[1, 0, 1] = np.nan, np.inf
    found, clean = Interference.of(bank, benign), Interference.of(bank, benign[2:])
    assert found.tokens == 100
    np.testing.assert_array_equal(found.correlation, clean.correlation)
    with pytest.raises(InputError, match="99 finite tokens"):
        Interference.of(bank, benign[:101])
    for wrong in (benign[:, 0], np.zeros((200, 2, 2)), np.zeros((200, 1, 3)), np.zeros((0, 1, 2))):
        with pytest.raises(InputError, match="benign activations"):
            Interference.of(bank, wrong)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_directions_have_nothing_to_compare(count: int) -> None:
    found = Interference.of(bank_of(*[probe("a", [[1, 0]])] * count))
    assert found.findings() == []
    assert list(as_lines(found)) == ["fewer than two directions: nothing to compare"]
    assert len(json.loads(as_json(found))["cosine"]) == count


def test_lines_say_both_pushes_and_how_many_pairs_are_left() -> None:
    bank = bank_of(probe("a", [[1, 0]]), probe("b", [[3, 4]]), probe("c", [[0, 1]]))
    lines = list(as_lines(Interference.of(bank), most=2))
    assert (
        lines[0]
        == "`b` and `c`: cosine 0.80; 4 sd of `b` push `c` by +0.6; 4 sd of `c` push `b` by +16.0"
    )
    assert lines[2] == "and 1 weaker pairs"


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 3))
def test_matrices_are_symmetric_bounded_and_those_of_concatenated_float64_directions(
    seed: int, count: int, layers: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, layers, 6)) * 10.0 ** rng.integers(-4, 5, (count, 1, 1))
    bank = bank_of(
        *(
            Probe(f"f{i}", tuple(range(layers)), r.astype(np.float32), 0.0)
            for i, r in enumerate(rows)
        )
    )
    found = Interference.of(bank)
    flat = rows.astype(np.float32).astype(np.float64).reshape(count, -1)
    unit = flat / np.linalg.norm(flat, axis=1)[:, None]
    np.testing.assert_allclose(found.cosine, unit @ unit.T, atol=1e-12)
    np.testing.assert_allclose(found.cosine, found.cosine.T)
    assert (np.abs(found.cosine) <= 1).all()
