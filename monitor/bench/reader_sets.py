"""The reader's scam probe on sets it was not made from: public ones in a folder, and our own suite.

Thresholds are set on a benign chat set at 1 % and then left alone; a set's own negatives give the TPR at 1 %. The
number that speaks for a text is the one of `evaluate`. Sets are found by their names: `scam_<set>`, of which
`email` and `call` or `youtube` name a kind, and `benign_<set>`, of which `chat` and `email`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.evaluate import auroc, tpr_at_fpr
from dosimeter.detectors.examples import BENIGN, Example, sets_of
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import Pack, load_pack
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.bench.figures import Figure
from dosimeter.monitor.fitting.lesson import SUITE, benign_texts, held_out_texts
from dosimeter.monitor.fitting.subject import statistic
from dosimeter.monitor.progress import Progress
from dosimeter.monitor.sources.reader import Reader, reader_folder
from dosimeter.monitor.sources.reading import PACK

Doubles = npt.NDArray[np.float64]
FEATURE, RATE = "scam", 0.01
SHORT = 64
"""Tokens averaged where a scam may be a few sentences of a long text."""
MOST_ROWS = 2000


def figures(data: Path | None) -> list[Figure]:
    reader, pack = Reader(reader_folder()), load_pack(PACK)
    sets = sets_of(data, FEATURE, load_features()) if data is not None else {}
    public = {
        name: _some(rows)
        for name, rows in sets.items()
        if not name.startswith(f"{BENIGN}_") and {row.label for row in rows} == {True, False}
    }
    benign = {
        name.removeprefix(f"{BENIGN}_"): _some(rows)
        for name, rows in sets.items()
        if name.startswith(f"{BENIGN}_")
    }
    suite = held_out_texts(load_features()[FEATURE])[SUITE]
    score = _Scorer(reader, pack)
    return [*_public(score, public), *_thresholds(score, public, benign, suite)]


class _Scorer:
    """Scores of texts: by the window of `evaluate`, and by a short one."""

    def __init__(self, reader: Reader, pack: Pack) -> None:
        self._reader, self._pack = reader, pack
        self._column = pack.features.index(FEATURE)

    def __call__(self, rows: Sequence[Example], what: str) -> tuple[Doubles, Doubles]:
        tokens = [self._reader.tokens(row, Scope.ANSWER) for row in rows]
        found = np.zeros((2, len(rows)))
        tell = Progress(f"bench detectors: {what}")
        for index, scores in self._reader.scores(tokens, [self._pack], tell):
            for which, window in enumerate((self._reader.window, SHORT)):
                found[which, index] = statistic(scores, tokens[index].read, window)[self._column]
        return found[0], found[1]


def _public(score: _Scorer, public: Mapping[str, Sequence[Example]]) -> list[Figure]:
    aurocs, tprs = [], []
    found = []
    for name, rows in public.items():
        values, _ = score(rows, name)
        positive = np.array([bool(row.label) for row in rows])
        aurocs.append(auroc(values, positive))
        tprs.append(tpr_at_fpr(values, positive, RATE))
        found += [
            Figure(f"reader, {name}: AUROC", aurocs[-1], "", None),
            Figure(f"reader, {name}: TPR at 1 % FPR", tprs[-1], "", None),
        ]
    mean = float(np.mean(aurocs)) if aurocs else None
    return [
        *found,
        Figure("reader, public scam sets: how many", len(aurocs), "sets", None),
        Figure("reader, public scam sets: mean AUROC", mean, "", ">= 0.89"),
        Figure("reader, public scam sets: least AUROC", min(aurocs, default=None), "", ">= 0.76"),
        Figure(
            "reader, public scam sets: mean TPR at 1 % FPR",
            float(np.mean(tprs)) if tprs else None, "", ">= 0.54",
        ),
    ]  # fmt: skip


def _thresholds(
    score: _Scorer,
    public: Mapping[str, Sequence[Example]],
    benign: Mapping[str, Sequence[Example]],
    suite: Sequence[Example],
) -> list[Figure]:
    chats = sorted(name for name in benign if "chat" in name)
    if chats:
        set_on, source = score(benign[chats[0]], chats[0]), f"benign_{chats[0]}"
    else:
        ours = [row for row in benign_texts() if row.kind == "chat"]
        set_on, source = score(ours, "our chat"), "our own chat"
    limits = [_limit(values) for values in set_on]
    print(f"bench detectors: thresholds set at 1 % of {source}", file=sys.stderr)

    def above(rows: Sequence[Example] | None, what: str, which: int = 0) -> float | None:
        return float((score(rows, what)[which] > limits[which]).mean()) if rows else None

    def of_suite(*kinds: str) -> list[Example]:
        return [row for row in suite if row.kind in kinds]

    mail = [row for name, rows in benign.items() if _mail(name) for row in rows]
    mail += [row for name, rows in public.items() if _mail(name) for row in rows if not row.label]
    calls = [
        row for name, rows in public.items() if "youtube" in name or "real" in name for row in rows if row.label
    ]  # fmt: skip
    others = [row for name in chats[1:] for row in benign[name]]
    ours = [row for row in benign_texts() if row.kind == "email"]
    suite_rows = [row for row in suite if row.kind != "buried_clean"]
    labels = np.array([bool(row.label) for row in suite_rows])
    suite_scores, _ = score(suite_rows, "suite")
    return [
        Figure("reader, unseen chat: above", above(others, "unseen chat"), "share", "<= 0.0014"),
        Figure("reader, ordinary e-mail: above", above(mail, "e-mail"), "share", "<= 0.05"),
        Figure("reader, our ordinary e-mail: above", above(ours, "our e-mail"), "share", "<= 0.05"),
        Figure(
            "reader, hard negatives of the suite: above",
            above(of_suite("advice", "transactional"), "hard negatives"), "share", "<= 0.1",
        ),
        Figure(
            f"reader, buried scams of the suite, {SHORT} tokens: above",
            above(of_suite("buried"), "buried", 1), "share", ">= 0.58",
        ),
        Figure(
            f"reader, the same texts without the scam, {SHORT} tokens: above",
            above(of_suite("buried_clean"), "buried, clean", 1), "share", None,
        ),
        Figure("reader, real scam calls: above", above(calls, "real calls"), "share", ">= 0.4"),
        Figure(
            "reader, scam calls of the suite: above",
            above(of_suite("scam_call"), "calls"), "share", None,
        ),
        Figure("reader, suite: AUROC", auroc(suite_scores, labels), "", None),
        Figure("reader, suite: TPR at 1 % FPR", tpr_at_fpr(suite_scores, labels, RATE), "", None),
    ]  # fmt: skip


def _some(rows: Sequence[Example]) -> list[Example]:
    """By lot, and of each class its share."""
    return random.Random(0).sample(list(rows), min(MOST_ROWS, len(rows)))


def _limit(values: Doubles) -> float:
    ordered = np.sort(values)
    return float(ordered[len(ordered) - 1 - int(RATE * len(ordered))])


def _mail(name: str) -> bool:
    return "email" in name or "mail" in name or "ham" in name
