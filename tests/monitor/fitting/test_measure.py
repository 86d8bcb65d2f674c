"""One set, measured: figures that other implementations give too, and what may not be claimed."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dosimeter.detectors.verdict import judge
from dosimeter.monitor.fitting.measure import Measured, measure, slices

N = 240
NULLS = ("tfidf", "embedding", "difference_of_means")


def measured(**changes: Any) -> Measured:
    rng = np.random.default_rng(0)
    positive = np.arange(N) % 2 == 0
    given: dict[str, Any] = {
        "name": "wild",
        "scores": rng.standard_normal(N) + 2.5 * positive,
        "others": {
            "tfidf": rng.standard_normal(N) + 0.5 * positive,
            "embedding": rng.standard_normal(N) + 0.4 * positive,
            "difference_of_means": rng.standard_normal(N) + 2 * positive,
        },
        "x": rng.standard_normal((N, 2, 16)),
        "positive": positive,
        "groups": np.arange(N) // 2,
        "kinds": ["sms" if i % 4 < 2 else "mail" for i in range(N)],
        "lengths": rng.integers(5, 50, N),
        **changes,
    }
    return measure(**given)


@cache
def usual() -> Measured:
    return measured()


def test_figures_equal_scikit_learns_and_stand_beside_their_nulls() -> None:
    found = usual()
    rng = np.random.default_rng(0)
    positive = np.arange(N) % 2 == 0
    expected = roc_auc_score(positive, rng.standard_normal(N) + 2.5 * positive)
    document = found.document
    assert document["auroc"]["value"] == pytest.approx(expected, abs=1e-4)
    assert (document["positives"], document["negatives"]) == (120, 120)
    assert sorted(document["nulls"]) == [
        "difference_of_means", "embedding", "length", "random_mean", "random_p95", "shuffled_p95",
        "tfidf",
    ]  # fmt: skip
    assert document["margin"]["null"] in ("tfidf", "embedding", "length")
    assert document["alarms"] == []
    assert judge([("wild", found.judged)], 0.5)[0] == "accepted"
    json.dumps(document, allow_nan=False)


def test_the_margin_that_is_shown_is_the_smallest() -> None:
    found = usual()
    smallest = min(margin.value for margin in found.judged["margins"].values())
    assert found.document["margin"]["value"] == pytest.approx(smallest, abs=1e-4)
    assert "difference_of_means" not in found.judged["margins"]  # of the model too: no null to beat


def test_a_rate_is_shown_only_where_a_negative_stands_for_it() -> None:
    rates = usual().document["tpr"]
    assert [(one["fpr"], one["shown"]) for one in rates] == [(0.01, True), (0.001, False)]
    assert rates[0]["low"] < rates[0]["value"] < rates[0]["high"]
    assert rates[1]["value"] is None


def test_words_or_length_that_tell_the_classes_apart_alone_are_an_alarm_and_refuse() -> None:
    positive = np.arange(N) % 2 == 0
    found = measured(
        others=dict.fromkeys(("tfidf", "embedding", "difference_of_means"), positive + 0.0),
        lengths=10 + 30 * positive,
    )
    assert found.document["alarms"] == [
        "length alone separates the classes (AUROC 1.000)",
        "words alone separate the classes (AUROC 1.000)",
    ]
    outcome, checks = judge([("wild", found.judged)], 0.5)
    assert outcome == "refused"
    assert {"not-style", "beats-length", "beats-tfidf", "beats-embedding"} <= {
        check.check for check in checks if not check.passed
    }


def test_short_texts_are_as_telling_as_long_ones() -> None:
    positive = np.arange(N) % 2 == 0
    assert measured(lengths=40 - 30 * positive).document["nulls"]["length"] == 1.0


def test_labels_that_are_turned_round_are_said_to_be() -> None:
    rng = np.random.default_rng(1)
    positive = np.arange(N) % 2 == 0
    turned = {n: rng.standard_normal(N) - 3 * positive for n in NULLS}
    found = measured(scores=rng.standard_normal(N) - 3 * positive, others=turned)
    assert any("turned round" in alarm for alarm in found.document["alarms"])
    assert judge([("wild", found.judged)], 0.5)[0] == "refused"


def test_few_groups_say_nothing_however_many_rows_they_have() -> None:
    """Two groups of a hundred rows each had an interval narrower than twenty groups of ten."""
    found = measured(groups=np.arange(N) % 9)
    assert found.document["alarms"] == ["9 groups of texts: an interval needs at least 10"]
    assert (found.document["auroc"]["low"], found.document["auroc"]["high"]) == (0.0, 1.0)
    assert judge([("wild", found.judged)], 0.5)[0] == "refused"
    assert measured(groups=np.arange(N) % 10).document["alarms"] == []


def test_leaked_rows_refuse_whatever_the_figures() -> None:
    found = measured(leaked=3)
    _, checks = judge([("wild", found.judged)], 0.5)
    assert [check.check for check in checks if not check.passed] == ["leakage"]


def test_two_rows_are_measured_and_nothing_is_claimed_of_them() -> None:
    """The least there is: one of each class. Nothing may divide by zero, nothing be accepted."""
    found = measured(
        scores=np.array([1.0, 0.0]),
        others={n: np.zeros(2) for n in NULLS},
        x=np.zeros((2, 1, 4)),
        positive=np.array([True, False]),
        groups=np.arange(2),
        kinds=["", ""],
        lengths=np.array([3, 3]),
    )
    json.dumps(found.document, allow_nan=False)
    assert judge([("wild", found.judged)], 0.5)[0] == "refused"


def test_scores_that_are_all_alike_are_measured() -> None:
    for value in (0.0, 1e12):
        found = measured(scores=np.full(N, value))
        assert found.document["auroc"]["value"] == 0.5
        assert sum(found.document["histogram"]["risky"]) == N // 2
        json.dumps(found.document, allow_nan=False)


def test_a_histogram_counts_every_row_with_outliers_at_its_ends() -> None:
    scores = np.concatenate([[1e6, -1e6], np.random.default_rng(0).standard_normal(N - 2)])
    shown = measured(scores=scores).document["histogram"]
    assert sum(shown["risky"]) + sum(shown["benign"]) == N
    assert len(shown["edges"]) == len(shown["risky"]) + 1


def test_slices_come_worst_first_with_what_fires_of_those_of_one_class() -> None:
    """Threshold: of 100 negatives the one that one of them exceeds, by hand."""
    positive = np.array([True] * 20 + [False] * 100)
    scores = np.concatenate([[200.0] * 15, [-1.0] * 5, np.arange(100.0)])
    kinds = ["scam"] * 20 + ["chat"] * 50 + ["advice"] * 46 + ["rare"] * 4
    found = slices(scores, positive, kinds)
    assert [(one["kind"], one["label"], one["n"], one["fires"]) for one in found] == [
        ("scam", 1, 20, 0.75),
        ("advice", 0, 46, 0.0),
        ("chat", 0, 50, 0.0),
    ]
    mixed = slices(scores, positive, ["all"] * 120)
    assert mixed[0]["auroc"] == pytest.approx(roc_auc_score(positive, scores), abs=1e-4)
