"""The tap in SGLang's scheduler process, on a scheduler and a runner made of its own steps.

SGLang itself is not needed here; `test_sglang_serve` runs the same code inside it.
"""

from __future__ import annotations

import gc
import json
from array import array
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dosimeter.detectors.frames import to_codes
from dosimeter.monitor.taps import sglang
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.sglang_worker import Watch
from dosimeter.monitor.taps.vllm_model import blocks
from dosimeter.monitor.taps.vllm_session import KEY, Session

from .conftest import Small, hidden_of
from .test_sglang_modes import config
from .test_vllm_worker import Wire

SESSION = Session(77, "5e" * 16)
PROMPT = [1, 40, 41, 42, 43]


class Stream:
    """As SGLang's `ResidualStream`: what a block returned waits beside the sum that it is to be added to."""

    def __init__(self, residual: torch.Tensor) -> None:
        self.residual, self.pending = residual, None

    def snapshot(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.residual


class Block(nn.Module):
    """Returns what it adds to the residual stream, and leaves the stream in the batch."""

    def __init__(self, inner: nn.Module, rotary: nn.Module) -> None:
        super().__init__()
        self.inner, self.rotary = inner, [rotary]

    def forward(self, positions: torch.Tensor, hidden: torch.Tensor, forward_batch: Any) -> Any:
        stream = forward_batch.residual_stream
        before = hidden if stream is None else hidden + stream.residual
        around = self.rotary[0](before[None], positions[None])
        after = self.inner(before[None], position_embeddings=around)[0]
        forward_batch.residual_stream = Stream(before)
        return after - before


class Decoder(nn.Module):
    def __init__(self, small: Small) -> None:
        super().__init__()
        model = small.model().model
        self.embed, self.norm = model.embed_tokens, model.norm
        self.layers = nn.ModuleList(Block(one, model.rotary_emb) for one in model.layers)

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, forward_batch: Any) -> Any:
        hidden = self.embed(ids)
        for layer in self.layers:
            hidden = layer(positions, hidden, forward_batch)
        forward_batch.residual_stream = None
        return hidden


class Model(nn.Module):
    def __init__(self, small: Small) -> None:
        super().__init__()
        self.model = Decoder(small)

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, forward_batch: Any) -> Any:
        with torch.no_grad():
            return self.model(ids, positions, forward_batch)


class Runner:
    """As `ModelRunner`: the model's `forward` is called past its hooks, on a copy of the batch."""

    is_draft_worker = False

    def __init__(self, small: Small) -> None:
        self.model = Model(small)
        self.raises: Exception | None = None
        self.replays = False
        self.steps = 0

    def forward(self, forward_batch: Any) -> str:
        if self.raises is not None:
            raise self.raises
        if not self.replays:
            run = SimpleNamespace(**vars(forward_batch))
            self.model.forward(run.ids, torch.arange(len(run.ids)), run)
        self.steps += 1
        return "ran"


class Req:
    def __init__(self, rid: str, ids: list[int], ours: Any = None, beams: Any = None) -> None:
        self.rid, self.origin_input_ids = rid, array("q", ids)
        self.output_ids = array("q")
        params = {} if ours is None else {KEY: ours}
        self.sampling_params = SimpleNamespace(custom_params={"theirs": 1} | params)
        self.beam_group, self.extra_key, self.cache_salt = beams, None, None
        self.finished_reason: Any = None

    def finished(self) -> bool:
        return self.finished_reason is not None


def over(kind: str, status: int | None = None) -> SimpleNamespace:
    return SimpleNamespace(to_json=lambda: {"type": kind, "status_code": status})


class Scheduler:
    """For one request at a time; its methods call ours as SGLang's registry does."""

    def __init__(self, small: Small, settings: TapSettings, **changes: Any) -> None:
        self.runner = Runner(small)
        changed = config(**changes)
        changed.model.model_path = str(small.folder)
        self.watch = Watch(self.runner, settings, SESSION, changed, "0.5.23")
        self.watch.sender.close()
        self.wire = Wire(self.watch.hello)
        self.watch.sender = self.wire  # type: ignore[assignment]
        self.watch.loaded(self.runner.model)
        sglang._watch = self.watch

    def queue(self, *how: Any, **more: Any) -> Req:
        req = Req(*how, **more)
        sglang.queued(None, req)
        return req

    def prompt(self, req: Req, start: int = 0) -> None:
        ids = list(req.origin_input_ids)[start:]
        self.step(
            req, ids, "EXTEND", extend_prefix_lens_cpu=[start], extend_seq_lens_cpu=[len(ids)]
        )

    def step(self, req: Req, ids: list[int], mode: str, **lengths: Any) -> str:
        made = SimpleNamespace(
            forward_mode=SimpleNamespace(name=mode),
            rids=[req.rid],
            ids=torch.tensor(ids),
            residual_stream=None,
            **lengths,
        )
        sglang.made(made, None, SimpleNamespace(reqs=[req]))
        return str(sglang.forward(Runner.forward, self.runner, made))

    def process(self, req: Req, token: int, reason: Any = None) -> None:
        req.output_ids.append(token)
        req.finished_reason = reason
        sglang.processed(None, None, SimpleNamespace(reqs=[req]))

    def run(self, rid: str, ids: list[int], ours: Any = None) -> Req:
        """A whole request: its prompt in one step, and one token sampled."""
        req = self.queue(rid, ids, ours)
        self.prompt(req)
        self.process(req, 9, over("length"))
        return req

    def canary(self, small: Small) -> None:
        self.run("c", list(small.pack.fingerprint.token_ids), said(canary=small.pack.name))


