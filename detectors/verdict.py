"""What the evidence allows: accepted, experimental or refused, each with its reasons in numbers.

A probe is accepted for what it reads beyond what would have done as well without the model. It takes figures
and gives sentences; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dosimeter.detectors.evaluate import Interval

Outcome = Literal["accepted", "experimental", "refused"]

ACCEPTED, EXPERIMENTAL = 0.80, 0.65
"""Least lower bound of the AUROC for each."""
MARGIN = 0.02
"""Least AUROC above words and embeddings, whatever its interval: less is of no use to anybody.

A reader reads words and nothing else, so it is held to be no further below a word count than this.
"""
SATURATED = 0.98
"""Where words alone reach it, texts of the two classes differ in style, and nothing is shown by telling them."""

HELD_AGAINST = ("tfidf", "length", "embedding", "clean_twin")
"""Nulls that are scores a row: the margin over each has an interval of its own."""

OF_WORDS = ("tfidf", "embedding")
"""Nulls that see which words stand there, and nothing else."""

NAMES = {
    "tfidf": "TF-IDF on the same text",
    "length": "length",
    "embedding": "the embedding layer",
    "clean_twin": "the clean twin",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One reason. value and bound as compared; sentence: for people, with the interval."""

    check: str
    passed: bool
    value: float
    bound: float
    sentence: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(
    sets: Sequence[tuple[str, Mapping[str, Any]]], agreement: float, reads: str = "model"
) -> tuple[Outcome, list[Check]]:
    """Over every set, the worst counting. sets: (name, {auroc, margins: {null: Interval}, random_p95, …}).

    The first is cross-validation. Texts of one author share words, so where there are held-out sets the
    nulls of words are judged on them alone. reads: `model`, or `reader` for one that sees text only.
    """
    if not sets:
        raise ValueError("no set was measured: there is nothing to judge")
    checks: list[Check] = []
    lowest = 1.0
    for number, (name, found) in enumerate(sets):
        auroc: Interval = found["auroc"]
        lowest = min(lowest, auroc.low)
        checks.append(
            Check(
                "separates", auroc.low >= EXPERIMENTAL, auroc.low, EXPERIMENTAL,
                f"{name}: AUROC {_shown(auroc)}; {ACCEPTED:.2f} is needed at the lower end, "
                f"{EXPERIMENTAL:.2f} for a trial",
            )
        )  # fmt: skip
        judged_on_words = number > 0 or len(sets) == 1
        if judged_on_words and (words := found["words"]) >= SATURATED:
            checks.append(
                Check(
                    "not-style", False, words, SATURATED,
                    f"{name}: words alone tell the classes apart ({words:.3f}), so nothing is shown: "
                    "write pairs that differ in the feature only",
                )
            )  # fmt: skip
        for null, margin in found["margins"].items():
            if null in OF_WORDS and not judged_on_words:
                continue
            if null == "tfidf" and reads == "reader":
                near = margin.value >= -MARGIN
                checks.append(
                    Check(
                        "near-words", near, margin.value, -MARGIN,
                        f"{name}: {'no worse than' if near else 'below'} {NAMES[null]} "
                        f"by {_shown(margin)}, as measured; a reader sees words and nothing else",
                    )
                )  # fmt: skip
                continue
            better = margin.low > 0 and margin.value >= MARGIN
            checks.append(
                Check(
                    f"beats-{null.replace('_', '-')}", better, margin.low, 0.0,
                    f"{name}: {'above' if better else 'not clearly above'} {NAMES[null]} "
                    f"by {_shown(margin)}",
                )
            )  # fmt: skip
        for null, what in (
            ("random_p95", "19 of 20 random directions"),
            ("shuffled_p95", "19 of 20 dealings of the labels"),
        ):
            bound = found[null]
            better = auroc.value > bound
            checks.append(
                Check(
                    f"beats-{null.removesuffix('_p95')}", better, auroc.value, bound,
                    f"{name}: {'above' if better else 'not above'} {what} "
                    f"({auroc.value:.3f} against {bound:.3f})",
                )
            )  # fmt: skip
        if found["wrong_way_round"]:
            checks.append(
                Check(
                    "polarity", False, auroc.value, 0.35,
                    f"{name}: every method scores the positives lower: the labels are turned round",
                )
            )  # fmt: skip
        if found["leaked"]:
            checks.append(
                Check(
                    "leakage", False, float(found["leaked"]), 0.0,
                    f"{name}: {found['leaked']} of its rows also stand in the data it was fitted on",
                )
            )  # fmt: skip
    checks.append(
        Check(
            "agrees", agreement > 0, agreement, 0.0,
            f"cosine {agreement:.2f} between the regression and the difference of means",
        )
    )  # fmt: skip
    if not all(check.passed for check in checks):
        return "refused", checks
    return ("accepted" if lowest >= ACCEPTED else "experimental"), checks


def hopeless(sets: Sequence[tuple[str, Mapping[str, Any]]], reads: str = "model") -> str | None:
    """Why a part of the rows is enough to refuse, by the same checks at the other end; None where it is not.

    The intervals are of these rows. That a fit on all of them learns more is not in them, so the nulls, which
    learn more by them too, are held against the upper end.
    """
    for number, (name, found) in enumerate(sets):
        auroc: Interval = found["auroc"]
        if auroc.high < EXPERIMENTAL:
            return f"{name}: AUROC {_shown(auroc)} lies below {EXPERIMENTAL:.2f}"
        if number == 0 and len(sets) > 1:
            continue
        for null in OF_WORDS:
            least = -MARGIN if null == "tfidf" and reads == "reader" else MARGIN
            margin = found["margins"].get(null)
            if margin is not None and margin.high < least:
                return f"{name}: the margin over {NAMES[null]}, {_shown(margin)}, lies below {least:.2f}"
    return None


def _shown(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
