"""Leave to capture in vLLM's worker: nobody is looked for before the path is proven, and blocks are read as vLLM's.

On a runner made of vLLM's own steps; `test_vllm_serve` asks the real one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dosimeter.monitor.capture.asking import NotTaken
from dosimeter.monitor.taps import capturing, sglang_worker, vllm_model
from dosimeter.monitor.taps.capture_steps import Place
from dosimeter.monitor.taps.vllm_worker import Watch

from . import test_vllm_worker
from .capture_scene import captured
from .conftest import Small, hidden_of
from .test_vllm_worker import PROMPT, Engine, Runner, scoring


class Wire(test_vllm_worker.Wire):
    """A sidecar hears all of it. captures: as the greeting said."""

    epoch, connected, all_said = 7, True, True

    def __init__(self, hello: Callable[[], dict[str, Any]]) -> None:
        super().__init__(hello)
        self.captures: list[str] = []

    def greet(self, change: Callable[[], None] = lambda: None) -> None:
        super().greet(change)
        said = self.hello()["capture"]
        if said is not None:
            self.captures.append(f"{said['state']} {said.get('why', '')}".strip())


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(test_vllm_worker, "Wire", Wire)
    monkeypatch.setattr(capturing, "LOOK_S", 0.01)
    yield
    for one in looking():
        one.join(60)
        assert not one.is_alive()


def looking() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "dosimeter-capture"]


@pytest.fixture
def engine(small: Small, tmp_path: Path, looked: None) -> Iterator[Engine]:
    """Started with leave."""
    made = Engine(Runner(small), replace(scoring(small), capture=str(tmp_path / "c.sock")))
    yield made
    if made.watch._capturing is not None:
        made.watch._capturing.end()


def test_rows_are_the_models_own_and_nobody_is_looked_for_before_the_canary_is_through(
    engine: Engine, small: Small, tmp_path: Path
) -> None:
    assert looking() == []
    engine.canary(small)
    assert len(looking()) == 1
    with captured(tmp_path / "c.sock") as got:
        engine.run("a", PROMPT, labels={"tenant": "acme"}, trusted=["tenant"], call="c0")
        engine.run("b", PROMPT[:3])
    assert got.about["epoch"] == f"{7:016x}"
    assert [record["labels"] for record in got.requests.values()] == [{"tenant": "acme"}, {}]
    assert all(record["whole"] for record in got.requests.values())
    for key, ids in zip(got.requests, (PROMPT, PROMPT[:3]), strict=True):
        assert np.abs(got.hidden(key) - hidden_of(small.model(), ids)).max() < 1e-5
    assert isinstance(engine.wire, Wire)
    assert engine.wire.captures == ["began", "ended whoever asked has ended it"]


def test_without_leave_no_block_but_the_probes_is_hooked(small: Small, looked: None) -> None:
    bare = Engine(Runner(small), scoring(small))
    bare.canary(small)
    assert looking() == []
    assert bare.watch.tap is not None
    assert bare.watch.tap.captures is None


def test_a_server_that_runs_graphs_refuses_and_says_why(
    engine: Engine, small: Small, tmp_path: Path
) -> None:
    engine.canary(small)
    assert engine.watch.tap is not None
    engine.watch.tap.op.compiled = True  # type: ignore[attr-defined]
    with (
        pytest.raises(NotTaken, match="runs compiled graphs, which are not captured"),
        captured(tmp_path / "c.sock"),
    ):
        pass


def test_other_weights_end_a_capture(engine: Engine, small: Small, tmp_path: Path) -> None:
    engine.canary(small)
    with captured(tmp_path / "c.sock") as got:
        engine.run("a", PROMPT)
        engine.runner.reload_weights()
        assert got.ended.wait(60)
        engine.run("b", PROMPT)
    assert got.why == "the model is gone"
    assert len(got.requests) == 1


def test_leave_that_an_engine_does_not_take_costs_no_score_and_is_said(
    small: Small, tmp_path: Path, looked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SGLang: its blocks were never captured from. Its variables may come from elsewhere than from `attach`."""
    assert not sglang_worker.Watch.lets_capture
    monkeypatch.setattr(Watch, "lets_capture", False)
    made = Engine(Runner(small), replace(scoring(small), capture=str(tmp_path / "c.sock")))
    made.canary(small)
    said = made.watch.hello()
    assert (said["state"], said["errors"]) == ("live", 1)
    assert "no activations leave vllm" in said["last_error"]
    assert looking() == []


def test_the_stream_of_a_block_that_leaves_its_last_addition_open_is_the_sum() -> None:
    """As vLLM's blocks do. Of the first of the pair alone every row would be something else, with no error."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return hidden, 10 * hidden

    blocks = [Block(), Block()]
    op = Place(blocks, vllm_model.residual).op((0, 1))
    op.install(blocks)
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    op.begin()
    for block in blocks:
        block(rows)
    assert op.read(2).tolist() == [[11, 22, 11, 22], [33, 44, 33, 44]]