def said(**what: Any) -> str:
    return json.dumps(SESSION.sealed(**what))


def scoring(small: Small) -> TapSettings:
    return TapSettings("none.sock", (str(small.pack_folder),))


@pytest.fixture
def scheduler(small: Small) -> Iterator[Scheduler]:
    yield Scheduler(small, scoring(small))
    sglang._watch = None


@pytest.fixture
def proven(scheduler: Scheduler, small: Small) -> Scheduler:
    scheduler.canary(small)
    return scheduler


def expected(small: Small, ids: list[int]) -> np.ndarray:
    hidden = hidden_of(small.model(), ids)
    columns = [np.einsum("ltd,ld->t", hidden, p.weights) + p.bias for p in small.pack.probes]
    return to_codes(np.stack(columns, axis=1))


def test_the_stream_is_read_where_it_waits_and_not_what_a_block_returns(
    proven: Scheduler, small: Small
) -> None:
    """A block's output alone is what it adds: read for the stream, every score would be of something else."""
    call = {"labels": {"tenant": "acme"}, "trusted": ["tenant"], "call": "c0"}
    req = proven.run("a", PROMPT, said(**call, spans=[[2, 0, 5]], spans_exact=True))
    assert [state for state, _ in proven.wire.states] == ["blind", "live"]
    (opened,), (closed,) = proven.wire.opened, proven.wire.closed
    assert (opened["key"], opened["labels"], opened["call"]) == (1, {"tenant": "acme"}, "c0")
    assert (opened["spans"], opened["spans_exact"]) == ([[2, 0, 5]], True)
    assert proven.wire.rows == [(1, 0, 5)]
    assert np.abs(proven.wire.codes[0].astype(int) - expected(small, PROMPT)).max() <= 1
    assert (closed["served"], closed["emitted"], closed["errors"]) == (5, 5, {})
    assert (closed["served_source"], closed["call"]) == ("scheduler", "c0")
    assert req.sampling_params.custom_params == {"theirs": 1}


def test_a_prefix_that_the_server_takes_from_its_cache_gets_the_scores_it_had(
    proven: Scheduler,
) -> None:
    proven.run("a", PROMPT)
    second = proven.queue("b", PROMPT)
    proven.prompt(second, start=3)
    proven.process(second, 9, over("length"))
    assert proven.wire.rows == [(1, 0, 5), (2, 0, 3), (2, 3, 2)]
    assert np.array_equal(proven.wire.codes[1][:3], proven.wire.codes[0][:3])
    closed = proven.wire.closed[-1]
    assert (closed["served"], closed["emitted"], closed["reused"]) == (5, 5, 3)


def test_a_decode_is_a_row_and_a_step_sent_ahead_of_the_end_is_nobodys(proven: Scheduler) -> None:
    req = proven.queue("a", PROMPT)
    proven.prompt(req)
    proven.process(req, 50)
    proven.step(req, [50], "DECODE", seq_lens_cpu=[6])
    proven.process(req, 51, over("stop"))
    proven.step(req, [51], "DECODE", seq_lens_cpu=[7])
    assert proven.wire.rows == [(1, 0, 5), (1, 5, 1)]
    assert (proven.wire.closed[0]["served"], proven.wire.closed[0]["completion_tokens"]) == (6, 2)


def test_nothing_is_reported_over_a_path_that_is_not_proven(scheduler: Scheduler) -> None:
    scheduler.run("a", PROMPT)
    assert scheduler.wire.rows == []
    assert scheduler.wire.closed[0]["errors"] == {"tap_error": 5}
    assert "canary" in str(scheduler.wire.states[-1][1])


def test_a_graph_that_is_replayed_is_not_read_and_the_tap_says_so(proven: Scheduler) -> None:
    """Hooks run when a graph is captured, and never in a replay."""
    proven.runner.replays = True
    for number in range(5):
        proven.run(f"r{number}", PROMPT)
    state, reason = proven.wire.states[-1]
    assert state == "blind"
    assert "0 of 2 tapped blocks were seen" in str(reason)
    assert [one["errors"] for one in proven.wire.closed] == [{"tap_error": 5}] * 5
    assert proven.wire.rows == []


