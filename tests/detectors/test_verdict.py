"""A hand-worked table: what is accepted, and each check that alone refuses it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dosimeter.detectors.evaluate import Interval
from dosimeter.detectors.verdict import ACCEPTED, EXPERIMENTAL, MARGIN, SATURATED, hopeless, judge


def figures(**changes: Any) -> dict[str, Any]:
    """Good ones, but for the changes; `margin_…` of one null."""
    margins = {null: Interval(0.2, 0.1, 0.3) for null in ("tfidf", "length", "embedding")}
    given: dict[str, Any] = {
        "auroc": Interval(0.93, 0.90, 0.96),
        "words": 0.7,
        "random_p95": 0.7,
        "shuffled_p95": 0.6,
        "wrong_way_round": False,
        "leaked": 0,
    }
    for name, value in changes.items():
        if name.startswith("margin_"):
            margins[name.removeprefix("margin_")] = value
        else:
            given[name] = value
    return {**given, "margins": margins}


def failed(*sets: dict[str, Any], agreement: float = 0.5, reads: str = "model") -> list[str]:
    """Names of the checks that did not pass; the outcome must agree with them."""
    named = [(f"set-{i}", found) for i, found in enumerate(sets)]
    outcome, checks = judge(named, agreement, reads)
    wrong = [check.check for check in checks if not check.passed]
    assert (outcome == "refused") == bool(wrong)
    return wrong


def test_good_figures_are_accepted_and_every_check_has_its_sentence() -> None:
    outcome, checks = judge([("cv", figures())], 0.5)
    assert outcome == "accepted"
    assert [check.check for check in checks] == [
        "separates",
        "beats-tfidf",
        "beats-length",
        "beats-embedding",
        "beats-random",
        "beats-shuffled",
        "agrees",
    ]
    assert all(check.passed and check.sentence for check in checks)
    json.dumps([check.as_json() for check in checks])


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"auroc": Interval(0.75, EXPERIMENTAL - 1e-9, 0.9)}, "separates"),
        ({"words": SATURATED}, "not-style"),
        ({"margin_tfidf": Interval(0.2, 0.0, 0.3)}, "beats-tfidf"),  # not surely above
        ({"margin_tfidf": Interval(MARGIN - 1e-9, 0.01, 0.03)}, "beats-tfidf"),  # of no use
        ({"margin_tfidf": Interval(-0.2, -0.3, -0.1)}, "beats-tfidf"),
        ({"margin_length": Interval(0.2, -0.01, 0.3)}, "beats-length"),
        ({"margin_embedding": Interval(0.0, 0.0, 0.0)}, "beats-embedding"),
        ({"margin_clean_twin": Interval(0.01, 0.005, 0.02)}, "beats-clean-twin"),
        ({"random_p95": 0.93}, "beats-random"),
        ({"shuffled_p95": 0.93}, "beats-shuffled"),
        ({"wrong_way_round": True}, "polarity"),
        ({"leaked": 1}, "leakage"),
    ],
)
def test_each_check_alone_decides(changes: dict[str, Any], check: str) -> None:
    assert failed(figures(**changes)) == [check]


@pytest.mark.parametrize("agreement", [0.0, -0.3, float("nan")])
def test_a_fit_that_does_not_follow_the_difference_of_means_is_refused(agreement: float) -> None:
    assert failed(figures(), agreement=agreement) == ["agrees"]


@pytest.mark.parametrize(
    "name", ["auroc", "margin_tfidf", "margin_length", "random_p95", "shuffled_p95"]
)
def test_a_figure_that_is_no_number_refuses(name: str) -> None:
    nan = float("nan")
    bad = nan if name.endswith("p95") else Interval(nan, nan, nan)
    assert failed(figures(**{name: bad}))


@pytest.mark.parametrize(
    ("low", "outcome"),
    [
        (ACCEPTED, "accepted"),
        (ACCEPTED - 1e-9, "experimental"),
        (EXPERIMENTAL, "experimental"),
        (EXPERIMENTAL - 1e-9, "refused"),
    ],
)
def test_the_lower_end_decides_between_accepted_and_a_trial(low: float, outcome: str) -> None:
    assert judge([("cv", figures(auroc=Interval(0.95, low, 0.99)))], 0.5)[0] == outcome


def test_of_several_sets_the_worst_counts() -> None:
    worse = figures(auroc=Interval(0.85, 0.7, 0.9))
    assert judge([("cv", figures()), ("a", worse), ("b", figures())], 0.5)[0] == "experimental"
    refused = figures(margin_length=Interval(0.0, -0.1, 0.1))
    assert failed(figures(), figures(), refused) == ["beats-length"]


def test_words_are_judged_on_held_out_sets_where_there_are_any() -> None:
    """Texts of one author share words; on another's, words must be beaten."""
    own = figures(margin_tfidf=Interval(-0.01, -0.05, 0.02))
    assert failed(own) == ["beats-tfidf"]
    assert failed(own, figures()) == []
    assert failed(figures(), own) == ["beats-tfidf"]
    embedding = figures(margin_embedding=Interval(-0.01, -0.05, 0.02))
    assert failed(embedding, figures()) == []  # it sees which words stand there, and nothing else
    assert failed(figures(), embedding) == ["beats-embedding"]
    length = figures(margin_length=Interval(-0.01, -0.05, 0.02))
    assert failed(length, figures()) == ["beats-length"]  # not let off


def hopeful(*sets: dict[str, Any], reads: str = "model") -> bool:
    return hopeless([(f"set {i}", one) for i, one in enumerate(sets)], reads) is None


def test_a_part_of_the_rows_refuses_only_what_lies_below_at_its_upper_end() -> None:
    assert hopeful(figures())
    assert hopeful(figures(margin_tfidf=Interval(-0.01, -0.05, MARGIN)))
    assert not hopeful(figures(margin_tfidf=Interval(-0.05, -0.09, MARGIN - 1e-9)))
    assert not hopeful(figures(margin_embedding=Interval(-0.05, -0.09, MARGIN - 1e-9)))
    assert not hopeful(figures(auroc=Interval(0.5, 0.4, 0.64)))


def test_a_part_is_held_to_the_same_nulls_as_the_whole() -> None:
    below = figures(margin_tfidf=Interval(-0.05, -0.09, -0.03))
    assert hopeful(below, figures())  # of one author
    assert not hopeful(figures(), below)
    near = figures(margin_tfidf=Interval(-0.05, -0.09, -MARGIN))
    assert hopeful(near, reads="reader")
    assert not hopeful(near)


def test_a_reader_may_be_no_better_than_words_and_hardly_worse() -> None:
    for value, wrong in ((0.1, []), (-MARGIN, []), (-MARGIN - 1e-9, ["near-words"])):
        near = figures(margin_tfidf=Interval(value, -0.5, 0.5))
        assert failed(near, reads="reader") == wrong
    assert failed(figures(margin_embedding=Interval(0.0, -0.1, 0.1)), reads="reader") == [
        "beats-embedding"
    ]
    assert failed(figures(words=0.99), reads="reader") == ["not-style"]


def test_a_sentence_names_its_set_and_its_numbers() -> None:
    _, checks = judge([("suite", figures(margin_tfidf=Interval(0.012, -0.01, 0.03)))], 0.5)
    (check,) = (check for check in checks if not check.passed)
    assert check.sentence == (
        "suite: not clearly above TF-IDF on the same text by 0.012 [-0.010, 0.030]"
    )
    assert (check.value, check.bound) == (-0.01, 0.0)


def test_nothing_measured_is_nothing_accepted() -> None:
    with pytest.raises(ValueError, match="no set"):
        judge([], 0.9)
