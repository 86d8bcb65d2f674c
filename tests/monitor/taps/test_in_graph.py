"""The read-out in a compiled forward: one graph, no Python in a step, and the scores of float64."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType

import numpy as np
import pytest
import torch
from torch import nn

from dosimeter.detectors.bank import Column, Probe, ProbeBank
from dosimeter.monitor.taps import in_graph, probe_op
from dosimeter.monitor.taps.probe_op import HookError, ProbeOp

WIDTH, LAYERS, TAPPED = 32, 4, (0, 2, 3)
CPU = torch.device("cpu")
OURS = (probe_op.__file__, in_graph.__file__)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.blocks = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            hidden = block(hidden).relu()
        return hidden


def bank_of(seed: int) -> ProbeBank:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((5, len(TAPPED), WIDTH)).astype(np.float32)
    return ProbeBank(
        (Column(f"f{n}", "", ""), Probe(f"f{n}", TAPPED, weights[n], float(n))) for n in range(5)
    )


def exact(bank: ProbeBank, model: Model, hidden: torch.Tensor) -> np.ndarray:
    """float64 [T, F], from the blocks' own outputs."""
    rows = hidden.reshape(-1, WIDTH).double()
    found = np.tile(bank.bias.astype(np.float64), (len(rows), 1))
    for layer, block in enumerate(model.blocks):
        rows = rows @ block.weight.detach().double().T + block.bias.detach().double()
        if layer in TAPPED:
            weights = bank.weights[TAPPED.index(layer)].astype(np.float64)
            found += rows.numpy() @ weights.T
        rows = rows.relu()
    return found


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch.compiler.reset()


def tapped(seed: int = 1) -> tuple[Model, ProbeBank, ProbeOp]:
    model, bank = Model(), bank_of(seed)
    op = ProbeOp(bank, CPU)
    op.install(model.blocks)
    return model, bank, op


def compiled(model: Model, backend: str = "eager") -> nn.Module:
    found: nn.Module = torch.compile(model, backend=backend, fullgraph=True, dynamic=True)
    return found


def run(op: ProbeOp, model: nn.Module, hidden: torch.Tensor) -> np.ndarray:
    op.begin()
    with torch.no_grad():
        model(hidden)
    return op.read(hidden[..., 0].numel())


@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=pytest.mark.parts, id="inductor")]
)
def test_one_graph_reads_steps_of_every_size_and_calls_no_python(backend: str) -> None:
    model, bank, op = tapped()
    forward = compiled(model, backend)
    for rows in (7, 12, 3, 12):
        hidden = torch.randn(1, rows, WIDTH)
        assert np.abs(run(op, forward, hidden) - exact(bank, model, hidden)).max() < 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert calls_of_ours(lambda: forward(hidden)) == []
    assert "hook" in calls_of_ours(lambda: model(hidden))


def calls_of_ours(step: Callable[[], object]) -> list[str]:
    """Names of the tap's functions that Python entered in a step."""
    found = []

    def entered(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and frame.f_code.co_filename in OURS:
            found.append(frame.f_code.co_name)

    with torch.no_grad():
        sys.setprofile(entered)
        try:
            step()
        finally:
            sys.setprofile(None)
    return found


def test_other_weights_go_into_the_same_graph() -> None:
    model, _, op = tapped()
    forward, hidden = compiled(model), torch.randn(1, 4, WIDTH)
    run(op, forward, hidden)
    other = ProbeOp(bank_of(2), CPU)
    op._side_by_side.copy_(other._side_by_side)
    assert np.abs(run(op, forward, hidden) - exact(bank_of(2), model, hidden)).max() < 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_compiled_and_plain_steps_alternate() -> None:
    """As in `generate`, whose prompt is not compiled."""
    model, bank, op = tapped()
    forward = compiled(model)
    for count in (5, 1, 6, 1):
        hidden = torch.randn(count, WIDTH)
        found = run(op, forward if count == 1 else model, hidden)
        assert np.abs(found - exact(bank, model, hidden)).max() < 1e-5


def test_hooks_that_came_after_the_compiler_are_not_in_the_graph_and_nothing_is_read() -> None:
    model, bank = Model(), bank_of(1)
    forward, hidden = compiled(model), torch.randn(1, 4, WIDTH)
    with torch.no_grad():
        forward(hidden)
    op = ProbeOp(bank, CPU)
    op.install(model.blocks)
    with pytest.raises(HookError, match="0 of 3 tapped blocks"):
        run(op, forward, hidden)


def test_a_step_beside_another_is_not_read() -> None:
    model, _, op = tapped()
    forward, hidden = compiled(model), torch.randn(1, 4, WIDTH)
    run(op, forward, hidden)
    op.begin()
    forward(hidden)
    forward(hidden)
    with pytest.raises(HookError, match="0 of 3"):
        op.read(4)
    op.begin()
    forward(hidden)
    op.read(4)
    with pytest.raises(HookError, match="0 of 3"):
        op.read(4)  # a step is read once


def test_a_step_that_another_overwrites_while_it_is_read_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _, op = tapped()
    forward = compiled(model)
    run(op, forward, torch.randn(1, 4, WIDTH))
    op.begin()
    forward(torch.randn(1, 4, WIDTH))
    scores = op._in_graph.scores

    def meanwhile(count: int) -> torch.Tensor:
        forward(torch.randn(1, 4, WIDTH))  # of another thread
        return scores(count)

    monkeypatch.setattr(op._in_graph, "scores", meanwhile)
    with pytest.raises(HookError, match="another compiled step"):
        op.read(4)


def test_what_cannot_be_multiplied_is_not_read_and_no_error_of_the_server() -> None:
    op = ProbeOp(bank_of(1), CPU)
    wide = [nn.Linear(WIDTH, WIDTH + 1) for _ in range(LAYERS)]
    op.install(wide)
    forward = torch.compile(wide[0], backend="eager", fullgraph=True)
    op.begin()
    with torch.no_grad():
        assert forward(torch.randn(4, WIDTH)).shape == (4, WIDTH + 1)
    with pytest.raises(HookError, match="0 of 3"):
        op.read(4)


def test_a_part_of_a_step_is_not_read() -> None:
    model, _, op = tapped()
    first = torch.compile(lambda hidden: model.blocks[0](hidden), backend="eager")
    op.begin()
    first(torch.randn(4, WIDTH))
    with pytest.raises(HookError, match="0 of 3"):
        op.read(4)


def test_a_step_of_more_rows_than_the_buffer_has_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_graph, "ROWS", 8)
    model, bank, op = tapped()
    forward = compiled(model)
    with pytest.raises(HookError, match="0 of 3"):
        run(op, forward, torch.randn(9, WIDTH))
    hidden = torch.randn(8, WIDTH)
    assert np.abs(run(op, forward, hidden) - exact(bank, model, hidden)).max() < 1e-5


def test_more_rows_than_the_step_ran_are_an_error() -> None:
    model, _, op = tapped()
    forward = compiled(model)
    op.begin()
    forward(torch.randn(4, WIDTH))
    with pytest.raises(HookError, match="names 5 rows, the step ran 4"):
        op.read(5)
