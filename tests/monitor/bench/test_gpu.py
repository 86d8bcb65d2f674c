"""`make bench-gpu` in small on the CPU: its own arithmetic, its accounts, and what it says where there is no GPU."""

from __future__ import annotations

import pytest
import torch

from dosimeter.monitor.bench import gpu
from dosimeter.monitor.bench.gpu import AGAIN, BARE, Setting
from dosimeter.monitor.bench.gpu_run import Run, RunFailed, Server, waits_in_hooks
from dosimeter.monitor.bench.variants import bank_of

TAPPED = "1 layer"
SMALL = Setting(
    device="cpu",
    layers=2,
    width=128,
    batches=(3,),
    prompt=12,
    new=16,
    probes=4,
    rounds=1,
    tapped={TAPPED: ((1,), 2.0)},
)


def runs(*token_s: float, **more: int) -> list[Run]:
    return [Run(one, **more) for one in token_s]


def test_the_tap_is_set_against_the_bare_run_of_its_round() -> None:
    found = {
        (3, BARE): runs(0.010, 0.020, 0.010),
        (3, AGAIN): runs(0.010, 0.021, 0.0099),
        (3, TAPPED): runs(0.0101, 0.0206, 0.0102, served=20, scored=15, unaccounted=1),
    }
    figures = {figure.name: figure for figure in gpu.compared(3, found, SMALL)}
    assert figures["batch 3: time per output token"].value == pytest.approx(10)
    assert figures[f"batch 3, {AGAIN}: more"].value == pytest.approx(0)
    assert figures[f"batch 3, {TAPPED}: more"].value == pytest.approx(2)
    most = figures[f"batch 3, {TAPPED}: more, at most"]
    assert (most.value, most.met) == (pytest.approx(3), False)
    assert figures[f"batch 3, {TAPPED}: tokens scored"].value == 75
    assert figures[f"batch 3, {TAPPED}: tokens unaccounted"].value == 3


def test_a_small_server_scores_every_token_and_the_bench_counts_them() -> None:
    result = gpu.run(SMALL)
    figures = {figure.name: figure for figure in result.figures}
    assert figures[f"batch 3, {TAPPED}: tokens scored"].value == 100
    assert figures[f"batch 3, {TAPPED}: tokens unaccounted"].value == 0
    assert figures["times that a hook made the server wait"].value == 0
    assert "torch" in result.notes[0]


def test_what_is_served_is_each_prompt_and_all_but_the_last_token_of_its_answer() -> None:
    server = Server("cpu", SMALL.layers, SMALL.width)
    run = server.run(bank_of(4, (0, 1), SMALL.width), 2, 12, 16)
    assert (run.served, run.scored, run.unaccounted) == (54, 54, 0)
    assert server.run(None, 2, 12, 16).served == 0


def test_where_no_hook_runs_nothing_is_said_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("cpu", SMALL.layers, SMALL.width)
    monkeypatch.setattr(
        "dosimeter.monitor.taps.probe_op.ProbeOp.install", lambda self, blocks: None
    )
    with pytest.raises(RunFailed, match="no hook read a row"):
        waits_in_hooks(server, bank_of(4, (1,), SMALL.width), 12)


def test_without_a_gpu_it_says_that_nothing_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 3
    assert "not shown: torch sees no CUDA device" in capsys.readouterr().err
