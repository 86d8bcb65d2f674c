"""A pack measured on a folder of sets, scored token by token as in a server.

The pack is not fitted here; words, its null, are learned from our own texts of the feature, or left out where we
have none. Two packs of one model are compared on the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors import nulls
from dosimeter.detectors.evaluate import auroc, paired_difference
from dosimeter.detectors.examples import BENIGN, FIT, Example, leaks, sets_of
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import Pack, bind
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.fitting.build import Tell
from dosimeter.monitor.fitting.captures import capture_all
from dosimeter.monitor.fitting.lesson import lesson_of, once, unmeasured
from dosimeter.monitor.fitting.measure import measure
from dosimeter.monitor.fitting.robust import variants
from dosimeter.monitor.fitting.subject import Subject, statistic

Doubles = npt.NDArray[np.float64]


def evaluate(
    subject: Subject,
    packs: Sequence[Pack],
    folder: Path,
    work: Path,
    tell: Tell,
    *,
    robust: bool = False,
) -> dict[str, Any]:
    """The first pack on every set of its features; a second one as the version to compare it with.

    Raises InputError where a pack is bound to another model or the folder has no set of its features.
    """
    for pack in packs:
        if wrong := bind(pack, subject.identity):
            raise InputError.at(
                f"pack {pack.name}", "; ".join(wrong), "evaluate it on its own model"
            )
    features = load_features()
    found: dict[str, list[dict[str, Any]]] = {}
    benign: dict[str, dict[str, float]] = {}
    warnings: list[str] = []
    for name in packs[0].features:
        scope = features[name].read.scope if name in features else Scope.ANSWER
        if not any(folder.glob(f"{name}_*.jsonl")):
            continue
        sets = sets_of(folder, name, features)
        sets.pop(FIT, None)  # what a pack was fitted on says nothing about it
        known = _known(name)
        for title, rows in sets.items():
            labels = {row.label for row in rows}
            if title.startswith(f"{BENIGN}_"):
                scored = texts_scored(subject, packs[:1], rows, scope, tell(title))
                column = packs[0].features.index(name)
                benign.setdefault(title, {})[name] = round(float(scored[0][:, column].mean()), 4)
            elif labels == {True, False}:
                rows = once(rows)
                entry = _set(subject, packs, name, title, rows, scope, known, work, tell)
                if robust:
                    entry["robustness"] = _robust(subject, packs[0], name, rows, scope, tell)
                found.setdefault(name, []).append(entry)
            else:
                warnings.append(str(unmeasured(title, rows)))
    if not found:
        names = ", ".join(packs[0].features)
        raise InputError.at(
            folder,
            f"has no set with both classes of {names}",
            f"`<feature>_<set>.jsonl`; sets called `{FIT}` are passed over",
        )
    return {
        "pack": packs[0].digest, "reads": subject.reads, "features": found, "benign": benign,
        "warnings": warnings,
    }  # fmt: skip


def texts_scored(
    subject: Subject, packs: Sequence[Pack], rows: Sequence[Example], scope: Scope, tell: Any
) -> list[Doubles]:
    """[N, F] a pack: one number a text, as `statistic` takes it from the scores of its tokens. Raises InputError."""
    tokens = [subject.tokens(row, scope) for row in rows]
    found = []
    for pack in packs:
        values = np.zeros((len(rows), len(pack.features)))
        for index, scores in subject.scores(tokens, [pack], tell):
            values[index] = statistic(scores, tokens[index].read, subject.window)
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise InputError.at(
                rows[at].place, f"pack `{pack.name}` has no score for this text",
                "the model leaves NaN or infinity here; load it in a wider type",
            )  # fmt: skip
        found.append(values)
    return found


def _set(
    subject: Subject,
    packs: Sequence[Pack],
    name: str,
    title: str,
    rows: Sequence[Example],
    scope: Scope,
    known: Sequence[Example],
    work: Path,
    tell: Tell,
) -> dict[str, Any]:
    positive = np.array([bool(row.label) for row in rows])
    groups = np.array([row.group for row in rows])
    scored = texts_scored(subject, packs, rows, scope, tell(title))
    scores = [
        values[:, pack.features.index(name)]
        for values, pack in zip(scored, packs, strict=True)
        if name in pack.features
    ]
    tokens = [subject.tokens(row, scope) for row in rows]
    layers = packs[0].probes[packs[0].features.index(name)].layers
    captured = capture_all(subject, tokens, layers, work, tell(f"{title}, random directions"))
    rivals = {}
    if known:
        labels = np.array([bool(row.label) for row in known])
        told, words = (
            [row.read if subject.reads == "model" else row.words for row in some]
            for some in (known, rows)
        )
        rivals["tfidf"] = nulls.words(told, labels, words)
    measured = measure(
        title, scores[0], rivals, captured.means, positive, groups,
        [row.kind for row in rows], captured.lengths, len(leaks(known, rows)),
    ).document  # fmt: skip
    if len(scores) > 1:
        difference = paired_difference(scores[0], scores[1], positive, groups, seed=0)
        measured["difference"] = {
            key: round(getattr(difference, key), 4) for key in ("value", "low", "high")
        }
    return measured


def _robust(
    subject: Subject, pack: Pack, name: str, rows: Sequence[Example], scope: Scope, tell: Tell
) -> list[dict[str, Any]]:
    """AUROC of every variant of the rows, worst first."""
    positive = np.array([bool(row.label) for row in rows])
    column = pack.features.index(name)
    found = []
    for cell, changed in variants(rows).items():
        (values,) = texts_scored(subject, [pack], changed, scope, tell(cell))
        found.append({"cell": cell, "auroc": round(auroc(values[:, column], positive), 4)})
    return sorted(found, key=lambda one: one["auroc"])


def _known(name: str) -> list[Example]:
    """What words alone are learned from: our own texts, as a build has them; nothing where we have none."""
    features = load_features()
    if name not in features or not features[name].data.files:
        return []
    lesson = lesson_of(features[name], features, None)
    return [*lesson.own, *lesson.others]
