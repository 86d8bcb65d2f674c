"""`Lesson`: the rows one feature is learned from and measured on, from a folder of sets or from our own data.

It owns the directory convention's meaning (which set fits, which calibrates, which only measures) and refuses
what cannot carry a fit before any model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dosimeter.detectors.examples import (
    BENIGN,
    CALIBRATE,
    FIT,
    Example,
    check_fit,
    leaks,
    load_examples,
    sets_of,
)
from dosimeter.detectors.findings import Finding, InputError, Place
from dosimeter.detectors.registry import FEATURES, Feature, Features

BENIGN_TEXTS = FEATURES.parent / "benign"
SUITE, PANEL = "our suite", "our panel"
"""Titles of our own held-out sets; `suite.jsonl` and `panel.jsonl` beside a feature."""
OTHERS_WEIGHT = 0.3
"""What a text of another feature counts for among the negatives; without them a probe reads topics."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """own: fitted on, and measured by cross-validation · others: negatives that are only fitted on.

    held_out: sets by name, both classes in each · benign: what levels are placed on, by route (`kind`)
    · warnings: of the checks · leaked: rows of a held-out set that also stand in `own`
    """

    feature: Feature
    own: tuple[Example, ...]
    others: tuple[Example, ...]
    held_out: dict[str, tuple[Example, ...]]
    benign: tuple[Example, ...]
    warnings: tuple[Finding, ...]
    leaked: dict[str, int]


def lesson_of(feature: Feature, features: Features, folder: Path | None) -> Lesson:
    """From `folder` where it has the feature's sets, else from our own texts. Raises InputError."""
    sets = sets_of(folder, feature.name, features) if folder is not None else {}
    own = sets.pop(FIT, None)
    others: list[Example] = []
    if own is None:
        own = own_texts(feature)
        others = [row for other in features.values() for row in _not_risky(feature, other)]
        sets = {**held_out_texts(feature), **sets}
    own = [_grouped(row, feature.name) for row in own]
    findings = check_fit(own)
    if any(finding.severity == "error" for finding in findings):
        raise InputError(findings)
    # A text that stands twice would be learned in one fold and tested in another.
    own = list({row.identity: row for row in reversed(own)}.values())[::-1]
    known = {row.identity for row in own}
    others = [row for row in others if row.identity not in known]
    benign = [
        replace(row, label=False, kind=row.kind or key.removeprefix(f"{BENIGN}_"))
        for key, rows in sets.items()
        if key.startswith(f"{BENIGN}_") and _calibrates(key, sets)
        for row in rows
    ]
    held_out = {}
    for name, rows in sets.items():
        if name.startswith(f"{BENIGN}_"):
            continue
        if {row.label for row in rows} == {True, False}:
            held_out[name] = tuple(_grouped(row, name) for row in once(rows))
        else:
            findings.append(unmeasured(name, rows))
    return Lesson(
        feature,
        tuple(own),
        tuple(others),
        held_out,
        tuple(benign),
        tuple(findings),
        {name: len(leaks((*own, *others), rows)) for name, rows in held_out.items()},
    )


def own_texts(feature: Feature) -> list[Example]:
    """Our pairs and hard negatives of a feature. Raises InputError where nothing was written for it."""
    rows = [row for path in feature.data.files for row in load_examples(path)]
    if not rows:
        raise InputError.at(
            f"feature {feature.name}",
            "we have no texts of it",
            f"give a folder with `{feature.name}_fit.jsonl`: --data FOLDER",
        )
    return [row if row.label is not None else replace(row, label=False) for row in rows]


def held_out_texts(feature: Feature) -> dict[str, list[Example]]:
    """Our sets that only ever measure: the known-answer suite, and the robustness panel."""
    folder = FEATURES / feature.name
    paths = {SUITE: folder / "suite.jsonl", PANEL: folder / "panel.jsonl"}
    return {title: load_examples(path) for title, path in paths.items() if path.is_file()}


def benign_texts() -> list[Example]:
    """Our ordinary texts by route: what levels are placed on where nobody has traffic of their own."""
    return [
        replace(row, label=False)
        for path in sorted(BENIGN_TEXTS.glob("*.jsonl"))
        for row in load_examples(path)
    ]


def unmeasured(name: str, rows: Sequence[Example]) -> Finding:
    return Finding(
        "unmeasured",
        "warning",
        Place(rows[0].place.name),
        f"nothing is measured on set `{name}`: it lacks a class, or a row without `label` is in it",
        "give rows of both classes, each with its `label`",
    )


def once(rows: Sequence[Example]) -> list[Example]:
    """Without copies, which would narrow every interval. Raises InputError for a text under both labels."""
    found: dict[str, Example] = {}
    for row in rows:
        first = found.setdefault(row.identity, row)
        if first.label != row.label:
            raise InputError.at(row.place, "stands under both labels", "one of the two is wrong")
    return list(found.values())


def _calibrates(key: str, sets: dict[str, list[Example]]) -> bool:
    """A benign set named for it; without one, every benign set."""
    named = f"{BENIGN}_{CALIBRATE}"
    return key == named or named not in sets


def _not_risky(feature: Feature, other: Feature) -> Sequence[Example]:
    """Texts of another feature that surely do not have this one."""
    if other.name == feature.name or not other.data.files:
        return ()
    rows = own_texts(other)
    if other.name in feature.related:
        rows = [row for row in rows if not row.label]
    return [_grouped(replace(row, label=False), other.name) for row in rows]


def _grouped(row: Example, source: str) -> Example:
    return replace(row, group=f"{source}/{row.group}")
