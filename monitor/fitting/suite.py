"""A known-answer suite: texts of which everybody knows what a probe must say, and the bars that it must meet.

`suite.yaml` beside `suite.jsonl` says per kind how many may fire or must be caught, at the level that few
ordinary texts exceed. The suite is public and small: it finds a pack that is broken, it does not measure one
that works. Bars are met by count; the exact interval says how little that count shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.detectors.artefact import canonical
from dosimeter.detectors.binomial import lower_bound, upper_bound
from dosimeter.detectors.evaluate import Array, Bools, Interval
from dosimeter.detectors.examples import Example, load_examples
from dosimeter.detectors.fields import NAME, Fields
from dosimeter.detectors.files import read_file
from dosimeter.detectors.findings import InputError, Place
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.pack import Pack
from dosimeter.detectors.strict_yaml import MAX_BYTES, load
from dosimeter.monitor.fitting.lesson import benign_texts
from dosimeter.monitor.fitting.subject import Subject, Tell, statistic

SUITE = "suite.yaml"
LEAST_ROWS = 5
FIRES, CATCHES = "fires_at_most", "catches_at_least"


@dataclass(frozen=True, slots=True)
class Bar:
    """Of the rows of a kind: at most this share may fire, or at least this share must be caught."""

    kind: str
    must: str
    share: float


@dataclass(frozen=True, slots=True)
class Suite:
    """version: raised whenever rows or bars change · at_most: share of ordinary texts above the level.

    digest: sha256 of all that decides: version, feature, level, bars and every row.
    """

    feature: str
    version: int
    at_most: float
    bars: tuple[Bar, ...]
    rows: tuple[Example, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class KindResult:
    """Rows of one kind above the level. must, share: its bar; passed: None where it has none."""

    kind: str
    label: bool
    n: int
    above: int
    interval: Interval
    must: str | None
    share: float | None
    passed: bool | None


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """threshold_sd: the level, placed on `ordinary` texts of digest `ordinary_digest`."""

    feature: str
    version: int
    digest: str
    threshold_sd: float
    ordinary: int
    ordinary_digest: str
    kinds: tuple[KindResult, ...]

    @property
    def passed(self) -> bool:
        return all(kind.passed is not False for kind in self.kinds)

    def as_json(self) -> dict[str, Any]:
        return {"passed": self.passed, **asdict(self)}


def load_suite(folder: Path) -> Suite | None:
    """The suite of a feature's folder; None where it has none. Raises InputError."""
    path = folder / SUITE
    if not path.exists() and not path.is_symlink():
        return None
    fields = Fields(load(read_file(path, MAX_BYTES), str(path)))
    feature = fields.text("feature", pattern=NAME)
    version = fields.integer("version", 1, 1 << 30)
    at_most = _share(fields, "level_exceeded_by_at_most")
    if not at_most:
        raise InputError.at(
            fields.at("level_exceeded_by_at_most"), "no number of ordinary texts places a level that none exceeds",
            "a share above 0, such as 0.01",
        )  # fmt: skip
    fields.text("why")
    rows = tuple(load_examples(path.with_suffix(".jsonl")))
    bars = tuple(_bar(section, rows) for section in fields.sections("bars"))
    fields.done()
    if feature != folder.name:
        raise InputError.at(fields.at("feature"), f"`{feature}` stands in folder `{folder.name}`")
    if not bars:
        raise InputError.at(fields.at("bars"), "no bar: every pack would pass")
    for i, bar in enumerate(bars):
        if bar.kind in [other.kind for other in bars[:i]]:
            raise InputError.at(fields.at("bars"), f"kind `{bar.kind}` has two bars")
    if bad := [row for row in rows if row.label is None]:
        raise InputError.at(bad[0].place, "a row of a suite has no label")
    said = [feature, version, at_most, [asdict(bar) for bar in bars], _said(rows)]
    return Suite(feature, version, at_most, bars, rows, _sha(said))