def test_a_mode_without_a_row_map_costs_the_step_and_not_the_server(proven: Scheduler) -> None:
    req = proven.queue("a", PROMPT)
    assert proven.step(req, PROMPT, "TARGET_VERIFY") == "ran"
    assert proven.wire.rows == []
    proven.run("b", PROMPT)
    assert proven.wire.rows == [(2, 0, 5)]


def test_a_refused_mode_is_served_and_counted_with_the_options_name(small: Small) -> None:
    refused = Scheduler(small, scoring(small), args__speculative_algorithm="EAGLE")
    assert refused.wire.states[-1][0] == "blind"
    assert "start without `--speculative-algorithm`" in str(refused.wire.states[-1][1])
    refused.run("a", PROMPT)
    assert refused.runner.steps == 1
    assert refused.wire.closed[0]["errors"] == {"unsupported": 5}
    sglang._watch = None


def test_beams_are_refused_and_counted_and_blind_nobody_else(proven: Scheduler) -> None:
    req = proven.queue("a", PROMPT, beams=object())
    proven.prompt(req)
    proven.process(req, 9, over("length"))
    assert proven.wire.rows == []
    assert proven.wire.closed[0]["errors"] == {"unsupported": 5}
    proven.run("b", PROMPT)
    assert proven.wire.rows == [(2, 0, 5)]


@pytest.mark.parametrize(("status", "outcome"), [(None, "cancelled"), (503, "failed")])
def test_a_request_that_is_aborted_says_whose_word_it_was(
    proven: Scheduler, status: int | None, outcome: str
) -> None:
    """A client that left has no reply to give a status to."""
    req = proven.queue("a", PROMPT)
    proven.prompt(req)
    proven.process(req, 9, over("abort", status))
    assert proven.wire.closed[0]["outcome"] == outcome
    assert proven.wire.closed[0]["served"] == 5


def test_a_request_that_was_waiting_and_one_that_was_dropped_are_closed(proven: Scheduler) -> None:
    waiting = proven.queue("a", PROMPT)
    sglang.aborted(None, None, None, waiting)
    proven.queue("b", PROMPT)
    gc.collect()
    proven.run("c2", PROMPT)
    assert [(one["key"], one["outcome"], one["served"]) for one in proven.wire.closed] == [
        (1, "cancelled", 0),
        (2, "failed", 0),
        (3, "finished", 5),
    ]


def test_a_request_that_is_put_off_is_the_same_when_it_comes_again(proven: Scheduler) -> None:
    req = proven.queue("a", PROMPT)
    proven.prompt(req)
    sglang.queued(None, req)
    proven.prompt(req)
    proven.process(req, 9, over("length"))
    assert len(proven.wire.opened) == 1
    assert (proven.wire.closed[0]["served"], proven.wire.closed[0]["emitted"]) == (5, 5)


def test_a_forged_canary_proves_nothing(scheduler: Scheduler, small: Small) -> None:
    """`custom_params` is open to clients; without the secret it is a request like any other."""
    ids = list(small.pack.fingerprint.token_ids)
    for forged in (json.dumps({"secret": "0" * 32, "canary": small.pack.name}), {"canary": 1}, "{"):
        scheduler.run("x", ids, forged)
    assert scheduler.wire.states[-1][0] == "blind"
    assert [one["labels"] for one in scheduler.wire.opened] == [{}] * 3


def test_a_warm_up_is_nobodys(proven: Scheduler) -> None:
    """It is made of no batch of the scheduler's."""
    made = SimpleNamespace(
        forward_mode=SimpleNamespace(name="DECODE"),
        rids=["a"],
        ids=torch.tensor([4]),
        residual_stream=None,
        seq_lens_cpu=[1],
    )
    sglang.forward(Runner.forward, proven.runner, made)
    assert proven.wire.rows == []


def test_an_exception_of_the_server_is_its_own_and_its_rows_were_never_served(
    proven: Scheduler,
) -> None:
    proven.runner.raises = RuntimeError("out of memory")
    req = proven.queue("a", PROMPT)
    with pytest.raises(RuntimeError, match="out of memory"):
        proven.prompt(req)
    proven.runner.raises = None
    proven.run("b", PROMPT)
    assert proven.wire.rows == [(2, 0, 5)]


def test_weights_that_come_while_it_serves_take_the_tap_off(proven: Scheduler) -> None:
    sglang.updating()
    assert proven.wire.states[-1][0] == "blind"
    assert "reloaded" in str(proven.wire.states[-1][1])
    assert not any(block._forward_hooks for block in blocks(proven.runner.model))
