"""The op that scores: float64 is the truth, whatever the model's type and however large the step.

A score that is a little wrong fires nothing in any test of attribution, and decides alerts all the same.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dosimeter.detectors.bank import Column, Probe, ProbeBank, fold
from dosimeter.detectors.frames import CODE_MAX, CODES_PER_SD, to_codes
from dosimeter.monitor.taps import probe_op
from dosimeter.monitor.taps.probe_op import Array, CaptureOp, DoesNotFit, HookError, ProbeOp

WIDTH, HOT = 1024, 11
CPU = torch.device("cpu")
STAGED, LAYERED = 1 << 22, 1 << 12  # scratch: the second holds four rows of one layer


@pytest.fixture(params=[STAGED, LAYERED], ids=["staged", "layered"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Both ways through the op; which one a server takes depends on the size of its steps alone."""
    monkeypatch.setattr(probe_op, "SCRATCH_VALUES", request.param)
    return int(request.param)


def bank_of(probes: Sequence[Probe]) -> ProbeBank:
    return ProbeBank((Column(probe.feature, "", ""), probe) for probe in probes)


def planted(rng: np.random.Generator, layers: Sequence[tuple[int, ...]]) -> list[Probe]:
    """Random directions over activations N(0, 1) in every dimension, in sd of their score."""
    probes = []
    for number, read in enumerate(layers):
        direction = rng.standard_normal((len(read), WIDTH))
        weights, bias = fold(direction, np.zeros_like(direction), float(np.linalg.norm(direction)))
        probes.append(Probe(f"f{number}", read, weights, bias))
    return probes


def exact(probes: Sequence[Probe], hidden: torch.Tensor) -> np.ndarray:
    """float64 [T, F] of activations [L, T, D], one probe and layer at a time."""
    values = hidden.double().numpy()
    columns = [
        sum(values[n] @ w.astype(np.float64) for n, w in zip(p.layers, p.weights, strict=True))
        + p.bias
        for p in probes
    ]
    return np.stack(columns, axis=1)


