"""From a loaded model and lessons to a pack with a verdict, or to a refusal: `dosimeter detectors build`.

Capture, choose, cross-validate, judge, fit, in that order; what does not pass is left out of the pack. The
figures are those of probes that never saw the rows; the pack's own probe is fitted on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.detectors.examples import Example
from dosimeter.detectors.fingerprint import Fingerprint
from dosimeter.detectors.fit import Doubles, Fit
from dosimeter.detectors.frames import ActivationFrame
from dosimeter.detectors.pack import Pack, ProbeNote
from dosimeter.detectors.recipe import (
    Rows,
    Scored,
    choose,
    cross_validated,
    fit_recipe,
    score_rows,
)
from dosimeter.detectors.verdict import judge
from dosimeter.monitor.fitting.captures import Captured, capture_all
from dosimeter.monitor.fitting.lesson import OTHERS_WEIGHT, Lesson
from dosimeter.monitor.fitting.measure import measure
from dosimeter.monitor.fitting.subject import Subject, Tokens, statistic

VERSION = 1
FEWEST, MOST = 12, 16
"""Models of up to FEWEST blocks are swept whole; larger ones at MOST places from 30 to 90 % of their depth."""

FINGERPRINT_TOKENS = 48
CROSS = "cross-validated"

Tell = Callable[[str], Callable[[int, int], None]]
"""What is being done -> its progress."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """One feature: its evidence, and its fit unless it was refused."""

    lesson: Lesson
    evidence: dict[str, Any]
    fit: Fit | None


def candidate_layers(blocks: int) -> tuple[int, ...]:
    if blocks <= FEWEST:
        return tuple(range(blocks))
    places = np.linspace(0.3 * blocks, 0.9 * blocks - 1, MOST).round().astype(int)
    return tuple(sorted({int(n) for n in places}))


def learn(
    subject: Subject,
    lessons: Sequence[Lesson],
    work: Path,
    tell: Tell,
    *,
    twin: Subject | None = None,
    seed: int = 0,
) -> list[Learned]:
    """Capture every row once, then judge each feature. Raises InputError, FitError."""
    layers = candidate_layers(subject.blocks)
    library = _Library(subject, lessons, layers, work, tell("reading the texts"))
    of_twin = (
        _Library(twin, lessons, layers, work, tell("reading them with the twin")) if twin else None
    )
    return [_learn(subject, lesson, library, of_twin, tell, seed) for lesson in lessons]


class _Library:
    """Every row of every lesson, captured once."""

    def __init__(
        self,
        subject: Subject,
        lessons: Sequence[Lesson],
        layers: tuple[int, ...],
        work: Path,
        tell: Callable[[int, int], None],
    ) -> None:
        self._index: dict[Hashable, int] = {}
        self.tokens: list[Tokens] = []
        for lesson in lessons:
            held = [row for rows in lesson.held_out.values() for row in rows]
            for row in (*lesson.own, *lesson.others, *held):
                key = _key(row, lesson)
                if key not in self._index:
                    self._index[key] = len(self.tokens)
                    self.tokens.append(subject.tokens(row, lesson.feature.read.scope))
        self.captured: Captured = capture_all(subject, self.tokens, layers, work, tell)

    def rows(self, lesson: Lesson, examples: Sequence[Example], weights: Sequence[float]) -> Rows:
        read = lesson.feature.read
        at = np.array([self._index[_key(row, lesson)] for row in examples])
        found = self.captured
        first, end = np.searchsorted(found.of, at), np.searchsorted(found.of, at, side="right")
        sampled = np.concatenate([np.arange(a, b) for a, b in zip(first, end, strict=True)])
        return Rows(
            found.layers,
            (found.last if read.pool == "last" else found.means)[at],
            found.sampled[sampled],
            np.repeat(np.arange(len(at)), end - first),
            found.embedded[at],
            tuple(row.words for row in examples),
            np.array([bool(row.label) for row in examples]),
            np.array([row.group for row in examples]),
            np.array(weights, dtype=np.float64),
        )

    def of(self, lesson: Lesson, examples: Sequence[Example]) -> list[Tokens]:
        return [self.tokens[self._index[_key(row, lesson)]] for row in examples]

    def lengths(self, lesson: Lesson, examples: Sequence[Example]) -> np.ndarray[Any, Any]:
        return self.captured.lengths[[self._index[_key(row, lesson)] for row in examples]]

    def cut(self, lesson: Lesson) -> int:
        return sum(one.cut for one in self.of(lesson, lesson.own))


def _key(row: Example, lesson: Lesson) -> Hashable:
    """What a model reads of a row: the very characters, who said them, and which are looked at."""
    said = tuple((message["role"], message["content"]) for message in row.messages)
    return row.text, said, lesson.feature.read.scope


def _learn(
    subject: Subject,
    lesson: Lesson,
    library: _Library,
    of_twin: _Library | None,
    tell: Tell,
    seed: int,
) -> Learned:
    name, pool = lesson.feature.name, lesson.feature.read.pool
    progress = tell(f"fitting {name}")
    own = len(lesson.own)
    every = (*lesson.own, *lesson.others)
    weights = [1.0] * own + [OTHERS_WEIGHT] * len(lesson.others)
    rows = library.rows(lesson, every, weights)
    of_own = np.arange(len(every)) < own

    def entry(title: str, found: Scored, part: Rows, examples: Sequence[Example]) -> Any:
        return measure(
            title, found.probe, found.nulls, part.pooled[:, part.at(recipe.layers)],
            part.positive, part.groups, [row.kind for row in examples],
            library.lengths(lesson, examples), lesson.leaked.get(title, 0), seed,
        )  # fmt: skip

    recipe = choose(rows, subject.blocks, pool, seed)
    progress(1, 3 + len(lesson.held_out))
    crossed, _ = cross_validated(name, rows, subject.blocks, pool, seed)
    if of_twin is not None:
        crossed.nulls["clean_twin"] = cross_validated(
            name, of_twin.rows(lesson, every, weights), subject.blocks, pool, seed
        )[0].probe
    progress(2, 3 + len(lesson.held_out))
    mine = Scored(crossed.probe[of_own], {n: s[of_own] for n, s in crossed.nulls.items()})
    measured = [entry(CROSS, mine, rows.take(of_own), lesson.own)]
    fit = fit_recipe(name, rows, recipe)
    for number, (title, examples) in enumerate(lesson.held_out.items(), start=3):
        part = library.rows(lesson, examples, [1.0] * len(examples))
        found = score_rows(name, rows, part, recipe)
        if of_twin is not None:
            found.nulls["clean_twin"] = score_rows(
                name, of_twin.rows(lesson, every, weights),
                of_twin.rows(lesson, examples, [1.0] * len(examples)), recipe,
            ).probe  # fmt: skip
        tokens = library.of(lesson, examples)
        measured.append(
            entry(title, Scored(as_served(subject, fit, tokens), found.nulls), part, examples)
        )
        progress(number, 3 + len(lesson.held_out))
    outcome, checks = judge(
        [(one.document["name"], one.judged) for one in measured], fit.agreement, subject.reads
    )
    progress(3 + len(lesson.held_out), 3 + len(lesson.held_out))
    evidence = {
        "version": VERSION,
        "feature": name,
        "reads": subject.reads,
        "model": {
            "name": subject.identity.name,
            "architecture": subject.identity.architecture,
            "digest": subject.identity.digest,
        },
        "verdict": outcome,
        "checks": [check.as_json() for check in checks],
        "fit": {
            "layers": list(recipe.layers),
            "blocks": subject.blocks,
            "pool": pool,
            "scope": lesson.feature.read.scope.name.lower(),
            "strength": recipe.strength,
            "agreement": round(fit.agreement, 4),
            "positives": int(rows.positive.sum()),
            "negatives": int((~rows.positive).sum()),
            "others": len(lesson.others),
            "groups": len({row.group for row in lesson.own}),
            "cut": library.cut(lesson),
            "benign_tokens": fit.benign_tokens,
            "sweep": [
                {"layer": layer, "auroc": round(value, 4)}
                for layer, value in zip(rows.layers, recipe.sweep, strict=True)
            ],
        },
        "warnings": [str(finding) for finding in lesson.warnings],
        "sets": [one.document for one in measured],
    }
    return Learned(lesson, evidence, None if outcome == "refused" else fit)


def as_served(subject: Subject, fit: Fit, tokens: Sequence[Tokens]) -> Doubles:
    """[N]: every text scored token by token through the op that scores in a server, then one number."""
    pack = _pack_of(subject, "build/trial", "trial", [fit], [_bare_note(fit)], tokens[0])
    found = np.zeros(len(tokens))
    for index, scores in subject.scores(tokens, [pack], lambda done, of: None):
        found[index] = statistic(scores, tokens[index].read, subject.window)[0]
    return found


def make_pack(subject: Subject, name: str, learned: Sequence[Learned], tier: str) -> Pack | None:
    """A pack of what was not refused; None if nothing is left."""
    kept = [(one, one.fit) for one in learned if one.fit is not None]
    if not kept:
        return None
    first = kept[0][0].lesson
    return _pack_of(
        subject,
        name,
        "; ".join(
            f"{one.evidence['feature']}: logistic regression (C {one.evidence['fit']['strength']}) on "
            f"{one.evidence['fit']['pool']} of blocks {one.evidence['fit']['layers']}, "
            f"{one.evidence['fit']['positives']} risky and {one.evidence['fit']['negatives']} other texts"
            for one, _ in kept
        ),
        [fit for _, fit in kept],
        [_note(one, fit, tier) for one, fit in kept],
        subject.tokens(first.own[0], first.feature.read.scope),
    )


def _pack_of(
    subject: Subject,
    name: str,
    recipe: str,
    fits: Sequence[Fit],
    notes: Sequence[ProbeNote],
    known: Tokens,
) -> Pack:
    """The pack, with its known answer on the first tokens of `known`."""
    probes = tuple(fit.probe for fit in fits)
    n = min(FINGERPRINT_TOKENS, len(known.ids))
    short = replace(known, ids=known.ids[:n], scopes=known.scopes[:n], read=known.read[:n])
    layers = tuple(sorted({layer for probe in probes for layer in probe.layers}))
    ((_, hidden),) = subject.activations([short], layers, lambda done, of: None)
    frame = ActivationFrame(np.ascontiguousarray(hidden.transpose(1, 0, 2)), layers)
    precise = subject.identity.dtype == "float32"
    return Pack(
        name=name,
        recipe=recipe,
        model=subject.identity,
        probes=probes,
        notes=tuple(notes),
        fingerprint=Fingerprint.take(probes, short.ids, frame, 0.01 if precise else 0.1),
    )


def _bare_note(fit: Fit) -> ProbeNote:
    return ProbeNote("T0", fit.mean, fit.sd, fit.benign_tokens)


def _note(one: Learned, fit: Fit, tier: str) -> ProbeNote:
    """The first held-out set speaks for the probe; without one, cross-validation."""
    found = one.evidence["sets"][1 if len(one.evidence["sets"]) > 1 else 0]
    at_1pct = found["tpr"][0]
    metrics = {
        "set": found["name"],
        "auroc": found["auroc"],
        "positives": found["positives"],
        "negatives": found["negatives"],
        "verdict": one.evidence["verdict"],
        "reads": one.evidence["reads"],
        "agreement": one.evidence["fit"]["agreement"],
    }
    if at_1pct["shown"]:
        metrics["tpr_at_1pct_fpr"] = {k: at_1pct[k] for k in ("value", "low", "high")}
    return ProbeNote(tier, fit.mean, fit.sd, fit.benign_tokens, metrics, found["nulls"])
