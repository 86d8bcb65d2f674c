"""A few held-out texts with the score of each token, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dosimeter.detectors.examples import Example
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.fitting.lesson import Lesson
from dosimeter.monitor.fitting.subject import Subject, statistic

EXAMPLES = 12
MOST_TOKENS = 160


def shaded(subject: Subject, pack: Pack, lesson: Lesson) -> list[dict[str, Any]]:
    """Risky and other texts by turns, of different kinds where there are some; held-out ones where there are."""
    pool = [row for rows in lesson.held_out.values() for row in rows] or list(lesson.own)
    chosen = [
        row for pair in zip(_spread(pool, True), _spread(pool, False), strict=False) for row in pair
    ]
    chosen = chosen[:EXAMPLES]
    scope = lesson.feature.read.scope
    tokens = [subject.tokens(row, scope) for row in chosen]
    column = pack.features.index(lesson.feature.name)
    found: dict[int, dict[str, Any]] = {}
    for index, scores in subject.scores(tokens, [pack], lambda done, of: None):
        one, row = tokens[index], chosen[index]
        pieces = subject.pieces(one)
        read = [i for i in range(len(one.ids)) if one.read[i]][:MOST_TOKENS]
        found[index] = {
            "label": int(bool(row.label)),
            "kind": row.kind,
            "score": round(float(statistic(scores, one.read, subject.window)[column]), 3),
            "tokens": [[pieces[i], round(float(scores[i, column]), 2)] for i in read],
        }
    return [found[i] for i in range(len(chosen))]


def _spread(rows: Sequence[Example], label: bool) -> list[Example]:
    """One of each kind in turn, then the next of each."""
    by_kind: dict[str, list[Example]] = {}
    for row in rows:
        if row.label is label:
            by_kind.setdefault(row.kind, []).append(row)
    most = max(map(len, by_kind.values()), default=0)
    return [
        kind[i] for i in range(min(most, EXAMPLES)) for kind in by_kind.values() if i < len(kind)
    ]
