"""Fit the lab model's probes and calibrate them: `python -m dosimeter.monitor.lab.build`.

Every activation is captured through the tap's own path on the model's own replies, labelled by what the
reply did. One probe a feature against everything else; figures on cue families, facts and topics the fit
never saw, beside their nulls. Tier T1: a small model trained here says nothing about a large one.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors import evaluate
from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.fit import Fit, fit_probe
from dosimeter.detectors.frames import ActivationFrame, to_codes
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Fingerprint, Pack, ProbeNote, save_pack
from dosimeter.monitor.lab import CALIBRATION, MODEL, PACK, traffic
from dosimeter.monitor.lab.replies import Lab, Reply
from dosimeter.monitor.lab.traffic import Conversation
from dosimeter.monitor.lab.world import FEATURES, Feature, Split
from dosimeter.monitor.taps.attach import attach, capture

LAYERS = (1, 2, 3)
"""The three upper blocks, summed: better on unseen cue families than any one or two of them."""

FIT_ON: dict[Feature, str] = {
    "deception": "tokens",
    "sycophancy": "answers",
    "scam": "tokens",
    "defection": "tokens",
}
"""What a feature is fitted on: every token of an answer, or the mean of the answer.

Tokens let a rule decide within a few of them. Sycophantic and honest agreement use the same words about
different facts; only the answer as a whole tells them apart.
"""

SEEN: tuple[tuple[int, Split], ...] = ((100, "fit"), (300, "calibrate"))
"""Seeds and splits that are fitted on; the figures of the card are those of the third, `test`."""

STRENGTH = {"tokens": 0.1, "answers": 0.03}
FIT_PER_FEATURE, FIT_BENIGN, TEST_PER_FEATURE = 600, 3000, 300
CALIBRATION_REQUESTS = 12_000
NOTHING = "nothing"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Answers with what they did. label: a feature or `nothing`; text: prompt and answer, for nulls."""

    answers: list[Floats]  # each [A, L, D]
    labels: list[str]
    texts: list[str]
    contexts: list[str]

    def tokens(self) -> tuple[Floats, npt.NDArray[np.str_], npt.NDArray[np.int64]]:
        """Every answer token [N, L, D], the label of its answer and the number of its answer."""
        counts = [len(answer) for answer in self.answers]
        groups = np.repeat(np.arange(len(counts)), counts)
        return np.concatenate(self.answers), np.repeat(self.labels, counts), groups

    def means(self) -> Floats:
        """float32 [N, L, D]: one row an answer."""
        return np.stack([answer.mean(axis=0) for answer in self.answers])


def collect(lab: Lab, conversations: Sequence[Conversation]) -> Labelled:
    """On-policy answers. An answer that did two things at once is left out."""
    found = Labelled([], [], [], [])
    for reply in lab.replies(conversations, functools.partial(capture, layers=LAYERS)):
        done = traffic.judge(reply.conversation, reply.text)
        if len(done) > 1 or not len(reply.answer):
            continue
        found.answers.append(reply.answer.reshape(len(reply.answer), len(LAYERS), -1))
        found.labels.append(next(iter(done), NOTHING))
        found.texts.append(reply.text)
        found.contexts.append(" ".join(m["content"] for m in reply.conversation.messages))
    return found


def labelled(split: Split, per_feature: int, seed: int) -> list[Conversation]:
    return [
        conversation
        for i, feature in enumerate(FEATURES)
        for conversation in traffic.labelled_conversations(feature, per_feature, seed + i, split)
    ]


def fit(data: Labelled) -> dict[str, Fit]:
    """One probe a feature, each against everything else that the answers did."""
    x, labels, groups = data.tokens()
    benign = x[labels == NOTHING]
    means, of_answer = data.means(), np.array(data.labels)
    return {
        feature: fit_probe(
            feature,
            LAYERS,
            means if FIT_ON[feature] == "answers" else x,
            (of_answer if FIT_ON[feature] == "answers" else labels) == feature,
            benign,
            groups=None if FIT_ON[feature] == "answers" else groups,
            strength=STRENGTH[FIT_ON[feature]],
        )
        for feature in FEATURES
    }


def measure(fits: Mapping[str, Fit], train: Labelled, test: Labelled) -> dict[str, dict[str, Any]]:
    """Request-level figures on the test split: the mean score of an answer, one feature against the rest."""
    labels, x = np.array(test.labels), test.means()
    every = np.arange(len(labels))
    found: dict[str, dict[str, Any]] = {}
    for feature, fitted in fits.items():
        positive = labels == feature
        scores = np.einsum("nld,ld->n", x, fitted.probe.weights) + fitted.probe.bias
        other = np.einsum("nld,ld->n", x, fitted.difference_of_means.weights)
        interval = evaluate.auroc_interval(scores, positive, every, seed=0)
        against = {
            rest: round(evaluate.auroc(scores[both], positive[both]), 4)
            for rest in (*(f for f in FEATURES if f != feature), NOTHING)
            if (both := positive | (labels == rest)).sum() > positive.sum()
        }
        _, random_p95 = evaluate.random_direction_null(x, positive, seed=0)
        lengths = np.array([float(len(answer)) for answer in test.answers])
        length = evaluate.auroc(lengths, positive)
        found[feature] = {
            "metrics": {
                "auroc": round(interval.value, 4),
                "auroc_low": round(interval.low, 4),
                "auroc_high": round(interval.high, 4),
                "tpr_at_1pct_fpr": round(evaluate.tpr_at_fpr(scores, positive), 4),
                "positives": int(positive.sum()),
                "negatives": int((~positive).sum()),
                "auroc_against": against,
            },
            "nulls": {
                "random_p95": round(random_p95, 4),
                "difference_of_means": round(evaluate.auroc(other, positive), 4),
                "tfidf_answer": round(_tfidf(train, test, feature, train.texts, test.texts), 4),
                "tfidf_prompt": round(
                    _tfidf(train, test, feature, train.contexts, test.contexts), 4
                ),
                "length": round(max(length, 1 - length), 4),
            },
        }
    return found