def run_suite(
    subject: Subject,
    pack: Pack,
    suite: Suite,
    scope: Scope,
    ordinary: Sequence[Example] | None = None,
    tell: Tell = lambda done, of: None,
) -> SuiteResult:
    """Every row through the pack's own op, as in a server; the level is placed on the ordinary texts.

    ordinary: benign texts nobody fitted on; None: ours. Raises InputError, also where a text has no score.
    """
    if suite.feature not in pack.features:
        raise InputError.at(f"pack {pack.name}", f"has no probe of `{suite.feature}`")
    calm = list(benign_texts() if ordinary is None else ordinary)
    if suite.at_most * len(calm) < 1:
        raise InputError.at(
            f"suite of {suite.feature}",
            f"{len(calm)} ordinary texts cannot place a level that {suite.at_most:.2%} exceed",
            f"give at least {int(np.ceil(1 / suite.at_most))}",
        )
    if bad := [row for row in calm if row.label]:
        raise InputError.at(bad[0].place, "an ordinary text is labelled 1")
    every = [*calm, *suite.rows]
    scores = _scores(subject, pack, pack.features.index(suite.feature), every, scope, tell)
    threshold = level(scores[: len(calm)], suite.at_most)
    above = scores[len(calm) :] > threshold
    return SuiteResult(
        suite.feature, suite.version, suite.digest, threshold, len(calm), _sha(_said(calm)),
        tuple(_results(suite, above)),
    )  # fmt: skip


def level(scores: Array, at_most: float) -> float:
    """The lowest score that at most this share of all lies above."""
    quiet = np.sort(scores)
    return float(quiet[max(0, len(quiet) - 1 - int(at_most * len(quiet)))])


def _results(suite: Suite, above: Bools) -> list[KindResult]:
    """Kinds with a bar first, in the suite's order."""
    bars = {bar.kind: bar for bar in suite.bars}
    others = sorted({row.kind for row in suite.rows} - set(bars))
    found = []
    for kind in (*bars, *others):
        for label in (False, True):
            rows = [i for i, r in enumerate(suite.rows) if r.kind == kind and r.label is label]
            if rows:
                found.append(_result(kind, label, len(rows), int(above[rows].sum()), bars.get(kind)))  # fmt: skip
    return found


def _result(kind: str, label: bool, n: int, k: int, bar: Bar | None) -> KindResult:
    passed = None
    if bar is not None:
        slack = 1e-9  # 0.6 of 20 is 12, whatever the floats say
        passed = k <= bar.share * n + slack if bar.must == FIRES else k >= bar.share * n - slack
    return KindResult(
        kind, label, n, k, Interval(k / n, lower_bound(k, n, 0.975), upper_bound(k, n, 0.975)),
        bar.must if bar else None, bar.share if bar else None, passed,
    )  # fmt: skip


def _scores(
    subject: Subject,
    pack: Pack,
    column: int,
    examples: Sequence[Example],
    scope: Scope,
    tell: Tell,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    tokens = [subject.tokens(one, scope) for one in examples]
    found = np.zeros(len(tokens))
    for index, scores in subject.scores(tokens, [pack], tell):
        found[index] = statistic(scores, tokens[index].read, subject.window)[column]
    if not np.isfinite(found).all():
        at = int(np.flatnonzero(~np.isfinite(found))[0])
        raise InputError.at(examples[at].place, f"pack `{pack.name}` has no score for this text")
    return found


def _bar(fields: Fields, rows: Sequence[Example]) -> Bar:
    kind = fields.text("kind", most=100)
    must = FIRES if fields.optional(FIRES) else CATCHES
    share = _share(fields, must)
    fields.done()
    labels = [row.label for row in rows if row.kind == kind]
    at = fields.at("kind")
    if len(labels) < LEAST_ROWS:
        raise InputError.at(at, f"{len(labels)} rows of kind `{kind}`, at least {LEAST_ROWS}")
    if set(labels) != {must == CATCHES}:
        wanted = "1" if must == CATCHES else "0"
        raise InputError.at(at, f"`{must}` of kind `{kind}`, whose rows are not all labelled {wanted}")  # fmt: skip
    return Bar(kind, must, share)


def _share(fields: Fields, name: str) -> float:
    share = fields.number(name)
    if not 0 <= share <= 1:
        place: Place = fields.at(name)
        raise InputError.at(place, f"`{name}` is {share}", "a share, from 0 to 1")
    return share


def _said(rows: Sequence[Example]) -> list[Any]:
    return [[row.label, row.kind, row.text, [dict(m) for m in row.messages]] for row in rows]


def _sha(data: Any) -> str:
    return hashlib.sha256(canonical(data)).hexdigest()
