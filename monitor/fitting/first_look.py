"""A part of a lesson that refuses a hopeless model in minutes: all of the rows keep a large one busy for an hour.

Reading costs by the token, so the part is a number of tokens: groups by lot among the shortest.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dosimeter.detectors.examples import Example
from dosimeter.monitor.fitting.lesson import PANEL, Lesson
from dosimeter.monitor.fitting.subject import Subject

WORTH = 3e13
"""Arithmetic operations of reading all rows below which no part is looked at first: ten minutes of two cores."""
TOKENS = 12_000
"""Of a first look: half of the rows to fit on, half of the held-out sets."""
FEWEST = 24
"""Groups that are drawn whatever they cost: fewer refuse nothing."""


def part_of(lesson: Lesson, subject: Subject, seed: int) -> Lesson | None:
    """The rows of a first look; None where reading all of them costs little more. Raises InputError."""
    scope = lesson.feature.read.scope

    def cost(row: Example) -> int:
        return len(subject.tokens(row, scope).ids)

    held_out = {title: rows for title, rows in lesson.held_out.items() if title != PANEL}
    every = [*lesson.own, *lesson.others, *(row for rows in held_out.values() for row in rows)]
    of_a_token = 2 * 12 * subject.blocks * subject.width**2  # attention and MLP of the usual shape
    # Characters first: tokens are fewer, and take a tokenizer long to count.
    if of_a_token * sum(len(row.read) for row in every) < WORTH:
        return None
    if of_a_token * sum(map(cost, every)) < WORTH:
        return None
    own = TOKENS // 2 if held_out else TOKENS
    return replace(
        lesson,
        own=_part(lesson.own, own, cost, seed),
        others=(),
        held_out={
            title: _part(rows, TOKENS // 2 // len(held_out), cost, seed)
            for title, rows in held_out.items()
        },
    )


def _part(
    rows: Sequence[Example], tokens: int, cost: Callable[[Example], int], seed: int
) -> tuple[Example, ...]:
    """Whole groups up to about that many tokens; those of both classes get twice the share of a class alone."""
    groups: dict[str, list[Example]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    costs = {name: sum(map(cost, group)) for name, group in groups.items()}
    kinds: dict[frozenset[bool], list[str]] = {}
    for name, group in sorted(groups.items()):
        kinds.setdefault(frozenset(bool(row.label) for row in group), []).append(name)
    r, kept = random.Random(seed), set[str]()
    for kind, names in kinds.items():
        most = tokens * len(kind) / sum(map(len, kinds))
        names.sort(key=lambda name: costs[name])
        spent = np.cumsum([costs[name] for name in names])
        short = names[: max(FEWEST, int(np.searchsorted(spent, 2 * most)))]
        drawn = r.sample(short, len(short))
        spent = np.cumsum([costs[name] for name in drawn])
        kept.update(drawn[: max(FEWEST, int(np.searchsorted(spent, most)))])
    return tuple(row for row in rows if row.group in kept)
