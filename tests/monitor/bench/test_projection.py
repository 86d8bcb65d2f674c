"""`bench projection`: the floor worked out by hand, and which shapes have a goal."""

from __future__ import annotations

import pytest

from dosimeter.monitor.bench import projection
from dosimeter.monitor.bench.decoder import PEAK

MATRICES = 2 * PEAK**3  # ns: so the machine multiplies one flop a ns


def found(ours: int, read: int, loop: int = 1) -> dict[str, list[int]]:
    return {
        "ours": [ours],
        "numpy loop": [10 * loop],
        "torch loop": [loop],
        "read once": [read],
        "product of matrices": [MATRICES],
    }


def test_the_floor_is_the_larger_of_reading_once_and_the_best_product() -> None:
    product = 2 * 32 * 64 * projection.WIDTH
    for read, floor in ((1, product), (4 * product, 4 * product)):
        _, over, _ = projection.compared(64, 32, found(2 * floor, read))
        assert over.value == pytest.approx(2.0)
        assert over.met is False


def test_the_better_loop_is_what_few_probes_must_not_be_slower_than() -> None:
    _, over, faster = projection.compared(8, 1, found(100, 1, loop=50))
    assert (over.goal, faster.goal) == (None, ">= 1")
    assert faster.value == pytest.approx(0.5)
    assert projection.compared(64, 16, found(100, 1))[1].goal is None
    assert projection.compared(16, 2048, found(100, 1))[2].goal is None


def test_all_ways_give_the_same_scores_and_are_clocked_in_each_round() -> None:
    timed = projection.timed(3, 5, 32, rounds=2)
    assert {name: len(ns) for name, ns in timed.items()} == dict.fromkeys(timed, 2)
    assert all(ns > 0 for one in timed.values() for ns in one)
