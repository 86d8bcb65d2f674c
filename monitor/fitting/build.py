"""From a loaded model and lessons to a pack with a verdict, or to a refusal: `dosimeter detectors build`.

Capture, choose, cross-validate, judge, fit, in that order; what does not pass is left out of the pack. The
figures are those of probes that never saw the rows; the pack's own probe is fitted on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.fit import Fit
from dosimeter.detectors.recipe import (
    Rows,
    Scored,
    choose,
    cross_validated,
    fit_recipe,
    score_rows,
)
from dosimeter.detectors.verdict import hopeless, judge
from dosimeter.monitor.fitting.first_look import part_of
from dosimeter.monitor.fitting.lesson import OTHERS_WEIGHT, PANEL, Lesson
from dosimeter.monitor.fitting.library import Library, candidate_layers
from dosimeter.monitor.fitting.measure import measure
from dosimeter.monitor.fitting.packing import as_served
from dosimeter.monitor.fitting.subject import Subject

VERSION = 1
CROSS = "cross-validated"

Tell = Callable[[str], Callable[[int, int], None]]
"""What is being done -> its progress."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """One feature: its evidence, and its fit unless it was refused.

    judged: by set, what the verdict was taken on
    """

    lesson: Lesson
    evidence: dict[str, Any]
    fit: Fit | None
    judged: list[tuple[str, dict[str, Any]]]


def learn(
    subject: Subject,
    lessons: Sequence[Lesson],
    work: Path,
    tell: Tell,
    *,
    twin: Subject | None = None,
    twin_has: Collection[str] = (),
    seed: int = 0,
    layers: tuple[int, ...] | None = None,
) -> list[Learned]:
    """Capture every row once, then judge each feature. Raises InputError, FitError.

    twin_has: features that the twin shows as well, so that it is no null of theirs
    layers: to choose among; None: of all the model
    """
    layers = candidate_layers(subject.blocks) if layers is None else layers
    if twin is not None and (twin.blocks, twin.width) != (subject.blocks, subject.width):
        raise InputError.at(
            twin.identity.name,
            f"has {twin.blocks} blocks of width {twin.width}, the model {subject.blocks} of {subject.width}",
            "a twin is the same model without the behaviour",
        )
    refused: dict[str, Learned] = {}
    for lesson in lessons:
        early = _first_look(subject, lesson, layers, work, tell, seed)
        if early is not None:
            refused[lesson.feature.name] = early
    going_on = [lesson for lesson in lessons if lesson.feature.name not in refused]
    if not going_on:
        return list(refused.values())
    found = _all_rows(subject, going_on, layers, work, tell, twin, twin_has, seed)
    learned = {one.lesson.feature.name: one for one in found} | refused
    return [learned[lesson.feature.name] for lesson in lessons]


def _first_look(
    subject: Subject,
    lesson: Lesson,
    layers: tuple[int, ...],
    work: Path,
    tell: Tell,
    seed: int,
) -> Learned | None:
    """A refusal from a part of the rows, where that is plain."""
    part = part_of(lesson, subject, seed)
    if part is None:
        return None
    library = Library(subject, [part], layers, work, tell(f"a first look, {lesson.feature.name}"))
    seen = _learn(subject, part, library, None, tell, seed)
    said = hopeless(seen.judged, subject.reads)
    if said is None:
        return None
    check = {
        "check": "first-look", "passed": False, "value": len(part.own), "bound": len(lesson.own),
        "sentence": f"refused on {len(part.own)} of {len(lesson.own)} rows: {said}",
    }  # fmt: skip
    evidence = {**seen.evidence, "verdict": "refused", "checks": [check, *seen.evidence["checks"]]}
    return Learned(lesson, evidence, None, seen.judged)


def _all_rows(
    subject: Subject,
    lessons: Sequence[Lesson],
    layers: tuple[int, ...],
    work: Path,
    tell: Tell,
    twin: Subject | None,
    twin_has: Collection[str],
    seed: int,
) -> list[Learned]:
    library = Library(subject, lessons, layers, work / "model", tell("reading the texts"))
    lacking = [lesson for lesson in lessons if lesson.feature.name not in twin_has]
    of_twin = (
        Library(twin, lacking, layers, work / "twin", tell("reading them with the twin"))
        if twin and lacking
        else None
    )
    return [
        _learn(subject, lesson, library, of_twin if lesson in lacking else None, tell, seed)
        for lesson in lessons
    ]


def _learn(
    subject: Subject,
    lesson: Lesson,
    library: Library,
    of_twin: Library | None,
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
    crossed, recipes = cross_validated(name, rows, subject.blocks, pool, seed)
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
    # The panel is there to be failed: languages the model may not know, dialects, other lengths.
    judged = [
        (one.document["name"], one.judged) for one in measured if one.document["name"] != PANEL
    ]
    outcome, checks = judge(judged, fit.agreement, subject.reads)
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
            "folds": [{"layers": list(r.layers), "strength": r.strength} for r in recipes],
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
    return Learned(lesson, evidence, None if outcome == "refused" else fit, judged)