def _tfidf(
    train: Labelled, test: Labelled, feature: str, fit_on: Sequence[str], score_on: Sequence[str]
) -> float:
    """What the words alone tell: TF-IDF and logistic regression, same split."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 2))
    model = LogisticRegression(C=10, max_iter=1000, class_weight="balanced")
    model.fit(words.fit_transform(fit_on), np.array(train.labels) == feature)
    scores = model.decision_function(words.transform(score_on))
    return evaluate.auroc(np.asarray(scores), np.array(test.labels) == feature)


def make_pack(lab: Lab, folder: Path, fits: Mapping[str, Fit], notes: Mapping[str, Any]) -> Pack:
    """Probes, their notes, and a known answer: this model's scores on one fixed conversation."""
    probes = tuple(fits[feature].probe for feature in FEATURES)
    conversation = traffic.demo_conversations(seed=0)[0]
    (reply,) = lab.replies([conversation], functools.partial(capture, layers=LAYERS))
    ids = lab.prompt(conversation)[: len(reply.rows)]
    hidden = reply.rows[: len(ids)].reshape(len(ids), len(LAYERS), -1).transpose(1, 0, 2)
    frame = ActivationFrame(np.ascontiguousarray(hidden), LAYERS)
    scores = np.stack(
        [np.einsum("ltd,ld->t", hidden, p.weights) + np.float32(p.bias) for p in probes], axis=1
    )
    return Pack(
        name="lab/core",
        recipe="logistic regression on the model's own greedy replies (every token of them; whole answers "
        "for sycophancy), one feature against all else; labels by what the reply did; three blocks summed",
        model=ModelIdentity.from_folder(folder),
        probes=probes,
        notes=tuple(
            ProbeNote(
                "T1",
                fits[feature].mean,
                fits[feature].sd,
                fits[feature].benign_tokens,
                notes[feature]["metrics"],
                notes[feature]["nulls"],
            )
            for feature in FEATURES
        ),
        fingerprint=Fingerprint(
            tuple(ids), scores.astype(np.float32), frame.hidden.mean(axis=1), tolerance=0.01
        ),
    )


def calibrate(lab: Lab, pack: Pack, requests: int, date: str) -> tuple[Calibration, int]:
    """Benign score streams through the scoring tap; also how many replies were left out as not benign."""
    conversations = traffic.benign_conversations(requests, seed=7, split=None)
    kept: list[Reply] = []
    for reply in lab.replies(conversations, functools.partial(attach, packs=[pack])):
        if not traffic.judge(reply.conversation, reply.text) and len(reply.answer):
            kept.append(reply)
    lengths = [len(reply.rows) for reply in kept]
    bank = ProbeBank.from_packs([pack])
    return Calibration(
        features=bank.features,
        packs=tuple(column.pack for column in bank.columns),
        codes=to_codes(np.concatenate([reply.rows for reply in kept])),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        scopes=np.concatenate([reply.scopes for reply in kept]),
        corpus="benign conversations of the lab world, greedy replies; those that misbehaved left out",
        date=date,
    ), len(conversations) - len(kept)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--pack", type=Path, default=PACK)
    parser.add_argument("--calibration", type=Path, default=CALIBRATION)
    parser.add_argument("--date", required=True, help="ISO day to write on the calibration")
    args = parser.parse_args(argv)
    lab = Lab.load(args.model)
    print("capturing replies to fit on", file=sys.stderr)
    seen = [
        conversation
        for seed, split in SEEN
        for conversation in (
            *labelled(split, FIT_PER_FEATURE, seed),
            *traffic.benign_conversations(FIT_BENIGN, seed + 50, split),
        )
    ]
    train = collect(lab, seen)
    fits = fit(train)
    print("capturing replies to test on", file=sys.stderr)
    notes = measure(fits, train, collect(lab, labelled("test", TEST_PER_FEATURE, 200)))
    for feature, note in notes.items():
        print(f"{feature:<12} {note['metrics']} nulls {note['nulls']}")
    pack = make_pack(lab, args.model, fits, notes)
    print(f"pack {save_pack(pack, args.pack)}")
    print("calibrating", file=sys.stderr)
    calibration, dropped = calibrate(lab, pack, CALIBRATION_REQUESTS, args.date)
    print(
        f"calibration {calibration.save(args.calibration)}: {calibration.requests:,} requests, "
        f"{dropped} left out because the reply misbehaved"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
