"""The tap in vLLM's worker, on a runner made of vLLM's own steps: nothing of ours may break one of them.

vLLM itself is not needed here; `test_vllm_serve` runs the same code inside it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from dosimeter.detectors.frames import to_codes
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.vllm_ends import ATTRIBUTE
from dosimeter.monitor.taps.vllm_model import blocks
from dosimeter.monitor.taps.vllm_runner import watch_runner
from dosimeter.monitor.taps.vllm_session import KEY, Session
from dosimeter.monitor.taps.vllm_worker import Watch

from .conftest import Small, hidden_of
from .test_sender import Listener
from .test_vllm_modes import config

SESSION = Session(77, "5e" * 16)


class Flat(nn.Module):
    """As vLLM's models: tokens of a step in one row, blocks under `model.layers`."""

    def __init__(self, small: Small) -> None:
        super().__init__()
        self.model = small.model().model

    def forward(self, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = self.model(
                input_ids=input_ids[None], position_ids=positions[None], use_cache=False
            ).last_hidden_state
        return found

    def load_weights(self, scale: float) -> None:
        """As vLLM's loaders write: not into the parameter, but into its `data`."""
        weight = self.model.layers[0].mlp.up_proj.weight
        weight.data.copy_(weight * scale)


class Runner:
    """Runner V1, one request a step: the batch is known only inside `execute_model`."""

    def __init__(self, small: Small, **changes: Any) -> None:
        self.vllm_config = config(**changes)
        self.vllm_config.parallel_config.data_parallel_rank = 0
        self.vllm_config.cache_config.block_size = 16
        self.vllm_config.model_config.model = str(small.folder)
        self.vllm_config.model_config.revision = None
        self.vllm_config.additional_config = {"theirs": 1}
        self.small = small
        self.input_batch = SimpleNamespace(req_ids=[], num_computed_tokens_cpu=np.zeros(4, int))
        self.raises: Exception | None = None
        self.steps = 0

    def load_model(self) -> None:
        self.model = Flat(self.small)

    def reload_weights(self) -> None:
        pass

    def get_model(self) -> nn.Module:
        return self.model

    def execute_model(self, scheduler_output: Any) -> str:
        scheduled = scheduler_output.num_scheduled_tokens
        if not scheduled:
            return "nothing to run"
        self.input_batch.req_ids = list(scheduled)
        self._prepare_inputs(scheduler_output, np.array(list(scheduled.values())))
        if self.raises is not None:
            raise self.raises
        ids = torch.tensor(scheduler_output.ids)
        self.model(input_ids=ids, positions=torch.arange(len(ids)))
        self.steps += 1
        return "ran"

    def _prepare_inputs(self, scheduler_output: Any, scheduled: npt.NDArray[np.int64]) -> None:
        pass

    def sample_tokens(self, grammar_output: Any) -> Any:
        raise NotImplementedError


class RunnerV2(Runner):
    """Runner V2: each step's batch is what a method of another name returns."""

    _prepare_inputs = property()  # type: ignore[assignment]

    def execute_model(self, scheduler_output: Any) -> str:
        scheduled = scheduler_output.num_scheduled_tokens
        if scheduled:
            self.prepare_inputs(scheduler_output)
            ids = torch.tensor(scheduler_output.ids)
            self.model(input_ids=ids, positions=torch.arange(len(ids)))
        return "ran"

    def prepare_inputs(self, scheduler_output: Any) -> Any:
        counts = list(scheduler_output.num_scheduled_tokens.values())
        return SimpleNamespace(
            req_ids=list(scheduler_output.num_scheduled_tokens),
            num_computed_tokens_np=np.zeros(len(counts), int),
            query_start_loc_np=np.cumsum([0, *counts]),
        )


class Wire:
    """Stands where the sender does, and keeps what it is told."""

    def __init__(self, hello: Callable[[], dict[str, Any]]) -> None:
        self.hello = hello
        self.opened: list[dict[str, Any]] = []
        self.closed: list[dict[str, Any]] = []
        self.states: list[tuple[str, str | None]] = []
        self.rows: list[tuple[int, int, int]] = []
        self.codes: list[npt.NDArray[np.int16]] = []

    def greet(self, change: Callable[[], None] = lambda: None) -> None:
        change()
        said = self.hello()
        self.states.append((said["state"], said["reason"]))

    def control(self, kind: Any, record: dict[str, Any]) -> None:
        {"OPEN": self.opened, "CLOSE": self.closed}[kind.name].append(record)

    def step(self, rows: Any, codes: Any, hook_ns: int, time_ns: int) -> tuple[int, None]:
        self.rows += [row[:3] for row in rows.tolist()]
        self.codes.append(codes)
        return len(codes), None

    def failed(self, rows: int) -> None:
        pass


class Engine:
    """A scheduler for one request at a time, and the runner it tells."""

    def __init__(self, runner: Runner, settings: TapSettings) -> None:
        self.runner = runner
        self.watch: Watch = watch_runner(runner, settings, SESSION, "0.32.0")
        self.wire = Wire(self.watch.hello)
        self.watch.sender.close()
        self.watch.sender = self.wire  # type: ignore[assignment]
        runner.load_model()

    def run(self, name: str, ids: list[int], **args: Any) -> None:
        """A whole request: its prompt in one step, one token sampled, and the empty step that says it is over."""
        params = SimpleNamespace(extra_args={KEY: SESSION.sealed(**args)} if args else None)
        new = SimpleNamespace(
            req_id=name, prompt_token_ids=ids, prompt_len=len(ids), sampling_params=params
        )
        self.step(SimpleNamespace(new=[new], ended={}, ids=ids, scheduled={name: len(ids)}))
        ended = {name: ("FINISHED_LENGTH_CAPPED", len(ids), 1, len(ids))}
        self.step(SimpleNamespace(new=[], ended=ended, ids=[], scheduled={}))

    def step(self, what: SimpleNamespace) -> Any:
        output = SimpleNamespace(
            scheduled_new_reqs=what.new,
            finished_req_ids=set(what.ended),
            num_scheduled_tokens=what.scheduled,
            scheduled_spec_decode_tokens=getattr(what, "drafts", {}),
            ids=what.ids,
        )
        setattr(output, ATTRIBUTE, what.ended)
        return self.runner.execute_model(output)

    def canary(self, small: Small) -> None:
        self.run("canary", list(small.pack.fingerprint.token_ids), canary=small.pack.name)


def scoring(small: Small) -> TapSettings:
    return TapSettings("none.sock", (str(small.pack_folder),))


@pytest.fixture(params=[Runner, RunnerV2])
def engine(small: Small, request: pytest.FixtureRequest) -> Iterator[Engine]:
    return Engine(request.param(small), scoring(small))


@pytest.fixture
def engine_v1(small: Small) -> Engine:
    return Engine(Runner(small), scoring(small))


PROMPT = [1, 40, 41, 42, 43]


def test_a_request_after_the_canary_is_scored_and_the_canary_is_nobodys(
    engine: Engine, small: Small
) -> None:
    engine.canary(small)
    call = {"labels": {"tenant": "acme"}, "trusted": ["tenant"], "call": "c0"}
    engine.run("a", PROMPT, **call, spans=[[2, 0, 5]], spans_exact=True)
    assert [state for state, _ in engine.wire.states] == ["blind", "live"]
    (opened,), (closed,) = engine.wire.opened, engine.wire.closed
    assert (opened["key"], opened["labels"], opened["call"]) == (1, {"tenant": "acme"}, "c0")
    assert (opened["spans"], opened["spans_exact"]) == ([[2, 0, 5]], True)
    assert engine.wire.rows == [(1, 0, 5)]
    hidden = hidden_of(small.model(), PROMPT)
    columns = [np.einsum("ltd,ld->t", hidden, p.weights) + p.bias for p in small.pack.probes]
    expected = to_codes(np.stack(columns, axis=1))
    assert np.abs(engine.wire.codes[0].astype(int) - expected).max() <= 1
    assert (closed["served"], closed["emitted"], closed["errors"]) == (5, 5, {})
    assert (closed["served_source"], closed["call"]) == ("scheduler", "c0")


def test_prefixes_are_shared_only_under_the_salt_that_the_front_was_told(
    engine_v1: Engine, small: Small
) -> None:
    """Its tokens are looked up while it runs, and nothing of it is kept when it is over; a canary's never are."""
    canary = list(small.pack.fingerprint.token_ids)
    for name, ids, said in (
        ("canary", canary, {"canary": small.pack.name}),
        ("a", PROMPT, {"call": "c0", "labels": {}, "trusted": [], "salt": "tenant 7"}),
        ("b", PROMPT, {}),
    ):
        params = SimpleNamespace(extra_args={KEY: SESSION.sealed(**said)} if said else None)
        new = SimpleNamespace(
            req_id=name, prompt_token_ids=ids, prompt_len=len(ids), sampling_params=params
        )
        engine_v1.step(SimpleNamespace(new=[new], ended={}, ids=ids, scheduled={name: len(ids)}))
    running = {name: one.request for name, one in engine_v1.watch.alive.running.items()}
    assert running["canary"].ids is None
    assert (running["a"].salt, running["b"].salt) == (b"tenant 7", b"")
    assert running["a"].ids is not None
    assert running["a"].ids(1, 3) == PROMPT[1:3]
    ended = dict.fromkeys(("a", "b"), ("FINISHED_LENGTH_CAPPED", 5, 1, 5))
    engine_v1.step(SimpleNamespace(new=[], ended=ended, ids=[], scheduled={}))
    assert (running["a"].ids, running["a"].chain) == (None, None)


def test_compiled_models_are_kept_apart_by_whether_and_which_probes_are_in_them(
    engine_v1: Engine, small: Small
) -> None:
    """vLLM finds what it compiled by a hash of this; one that was compiled without a tap left it blind."""
    kept = engine_v1.runner.vllm_config.additional_config
    assert kept["theirs"] == 1
    assert len(kept["dosimeter"]) == 64
    assert "dosimeter" not in Runner(small).vllm_config.additional_config


def test_nothing_is_reported_over_a_path_that_is_not_proven(engine_v1: Engine) -> None:
    """A server started without our front: its tokens are counted, with a reason that says what is missing."""
    engine_v1.run("a", PROMPT)
    assert engine_v1.wire.rows == []
    assert engine_v1.wire.closed[0]["errors"] == {"tap_error": 5}
    assert "--middleware" in str(engine_v1.wire.states[-1][1])


def test_a_canary_with_another_answer_takes_the_hooks_off_and_the_server_goes_on(
    engine_v1: Engine, small: Small
) -> None:
    engine_v1.run("canary", list(range(30, 46)), canary=small.pack.name)
    state, reason = engine_v1.wire.states[-1]
    assert state == "blind"
    assert "differ from the known answer" in str(reason)
    engine_v1.run("a", PROMPT)
    assert engine_v1.runner.steps == 2
    assert engine_v1.wire.closed[0]["errors"] == {"unsupported": 5}
    assert not any(block._forward_hooks for block in blocks(engine_v1.runner.model))


def test_a_forged_canary_proves_nothing(engine_v1: Engine, small: Small) -> None:
    """`extra_args` is open to clients; without the secret it is a request like any other."""
    ids = list(small.pack.fingerprint.token_ids)
    forged = SimpleNamespace(extra_args={KEY: {"secret": "0" * 32, "canary": small.pack.name}})
    new = SimpleNamespace(
        req_id="x", prompt_token_ids=ids, prompt_len=len(ids), sampling_params=forged
    )
    engine_v1.step(SimpleNamespace(new=[new], ended={}, ids=ids, scheduled={"x": len(ids)}))
    assert engine_v1.wire.states[-1][0] == "blind"
    assert engine_v1.wire.opened[0]["labels"] == {}


def test_a_late_canary_of_another_api_process_makes_no_blind_tap_live(
    engine_v1: Engine, small: Small
) -> None:
    """Each API process sends one. Its end was once taken for a proof, of a tap whose breaker had opened since."""
    engine_v1.canary(small)
    engine_v1.watch._breaker("5 failed steps in a row")
    engine_v1.canary(small)
    assert engine_v1.wire.states[-1] == ("blind", "5 failed steps in a row")


def test_a_refused_mode_is_served_and_counted_with_the_settings_name(small: Small) -> None:
    engine = Engine(Runner(small, speculative_config=object()), scoring(small))
    assert engine.wire.states[-1][0] == "blind"
    assert "or without `--speculative-config`" in str(engine.wire.states[-1][1])
    engine.run("a", PROMPT)
    assert engine.runner.steps == 1
    assert engine.wire.closed[0]["errors"] == {"unsupported": 5}


def test_a_pack_of_another_model_refuses_to_score_and_never_to_serve(small: Small) -> None:
    engine = Engine(Runner(small), TapSettings("none.sock"))
    assert engine.wire.states[-1] == ("no-pack", "no pack is configured for this model")
    engine.run("a", PROMPT)
    assert engine.wire.closed[0]["errors"] == {"no_pack": 5}


def test_what_the_scheduler_says_otherwise_costs_us_a_request_and_not_the_server_its_step(
    engine_v1: Engine, small: Small
) -> None:
    engine_v1.canary(small)
    assert engine_v1.runner.execute_model(SimpleNamespace(num_scheduled_tokens={})) is not None
    assert engine_v1.watch.requests.errors == 1
    engine_v1.run("a", PROMPT)
    assert engine_v1.wire.rows == [(1, 0, 5)]


def test_an_exception_of_the_server_is_its_own_and_its_rows_were_never_served(
    engine_v1: Engine, small: Small
) -> None:
    engine_v1.canary(small)
    engine_v1.runner.raises = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        engine_v1.run("a", PROMPT)
    engine_v1.runner.raises = None
    engine_v1.run("b", PROMPT)
    assert engine_v1.wire.rows == [(2, 0, 5)]


def test_a_forward_outside_a_step_is_nobodys(engine_v1: Engine, small: Small) -> None:
    """Profiling and warm-up run the model on made-up tokens."""
    engine_v1.canary(small)
    engine_v1.runner.model(input_ids=torch.tensor([1, 2]), positions=torch.arange(2))
    assert engine_v1.wire.rows == []
    engine_v1.run("a", PROMPT)
    assert engine_v1.wire.rows == [(1, 0, 5)]


def test_an_id_that_comes_again_is_another_request(engine_v1: Engine, small: Small) -> None:
    """An id may be finished and new in one output of the scheduler: the end is the former's."""
    engine_v1.canary(small)
    for ended in ({}, {"a": ("FINISHED_ABORTED", 5, 1, 5)}):
        params = SimpleNamespace(extra_args=None)
        new = SimpleNamespace(
            req_id="a", prompt_token_ids=PROMPT, prompt_len=5, sampling_params=params
        )
        engine_v1.step(SimpleNamespace(new=[new], ended=ended, ids=PROMPT, scheduled={"a": 5}))
    assert [one["key"] for one in engine_v1.wire.opened] == [1, 2]
    assert [(one["key"], one["outcome"]) for one in engine_v1.wire.closed] == [(1, "cancelled")]


@pytest.mark.parametrize("by", ["runner", "model"])
def test_weights_that_were_reloaded_are_another_model(
    engine_v1: Engine, small: Small, by: str
) -> None:
    """A trainer puts new weights into a running server, by the runner or past it: no pack is bound to those."""
    engine_v1.canary(small)
    if by == "runner":
        engine_v1.runner.reload_weights()
    else:
        engine_v1.runner.get_model().load_weights(scale=1.5)  # type: ignore[operator]
    assert engine_v1.wire.states[-1][0] == "blind"
    engine_v1.run("a", PROMPT)
    assert engine_v1.wire.rows == []
    assert engine_v1.wire.closed[0]["errors"] == {"unsupported": 5}


def test_a_word_of_one_thread_takes_back_nothing_that_another_has_said_meanwhile(
    engine_v1: Engine, tmp_path: Path
) -> None:
    """Found by review on 2026-11-30: the record was made before the sender's lock was taken. What another thread said
    in between was said back for up to a second: columns of packs that were gone, before rows of those that had come."""
    listener, watch = Listener(tmp_path / "tap.sock"), engine_v1.watch
    watch.sender = sender = Sender(listener.path, 7, lambda: watch.hello(), list)
    sender.tick()
    said, columns = watch.hello, [{"feature": "new", "pack": "", "packName": ""}]
    change = functools.partial(setattr, watch.state, "columns", columns)
    other = threading.Thread(target=sender.greet, args=(change,))

    def hello() -> dict[str, Any]:
        """The other gets its turn while a record is made, if nothing keeps it."""
        record = said()
        if other.ident is None:
            other.start()
            other.join(0.1)
        return record

    watch.hello = hello  # type: ignore[method-assign]
    watch.say("live", None)
    other.join()
    found = listener.read()
    listener.close()
    sender.close()
    assert [one.kind.name for one in found] == ["HELLO"] * 3
    last = found[-1].body
    assert isinstance(last, dict)
    assert (last["state"], last["columns"]) == ("live", columns)