def scored(op: ProbeOp, hidden: torch.Tensor) -> Array:
    op.begin()
    for index, layer in enumerate(op.layers):
        op.feed(index, hidden[layer])
    return op.read(hidden.shape[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [1, 8, 129])
def test_codes_stay_within_three_thousandths_of_a_sd_of_float64(
    dtype: torch.dtype, rows: int, route: int
) -> None:
    """One dimension at 300 sd, as real models have; products rounded to bfloat16 would be off by 0.008."""
    rng = np.random.default_rng(5)
    probes = planted(rng, [(0, 1, 2, 3)] * 64)
    hidden = torch.from_numpy(rng.standard_normal((4, rows, WIDTH))).to(dtype)
    hidden[:, :, HOT] = 300
    found = to_codes(scored(ProbeOp(bank_of(probes), CPU), hidden)) / CODES_PER_SD
    truth = exact(probes, hidden)
    assert np.abs(truth).max() < CODE_MAX / CODES_PER_SD
    assert float(np.abs(found - truth).mean()) <= 0.003


def test_probes_that_read_different_layers_share_a_step(route: int) -> None:
    """The weight that stands for "does not read" must weigh nothing, also beside an activation of 10^4."""
    rng = np.random.default_rng(6)
    probes = planted(rng, [(0,), (1, 3), (3,), (0, 1, 3)])
    hidden = torch.from_numpy(rng.standard_normal((4, 9, WIDTH)) * 30)
    hidden[:, :, HOT] = 1e4
    op = ProbeOp(bank_of(probes), CPU)
    assert op.layers == (0, 1, 3)
    assert np.allclose(scored(op, hidden), exact(probes, hidden), rtol=1e-5, atol=1e-3)


def test_one_value_that_is_not_finite_takes_its_token_and_no_other(route: int) -> None:
    """Every column of it, also of a probe that does not read the layer, and in every block of a step."""
    rng = np.random.default_rng(7)
    probes = planted(rng, [(0,), (1,)])
    hidden = torch.from_numpy(rng.standard_normal((2, 11, WIDTH)))
    hidden[0, 2, 5], hidden[1, 6, 0], hidden[1, 10, 3] = np.inf, np.nan, -np.inf
    found = scored(ProbeOp(bank_of(probes), CPU), hidden)
    assert np.flatnonzero(np.isnan(found).all(axis=1)).tolist() == [2, 6, 10]
    sound = [t for t in range(11) if t not in (2, 6, 10)]
    assert np.allclose(found[sound], exact(probes, hidden)[sound], atol=1e-5)


def test_steps_of_any_size_follow_each_other_without_a_trace(route: int) -> None:
    """Buffers are kept from step to step: rows of a larger one before must not show."""
    rng = np.random.default_rng(8)
    probes = planted(rng, [(0, 1)])
    op = ProbeOp(bank_of(probes), CPU)
    for rows in (3, 40, 1, 40, 5, 0, 3):
        hidden = torch.from_numpy(rng.standard_normal((2, rows, WIDTH)))
        found = scored(op, hidden)
        assert found.shape == (rows, 1)
        assert np.allclose(found, exact(probes, hidden), atol=1e-5)


def test_other_probes_score_as_if_they_had_come_first_and_room_changes_no_bit(route: int) -> None:
    rng = np.random.default_rng(16)
    hidden = torch.from_numpy(rng.standard_normal((3, 9, WIDTH))).float()
    op = ProbeOp(bank_of(planted(rng, [(0, 1, 2)] * 3)), CPU)
    scored(op, hidden)
    for probes in (planted(rng, [(0, 1, 2)] * 20), planted(rng, [(0, 2), (1,)])):
        op.take_over(op.laid_out(bank_of(probes)))
        found = scored(op, hidden)
        assert np.array_equal(found, scored(ProbeOp(bank_of(probes), CPU, room=0), hidden))
        assert np.allclose(found, exact(probes, hidden), atol=1e-5)


def test_probes_without_a_place_in_the_servers_graphs_are_refused() -> None:
    rng = np.random.default_rng(17)
    op = ProbeOp(bank_of(planted(rng, [(0, 2)])), CPU)
    with pytest.raises(DoesNotFit, match=r"read blocks \[1, 3\], the tap is on \[0, 2\]"):
        op.laid_out(bank_of(planted(rng, [(0, 1), (3,)])))
    with pytest.raises(DoesNotFit, match=r"65 columns, .* room for 64\n  hint: restart the server"):
        op.laid_out(bank_of(planted(rng, [(0,)] * 65)))
    narrow = Probe("narrow", (0,), np.ones((1, 8), np.float32), 0.0)
    with pytest.raises(DoesNotFit, match="are 8 wide, the model 1024"):
        op.laid_out(bank_of([narrow]))


def test_what_was_read_stays_as_it_was(route: int) -> None:
    """The cache and the sink keep scores beyond the next step."""
    rng = np.random.default_rng(9)
    op = ProbeOp(bank_of(planted(rng, [(0,)])), CPU)
    first = scored(op, torch.from_numpy(rng.standard_normal((1, 6, WIDTH))))
    kept = first.copy()
    scored(op, torch.from_numpy(rng.standard_normal((1, 6, WIDTH))))
    assert np.array_equal(first, kept)


class Block(nn.Module):
    """Puts out what it is told to."""

    output: torch.Tensor

    def forward(self) -> torch.Tensor:
        return self.output


def hooked(op: ProbeOp | CaptureOp, outputs: Sequence[torch.Tensor]) -> None:
    """One step of a model whose blocks put out `outputs`."""
    blocks = [Block() for _ in outputs]
    for block, output in zip(blocks, outputs, strict=True):
        block.output = output
    op.install(blocks)
    op.begin()
    for block in blocks:
        assert block() is block.output
    op.remove()


def test_batches_padded_to_a_rectangle_are_rows_in_order(route: int) -> None:
    rng = np.random.default_rng(10)
    probes = planted(rng, [(0, 1)])
    hidden = torch.from_numpy(rng.standard_normal((2, 4, 3, WIDTH))).float()
    op = ProbeOp(bank_of(probes), CPU)
    hooked(op, list(hidden))
    assert np.allclose(op.read(12), exact(probes, hidden.reshape(2, 12, WIDTH)), atol=1e-5)


def test_nothing_of_the_server_is_kept_or_changed(route: int) -> None:
    """A tensor held back is memory the server planned with; a changed one is a changed answer."""
    output = torch.randn(5, WIDTH, requires_grad=True).bfloat16()
    before, gone = output.detach().clone(), weakref.ref(output)
    op = ProbeOp(bank_of(planted(np.random.default_rng(11), [(0,)])), CPU)
    hooked(op, [output])
    assert torch.equal(output, before)
    del output
    assert gone() is None
    op.read(5)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ((4, WIDTH), (5, WIDTH)),
        ((4, WIDTH), (1, WIDTH)),
        ((2, 2, WIDTH), (4, 1, WIDTH)),
        ((4, 512), (4, 512)),
        ((4, 1), (4, 1)),
    ],
)
def test_blocks_that_do_not_fit_are_an_error_of_the_step_and_not_of_the_server(
    one: tuple[int, ...], two: tuple[int, ...], route: int
) -> None:
    """A row that stands for several, or a value for a whole row, would be a score of something else."""
    op = ProbeOp(bank_of(planted(np.random.default_rng(12), [(0, 1)])), CPU)
    hooked(op, [torch.zeros(one), torch.zeros(two)])
    with pytest.raises(HookError, match="hook failed"):
        op.read(4)


