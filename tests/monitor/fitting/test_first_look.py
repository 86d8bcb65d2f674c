"""Which rows a large model is looked at first with: few tokens, whole groups, both classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.examples import Example
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.fitting.first_look import FEWEST, TOKENS, part_of
from dosimeter.monitor.fitting.lesson import PANEL, SUITE, Lesson
from dosimeter.monitor.fitting.subject import Tokens


@dataclass
class Large:
    """A fake of a model's size alone: a token a word."""

    blocks: int = 24
    width: int = 1024

    def tokens(self, example: Example, scope: Scope) -> Tokens:
        n = len(example.words.split())
        return Tokens((0,) * n, np.full(n, scope, np.uint8), np.ones(n, np.bool_))


def pairs(n: int, words: int, name: str = "pair") -> list[Example]:
    return [
        Example(label, f"{name} {i}", text=f"{name} {i} {label} " + "word " * (words - 4))
        for i in range(n)
        for label in (True, False)
    ]


def lesson(own: list[Example], **held_out: list[Example]) -> Lesson:
    sets = {name: tuple(rows) for name, rows in held_out.items()}
    return Lesson(load_features()["scam"], tuple(own), (), sets, (), (), {})


def looked_at(lesson: Lesson, model: Large) -> Lesson | None:
    subject: Any = model
    return part_of(lesson, subject, seed=0)


def words(rows: tuple[Example, ...]) -> int:
    return sum(len(row.words.split()) for row in rows)


def test_a_small_model_reads_everything_at_once() -> None:
    assert looked_at(lesson(pairs(300, 50)), Large(blocks=4, width=128)) is None


def test_of_a_large_one_whole_groups_of_both_classes_are_read_up_to_the_tokens() -> None:
    lone = [Example(False, f"lone {i}", text=f"lone {i} " + "word " * 48) for i in range(400)]
    part = looked_at(lesson(pairs(1000, 50) + lone), Large())
    assert part is not None
    assert TOKENS - 200 <= words(part.own) <= TOKENS
    groups = [row.group for row in part.own]
    assert all(groups.count(g) == 2 for g in groups if g.startswith("pair"))
    assert sum(g.startswith("lone") for g in groups) == pytest.approx(TOKENS / 3 / 50, abs=1)


def test_the_shortest_are_read() -> None:
    part = looked_at(lesson(pairs(200, 400, "long") + pairs(1000, 20, "short")), Large())
    assert part is not None
    assert {row.group.split()[0] for row in part.own} == {"short"}


def test_a_held_out_set_gets_half_of_the_tokens_and_the_panel_none() -> None:
    sets = {SUITE: pairs(500, 50, "suite"), PANEL: pairs(500, 50, "panel")}
    part = looked_at(lesson(pairs(500, 50), **sets), Large())
    assert part is not None
    assert set(part.held_out) == {SUITE}
    assert TOKENS // 2 - 100 <= words(part.held_out[SUITE]) <= TOKENS // 2
    assert TOKENS // 2 - 100 <= words(part.own) <= TOKENS // 2


def test_of_texts_that_are_all_long_some_are_read_whatever_they_cost() -> None:
    part = looked_at(lesson(pairs(100, 1000)), Large())
    assert part is not None
    assert len({row.group for row in part.own}) == FEWEST
