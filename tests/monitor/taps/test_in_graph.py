"""The read-out in a compiled forward: one graph, no Python in a step, and the scores of float64."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import numpy as np
import pytest
import torch
from torch import nn
from torch._inductor.utils import run_and_get_code

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


def bank_of(seed: int, probes: int = 5, layers: tuple[int, ...] = TAPPED) -> ProbeBank:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((probes, len(layers), WIDTH)).astype(np.float32)
    return ProbeBank(
        (Column(f"f{n}", "", ""), Probe(f"f{n}", layers, weights[n], float(n)))
        for n in range(probes)
    )


def exact(bank: ProbeBank, model: Model, hidden: torch.Tensor) -> np.ndarray:
    """float64 [T, F], from the blocks' own outputs."""
    rows = hidden.reshape(-1, WIDTH).double()
    found = np.tile(bank.bias.astype(np.float64), (len(rows), 1))
    for layer, block in enumerate(model.blocks):
        rows = rows @ block.weight.detach().double().T + block.bias.detach().double()
        if layer in bank.layers:
            weights = bank.weights[bank.layers.index(layer)].astype(np.float64)
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


@pytest.mark.parts
def test_a_graph_writes_the_rows_of_its_step_and_not_the_whole_buffer() -> None:
    """A buffer that is written after each block would be copied whole, by the compiler, once a block."""
    model, _, op = tapped()
    forward, hidden = compiled(model, "inductor"), torch.randn(1, 3, WIDTH)
    _, code = run_and_get_code(run, op, forward, hidden)
    loops = "".join(code)
    assert f"({in_graph.ROWS}, {op.room})" in loops  # the buffer is there, as an argument
    for whole in (in_graph.ROWS, in_graph.ROWS * op.room):
        assert not re.search(rf"< *(static_cast<int64_t>\()?{whole}L", loops)


@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=pytest.mark.parts, id="inductor")]
)
def test_other_probes_change_what_is_in_the_graph_and_not_the_graph(backend: str) -> None:
    """More of them, fewer, or on fewer blocks; each as if the op had been made for them."""
    model, _, op = tapped()
    forward, hidden = compiled(model, backend), torch.randn(1, 4, WIDTH)
    run(op, forward, hidden)
    banks = [bank_of(2), bank_of(3, probes=64), bank_of(4, probes=1), bank_of(5, layers=(0, 3))]
    found = []
    for bank in banks:
        op.take_over(op.laid_out(bank))
        with torch._dynamo.config.patch(error_on_recompile=True):
            found.append(run(op, forward, hidden))
        assert found[-1].shape == (4, len(bank.columns))
        assert np.abs(found[-1] - exact(bank, model, hidden)).max() < 1e-5
        assert np.abs(run(op, model, hidden) - exact(bank, model, hidden)).max() < 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    for bank, scores in zip(banks[:3], found, strict=False):
        torch.compiler.reset()
        model, _, fresh = Model(), bank, ProbeOp(bank, CPU)
        fresh.install(model.blocks)
        assert np.array_equal(run(fresh, compiled(model, backend), hidden), scores)


def test_a_pack_larger_than_the_room_makes_its_own_at_the_start() -> None:
    model, bank = Model(), bank_of(6, probes=70)
    op = ProbeOp(bank, CPU)
    op.install(model.blocks)
    hidden = torch.randn(1, 4, WIDTH)
    found = run(op, compiled(model), hidden)
    assert np.abs(found - exact(bank, model, hidden)).max() < 1e-5
    assert op.room == 70


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


@pytest.mark.parametrize("order", [(0, 0, 1, 2, 3), (0, 1, 2, 2, 3), (0, 3), (2, 0, 1, 3)])
def test_blocks_that_do_not_run_once_and_in_order_are_not_read(order: tuple[int, ...]) -> None:
    model, _, op = tapped()

    def blocks(hidden: torch.Tensor) -> torch.Tensor:
        for number in order:
            hidden = model.blocks[number](hidden)
        return hidden

    forward = torch.compile(blocks, backend="eager", fullgraph=True)
    op.begin()
    with torch.no_grad():
        forward(torch.randn(4, WIDTH))
    with pytest.raises(HookError, match="0 of 3"):
        op.read(4)


def test_the_sum_goes_on_where_the_compiler_breaks_off_between_two_blocks() -> None:
    model, bank, op = tapped()

    def blocks(hidden: torch.Tensor) -> torch.Tensor:
        for block in model.blocks:
            hidden = block(hidden).relu()
            torch._dynamo.graph_break()
        return hidden

    forward = torch.compile(blocks, backend="eager", dynamic=True)
    for rows in (4, 4, 7, 3):
        hidden = torch.randn(rows, WIDTH)
        assert np.abs(run(op, forward, hidden) - exact(bank, model, hidden)).max() < 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1


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


@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=pytest.mark.parts, id="inductor")]
)
@pytest.mark.parametrize(
    "mark",
    [torch._dynamo.mark_dynamic, torch._dynamo.decorators.mark_unbacked],
    ids=["no guard is kept", "unbacked"],
)
def test_a_server_that_never_asks_again_how_many_rows_there_are_writes_beside_no_buffer(
    monkeypatch: pytest.MonkeyPatch, mark: Callable[[torch.Tensor, int], None], backend: str
) -> None:
    """As vLLM compiles, 2026-11-30: a graph of few rows took any number, and wrote past the buffer's end; with
    `dynamic_shapes_config.type` `unbacked` the compiler refused the tap's question, and the server did not start."""
    monkeypatch.setattr(in_graph, "ROWS", 8)
    model, bank, op = tapped()
    options = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    forward = torch.compile(model, backend=backend, fullgraph=True, options=options)
    first = torch.randn(4, WIDTH)
    mark(first, 0)
    for hidden in (first, torch.randn(400, WIDTH), torch.randn(8, WIDTH), torch.randn(3, WIDTH)):
        if len(hidden) > 8:
            with pytest.raises(HookError, match="0 of 3"):
                run(op, forward, hidden)
        else:
            found = run(op, forward, hidden)
            assert np.abs(found - exact(bank, model, hidden)).max() < 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("index", [0, 1, 2])
def test_an_error_of_ours_while_a_block_is_traced_is_none_of_the_servers(index: int) -> None:
    model, bank = Model(), bank_of(1)
    calls = []

    def residual(output: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        if len(calls) == index + 1:
            raise HookError("a block returned something else")
        return output

    op = ProbeOp(bank, CPU, residual)
    op.install(model.blocks)
    hidden = torch.randn(4, WIDTH)
    op.begin()
    with torch.no_grad():
        found = compiled(model)(hidden)
    assert found.shape == (4, WIDTH)
    with pytest.raises(HookError, match="0 of 3"):
        op.read(4)


def test_more_rows_than_the_step_ran_are_an_error() -> None:
    model, _, op = tapped()
    forward = compiled(model)
    op.begin()
    forward(torch.randn(4, WIDTH))
    with pytest.raises(HookError, match="names 5 rows, the step ran 4"):
        op.read(5)
