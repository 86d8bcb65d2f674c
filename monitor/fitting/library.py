"""Every row of every lesson, captured once, and handed out as the rows that a fit learns from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError, Place
from dosimeter.detectors.recipe import Rows
from dosimeter.monitor.fitting.captures import Captured, capture_all
from dosimeter.monitor.fitting.lesson import Lesson
from dosimeter.monitor.fitting.subject import Subject, Tokens

FEWEST, MOST = 12, 16
"""Models of up to FEWEST blocks are swept whole; larger ones at MOST places from 30 to 90 % of their depth."""


def candidate_layers(blocks: int) -> tuple[int, ...]:
    if blocks <= FEWEST:
        return tuple(range(blocks))
    places = np.linspace(0.3 * blocks, 0.9 * blocks - 1, MOST).round().astype(int)
    return tuple(sorted({int(n) for n in places}))


class Library:
    """Rows are found by what they say and the scope they are read in.

    Raises InputError where a row leaves nothing to read, or what is no number.
    """

    def __init__(
        self,
        subject: Subject,
        lessons: Sequence[Lesson],
        layers: tuple[int, ...],
        work: Path,
        tell: Callable[[int, int], None],
    ) -> None:
        self._index: dict[Hashable, int] = {}
        self._whole = subject.reads == "model"  # words, a null, are of what was read
        self.tokens: list[Tokens] = []
        places: list[Place] = []
        for lesson in lessons:
            held = [row for rows in lesson.held_out.values() for row in rows]
            for row in (*lesson.own, *lesson.others, *held):
                key = _key(row, lesson)
                if key not in self._index:
                    self._index[key] = len(self.tokens)
                    self.tokens.append(subject.tokens(row, lesson.feature.read.scope))
                    places.append(row.place)
        self.captured: Captured = capture_all(subject, self.tokens, layers, work, tell)
        finite = np.isfinite(self.captured.means).all(axis=(1, 2))
        if not finite.all():
            raise InputError.at(
                places[int(np.argmin(finite))],
                f"model `{subject.identity.name}` leaves NaN or infinity here",
                "load it in a wider type, or leave the row out",
            )

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
            tuple(row.read if self._whole else row.words for row in examples),
            np.array([bool(row.label) for row in examples]),
            np.array([row.group for row in examples]),
            np.array(weights, dtype=np.float64),
        )

    def of(self, lesson: Lesson, examples: Sequence[Example]) -> list[Tokens]:
        return [self.tokens[self._index[_key(row, lesson)]] for row in examples]

    def lengths(self, lesson: Lesson, examples: Sequence[Example]) -> npt.NDArray[np.int64]:
        return self.captured.lengths[[self._index[_key(row, lesson)] for row in examples]]

    def cut(self, lesson: Lesson) -> int:
        return sum(one.cut for one in self.of(lesson, lesson.own))


def _key(row: Example, lesson: Lesson) -> Hashable:
    """What a model reads of a row: the very characters, who said them, and which are looked at."""
    said = tuple((message["role"], message["content"]) for message in row.messages)
    return row.text, said, lesson.feature.read.scope
