"""Nulls find what is there without a model, and nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors import nulls
from dosimeter.detectors.evaluate import auroc

WORDS = [
    "river",
    "stone",
    "lamp",
    "garden",
    "window",
    "paper",
    "copper",
    "music",
    "winter",
    "bread",
]


def texts(n: int, seed: int, marked: str = "") -> tuple[list[str], np.ndarray]:
    """Ten random words a text; the positives have one more, if there is a mark."""
    rng = np.random.default_rng(seed)
    positive = np.arange(n) % 2 == 0
    said = [" ".join(rng.choice(WORDS, 10)) for _ in range(n)]
    return [
        f"{t} {marked}" if p and marked else t for t, p in zip(said, positive, strict=True)
    ], positive


def test_a_word_that_only_one_class_uses_is_found_on_texts_never_seen() -> None:
    fitted, positive = texts(100, 0, "urgent")
    fresh, truth = texts(100, 1, "urgent")
    assert auroc(nulls.words(fitted, positive, fresh), truth) > 0.9


def test_words_in_one_order_are_found_by_their_pairs() -> None:
    """The same words in both classes: only which follows which differs."""
    rng = np.random.default_rng(0)
    positive = np.arange(200) % 2 == 0
    said = [
        f"{rng.choice(WORDS)} {'not safe but' if p else 'safe but not'} {rng.choice(WORDS)}"
        for p in positive
    ]
    scores = nulls.words(said[:100], positive[:100], said[100:])
    assert auroc(scores, positive[100:]) == 1.0


def test_punctuation_is_a_word() -> None:
    fitted, positive = texts(100, 0, "!")
    fresh, truth = texts(100, 1, "!")
    assert auroc(nulls.words(fitted, positive, fresh), truth) > 0.9


def test_texts_of_both_classes_alike_stay_near_chance() -> None:
    fitted, positive = texts(400, 0)
    fresh, truth = texts(400, 1)
    assert abs(auroc(nulls.words(fitted, positive, fresh), truth) - 0.5) < 0.1


def test_texts_without_a_word_score_nothing_and_do_not_raise() -> None:
    positive = np.array([True, False, True, False])
    assert nulls.words(["\u200b"] * 4, positive, ["hello", ""]).tolist() == [0.0, 0.0]


def test_the_linear_null_finds_a_planted_direction_and_survives_a_dead_dimension() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(300) % 2 == 0
    x = rng.standard_normal((300, 8))
    x[:, 3] += 3 * positive
    x[:, 5] = 7.0
    scores = nulls.linear(x[:200], positive[:200], x[200:], 0.1)
    assert np.isfinite(scores).all()
    assert auroc(scores, positive[200:]) > 0.95


def test_the_null_of_shuffled_labels_is_where_chance_ends() -> None:
    """2 000 labels dealt by hand over the same independent rows; their own 95th percentile."""
    rng = np.random.default_rng(1)
    scores, positive = rng.standard_normal(80), np.arange(80) < 30
    dealt = [abs(auroc(scores, rng.permutation(positive)) - 0.5) + 0.5 for _ in range(2000)]
    found = nulls.shuffled_p95(scores, positive, np.arange(80), seed=3, rounds=1000)
    assert found == pytest.approx(np.percentile(dealt, 95), abs=0.01)


def test_rows_of_one_group_are_dealt_together() -> None:
    """Ten groups of forty alike rows: chance reaches far further than for four hundred rows."""
    groups = np.arange(400) // 40
    positive = groups % 2 == 0
    scores = np.random.default_rng(0).standard_normal(10)[groups]
    together = nulls.shuffled_p95(scores, positive, groups, seed=0)
    alone = nulls.shuffled_p95(scores, positive, np.arange(400), seed=0)
    assert alone < 0.6 < 0.75 < together


def test_the_two_sides_of_a_pair_are_dealt_apart() -> None:
    """Else every dealing would give the labels back, and nothing could beat the null."""
    pairs, positive = np.arange(200) // 2, np.arange(200) % 2 == 0
    assert nulls.shuffled_p95(positive.astype(float), positive, pairs, seed=0) < 0.65


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=40), st.integers(0, 99))
def test_the_length_null_has_the_sign_that_separates_better(lengths: list[int], seed: int) -> None:
    positive = np.random.default_rng(seed).random(len(lengths)) < 0.5
    positive[0], positive[-1] = True, False
    found = auroc(nulls.of_lengths(np.array(lengths), positive), positive)
    plain = auroc(np.array(lengths, dtype=float), positive)
    assert found == pytest.approx(max(plain, 1 - plain))


@pytest.mark.parametrize(
    ("aurocs", "expected"),
    [
        ([0.1, 0.2, 0.3], True),
        ([0.1, 0.2, 0.36], False),
        ([0.34, 0.34], True),
        ([0.35, 0.35], False),
        ([0.1], False),
        ([], False),
        ([0.9, 0.8], False),
    ],
)
def test_labels_are_turned_round_where_several_methods_agree(
    aurocs: list[float], expected: bool
) -> None:
    assert nulls.wrong_way_round(aurocs) is expected
