"""What is put into a forward comes off again, is clocked where it runs, and is what it says it is.

A benchmark that measured something else, or nothing, would report its goal as met.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dosimeter.monitor.bench import hook
from dosimeter.monitor.bench.variants import (
    Nothing,
    NumpyLoop,
    Tapped,
    Times,
    bank_of,
    going_on,
    median_ratio,
    request,
    rounds_of,
)
from dosimeter.monitor.taps.rows import Rows

WIDTH, BATCH = 16, 3


class Model:
    """Two blocks that put out the same activations in every forward."""

    def __init__(self) -> None:
        self.blocks = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.hidden = torch.randn(BATCH, 1, WIDTH).bfloat16()
        self.forwards = 0

    def forward(self) -> None:
        self.forwards += 1
        for block in self.blocks:
            block(self.hidden)


def hooks_on(model: Model) -> int:
    return sum(len(block._forward_hooks) for block in model.blocks)


def test_the_tap_and_the_loop_it_is_compared_with_compute_the_same_scores() -> None:
    model, bank = Model(), bank_of(4, (0, 1), WIDTH)
    tapped, loop = Tapped(bank, going_on(BATCH, 1)), NumpyLoop(bank, BATCH)
    codes: list[np.ndarray] = []
    tapped.tap._sink = lambda rows, values, hook_ns: (codes.append(values) or len(values), None)
    for variant in (tapped, loop):
        times = variant.step(model.blocks, model.forward)
        assert times.hooks > 0
        assert hooks_on(model) == 0
    assert np.allclose(codes[0] / 256, loop.scores, atol=1 / 256)


def test_a_tap_that_did_not_read_fails_the_benchmark() -> None:
    """A row map that names more rows than ran: every step would be refused, and cost next to nothing."""
    model = Model()
    one = request(1, 8)
    tapped = Tapped(bank_of(4, (0,), WIDTH), lambda: Rows([one], [0], [BATCH + 1]))
    with pytest.raises(RuntimeError, match="did not read"):
        tapped.step(model.blocks, model.forward)
    assert hooks_on(model) == 0


def test_every_round_runs_every_variant_once_and_the_first_round_is_left_out() -> None:
    model = Model()
    found = rounds_of(model.blocks, model.forward, {"a": Nothing(), "b": Nothing((0, 1))}, 4)
    assert {name: len(times) for name, times in found.items()} == {"a": 4, "b": 4}
    assert model.forwards == 10
    assert all(times.hooks == 0 for times in found["a"])
    assert all(0 < times.hooks < times.whole for times in found["b"])


def test_ratios_are_taken_within_a_round() -> None:
    """A round in which the whole machine was slower must not make ours look larger."""
    assert median_ratio([1, 20, 3], [10, 200, 30]) == pytest.approx(0.1)


def test_shares_are_of_the_bare_forward_less_what_the_clocks_take() -> None:
    """By hand: ours 30 - 10 of 1000, the loop 120 - 10, so 2 % and 5.5 times."""
    found = {"bare": [Times(0, 0, 1000)], "bare again": [Times(0, 0, 1010)]}
    for name in hook.TAPPED:
        found |= {
            f"idle, {name}": [Times(10, 0, 1000)],
            f"ours, {name}": [Times(30, 5, 1000)],
            f"ours again, {name}": [Times(31, 5, 1000)],
            f"loop, {name}": [Times(120, 0, 1000)],
        }
    figures = {f.name: f for f in hook.compared("decode", found)}
    assert figures["decode: the same forward again"].value == pytest.approx(1.0)
    for name in hook.TAPPED:
        inside = figures[f"decode, {name}: in hooks"]
        assert inside.value == pytest.approx(2.0)
        assert inside.goal == hook.GOALS["decode", name]
        assert figures[f"decode, {name}: the same hooks again"].value == pytest.approx(2.1)
        assert figures[f"decode, {name}: the tap around it"].value == pytest.approx(0.5)
        assert figures[f"decode, {name}: numpy loop / in hooks"].value == pytest.approx(5.5)