def test_a_step_in_inference_mode_and_one_outside_it_share_the_op(route: int) -> None:
    """Servers run in inference mode, the self-test between two of their steps does not."""
    rng = np.random.default_rng(13)
    probes = planted(rng, [(0, 1)])
    op = ProbeOp(bank_of(probes), CPU)
    for rows in (6, 12):
        hidden = torch.from_numpy(rng.standard_normal((2, rows, WIDTH))).float()
        with torch.inference_mode():
            hooked(op, [layer.clone() for layer in hidden])
        inside = op.read(rows)
        assert np.array_equal(inside, scored(op, hidden))
        assert np.allclose(inside, exact(probes, hidden), atol=1e-5)


def test_autocast_of_the_server_does_not_reach_the_scores(route: int) -> None:
    """It would round every product to bfloat16."""
    rng = np.random.default_rng(14)
    probes = planted(rng, [(0, 1)])
    op = ProbeOp(bank_of(probes), CPU)
    hidden = torch.from_numpy(rng.standard_normal((2, 7, WIDTH))).float()
    with torch.autocast("cpu", torch.bfloat16):
        hooked(op, list(hidden))
    assert np.allclose(op.read(7), exact(probes, hidden), atol=1e-5)


class Operations(TorchDispatchMode):
    """Of torch, as they run: name, and the tensors they were given."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[tuple[str, list[torch.Tensor]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [one for one in args if isinstance(one, torch.Tensor)]
        self.ran.append((func.overloadpacket.__name__, given))
        return func(*args, **(kwargs or {}))


def test_rows_that_do_not_lie_in_order_are_copied_once_a_layer() -> None:
    """Once a block of rows, a step of 8,192 rows of D 1024 took 1.7 s instead of 8 ms."""
    rng = np.random.default_rng(16)
    probes = planted(rng, [(0,)])
    op, wide = ProbeOp(bank_of(probes), CPU), torch.randn(2, 2049, WIDTH)
    hidden = wide[:, 1:]
    op.begin()
    with Operations() as seen:
        op.feed(0, hidden)
    ran = [name for name, _ in seen.ran]
    assert ran.count("addmm") > 1
    assert ran.count("clone") + ran.count("_unsafe_view") <= 2
    assert np.allclose(op.read(4096), exact(probes, hidden.reshape(1, 4096, WIDTH)), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_step_of_a_block_on_another_device_is_multiplied_where_the_probes_are(
    dtype: torch.dtype,
) -> None:
    """A model spread over devices. The probes are on `meta`, which alone is beside every CPU, and asks no questions."""
    op = ProbeOp(bank_of(planted(np.random.default_rng(17), [(0, 1)])), torch.device("meta"))
    with Operations() as seen:
        hooked(op, [torch.zeros(9000, WIDTH, dtype=dtype)] * 2)
    products = [given for name, given in seen.ran if name == "addmm"]
    assert products
    assert {one.device.type for given in products for one in given} == {"meta"}


def test_rows_can_be_chosen_and_padding_left_out(route: int) -> None:
    rng = np.random.default_rng(15)
    probes = planted(rng, [(0,)])
    op, hidden = ProbeOp(bank_of(probes), CPU), torch.from_numpy(rng.standard_normal((1, 9, WIDTH)))
    truth = exact(probes, hidden)
    for select, rows in ((None, [0, 1, 2]), (np.array([8, 0, 3]), [8, 0, 3])):
        op.begin()
        op.feed(0, hidden[0])
        assert np.allclose(op.read(3, select), truth[rows], atol=1e-5)


def test_a_capture_is_what_the_blocks_put_out_one_row_a_token() -> None:
    hidden = torch.randn(2, 3, 4, 8).bfloat16()
    op = CaptureOp((0, 1), CPU)
    hooked(op, list(hidden))
    expected = torch.cat([layer.reshape(12, 8) for layer in hidden], dim=1).float().numpy()
    assert np.array_equal(op.read(12), expected)
