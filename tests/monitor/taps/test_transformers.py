"""Every row finds its request: continuous batching and `generate` against an unbatched forward.

The reference shares nothing with the tap: each sequence alone, one plain forward, float64 dot products.
"""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from transformers import (
    CompileConfig,
    ContinuousBatchingConfig,
    DynamicCache,
    GenerationConfig,
    LlamaForCausalLM,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.continuous_batching.model_runner import ModelRunner
from transformers.generation.continuous_batching.requests import RequestState

from dosimeter.monitor.taps import batch, continuous, drafted, generate, seams
from dosimeter.monitor.taps.attach import Seen, attach
from dosimeter.monitor.taps.probe_op import ProbeOp
from dosimeter.monitor.taps.requests import Request, Requests
from dosimeter.monitor.taps.rows import Entries
from dosimeter.monitor.taps.score_cache import ScoreCache
from dosimeter.monitor.taps.tap import Tap

from .conftest import Small, hidden_of

PROMPTS = [[15, 16, 17], [18, 19, 20, 21, 22, 23], [30, 31], list(range(40, 60))]
SHARED = list(range(30, 70))
TOLERANCE = 1e-5


def batched(
    prompts: Sequence[list[int]], new: int = 6, n: int = 1, **config: object
) -> Callable[[LlamaForCausalLM], list[list[int]]]:
    """Run prompts through `generate_batch`; returns the full sequences."""

    def go(model: LlamaForCausalLM) -> list[list[int]]:
        torch.manual_seed(0)
        generation = GenerationConfig(
            max_new_tokens=new,
            do_sample=n > 1,
            eos_token_id=-1,
            pad_token_id=0,
            num_return_sequences=n,
        )
        options = {
            "page_size": 16,
            "num_blocks": 64,
            "max_batch_tokens": 64,
            "allow_block_sharing": False,
            **config,
        }
        outputs = model.generate_batch(
            [list(p) for p in prompts],
            generation_config=generation,
            continuous_batching_config=ContinuousBatchingConfig(**options),
            warmup=False,
        )
        return [list(o.prompt_ids) + list(o.generated_tokens) for o in outputs.values()]

    return go


def generated(
    eos: int | None = None, **options: object
) -> Callable[[LlamaForCausalLM], list[list[int]]]:
    """Run PROMPTS left-padded through `generate`; sequences without padding, cut after `eos`."""

    def go(model: LlamaForCausalLM) -> list[list[int]]:
        width = max(len(p) for p in PROMPTS)
        ids = torch.tensor([[0] * (width - len(p)) + p for p in PROMPTS])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in PROMPTS])
        output = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=6,
            pad_token_id=0,
            **{"do_sample": False, "eos_token_id": eos, **options},
        )
        sequences = []
        for prompt, row in zip(PROMPTS, output.tolist(), strict=True):
            new = row[width:]
            stop = new.index(eos) + 1 if eos in new else len(new)
            sequences.append(prompt + new[:stop])
        return sequences

    return go


def run(
    small: Small, go: Callable[[LlamaForCausalLM], list[list[int]]]
) -> tuple[LlamaForCausalLM, Seen, list[list[int]]]:
    model = small.model()
    with attach(model, [small.pack]) as seen:
        sequences = go(model)
    model.set_attn_implementation("eager")
    return model, seen, sequences


def check(small: Small, model: LlamaForCausalLM, seen: Seen, sequences: list[list[int]]) -> int:
    """Compare every scored row with its reference; returns how many positions were not scored."""
    references = []
    for ids in sequences:
        hidden = hidden_of(model, ids).astype(np.float64)
        columns = [
            np.einsum("ltd,ld->t", hidden, p.weights.astype(np.float64)) + p.bias
            for p in small.pack.probes
        ]
        references.append(np.stack(columns, axis=1))
    assert len(seen.closed) == len(sequences)
    missing, fits = 0, []
    for key, close in sorted(seen.closed.items()):
        rows = seen.scores.get(key, {})
        fits.append(
            {
                index
                for index, reference in enumerate(references)
                if close["served"] == len(sequences[index]) - 1
                and all(np.abs(reference[p] - r).max() <= TOLERANCE for p, r in rows.items())
            }
        )
        assert not [p for p in rows if p >= close["served"]], "a row after the end"
        gap = close["served"] - len(rows)
        assert gap == close["cached"] + sum(close["errors"].values()), "a gap without a reason"
        missing += gap
    # A request with hardly a row agrees with several sequences, so the first that fits may be another's.
    assert any(
        all(index in fit for index, fit in zip(order, fits, strict=True))
        for order in itertools.permutations(range(len(sequences)))
    ), f"misattributed rows: requests agree with sequences {fits}"
    return missing


@pytest.mark.parametrize(
    "go",
    [
        pytest.param(batched(PROMPTS), id="packed"),
        pytest.param(batched(PROMPTS, max_batch_tokens=8), id="chunked prefill"),
        pytest.param(
            batched(
                [list(range(10, 26)), *(list(range(26 + i, 42 + i)) for i in range(5))],
                new=24,
                num_blocks=8,
                max_batch_tokens=32,
            ),
            id="preemption and recompute",
        ),
        pytest.param(generated(), id="generate, left padding"),
        pytest.param(generated(use_cache=False), id="generate without cache"),
        pytest.param(generated(cache_implementation="static"), id="generate, static cache"),
        pytest.param(generated(prefill_chunk_size=2), id="generate, chunked prefill"),
    ],
)
def test_every_position_is_scored_and_agrees_with_an_unbatched_forward(
    small: Small, go: Callable[[LlamaForCausalLM], list[list[int]]]
) -> None:
    assert check(small, *run(small, go)) == 0


def test_a_row_that_ends_early_leaves_no_padding_behind(small: Small) -> None:
    _, _, full = run(small, generated())
    eos = full[1][len(PROMPTS[1]) + 2]  # the second prompt now stops at its third token
    model, seen, sequences = run(small, generated(eos=eos))
    assert min(len(s) - len(p) for s, p in zip(sequences, PROMPTS, strict=True)) <= 3
    assert check(small, model, seen, sequences) == 0


class AfterTwo(StoppingCriteria):  # type: ignore[misc]
    """Ends the second row behind two tokens of its answer, as a stop string does."""

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        over = torch.zeros(len(input_ids), dtype=torch.bool)
        over[1] = input_ids.shape[1] == max(map(len, PROMPTS)) + 2
        return over


@pytest.mark.parametrize("eos", [None, 299])
def test_a_row_that_another_criterion_ends_leaves_no_padding_behind(
    small: Small, eos: int | None
) -> None:
    """The padding behind a stop string was scored as the row's answer. Without an end token there is no padding: the
    server goes on with the row."""
    _, _, full = run(small, generated(eos=eos))
    stop = StoppingCriteriaList([AfterTwo()])
    model, seen, sequences = run(small, generated(eos=eos, stopping_criteria=stop))
    if eos is not None:
        assert full[1] != sequences[1]
        sequences[1] = full[1][: len(PROMPTS[1]) + 2]
    assert sequences == [*full[:1], sequences[1], *full[2:]]
    assert check(small, model, seen, sequences) == 0


def test_tokens_from_the_prefix_cache_get_the_scores_they_had(small: Small) -> None:
    """Block sharing is on by default in the server: two of three requests skip 16 and more tokens."""
    prompts = [[*SHARED, 1], [*SHARED, 2], [*SHARED, 3, 4]]
    model, seen, sequences = run(
        small, batched(prompts, allow_block_sharing=True, max_batch_tokens=48)
    )
    assert check(small, model, seen, sequences) == 0
    reused = [close["reused"] for close in seen.closed.values()]
    assert sum(reused) > 0
    assert all(tokens % 16 == 0 for tokens in reused)


def test_a_turn_that_repeats_an_answer_gets_the_scores_of_that_answer(small: Small) -> None:
    """The server shares blocks of generated text too: a second turn sends the first answer back as prompt."""
    model = small.model()
    config = {"page_size": 8, "num_blocks": 64, "max_batch_tokens": 64}
    with attach(model, [small.pack]) as seen:
        manager = model.init_continuous_batching(
            generation_config=GenerationConfig(
                max_new_tokens=20, do_sample=False, eos_token_id=-1, pad_token_id=0
            ),
            continuous_batching_config=ContinuousBatchingConfig(**config),
        )
        manager.start()
        try:
            sequences: list[list[int]] = []
            turn = SHARED[:10]
            for _ in range(3):
                manager.add_request(turn, request_id=f"turn{len(sequences)}", max_new_tokens=20)
                output = manager.get_result(timeout=30)
                sequences.append(list(output.prompt_ids) + list(output.generated_tokens))
                turn = [*sequences[-1], 5, 6]
        finally:
            manager.stop(block=True)
    model.set_attn_implementation("eager")
    assert check(small, model, seen, sequences) == 0
    reused = [seen.closed[key]["reused"] for key in sorted(seen.closed)]
    # Whole pages of 8 of what had rows before: all but the last token of the turn before.
    assert reused == [0, (10 + 20 - 1) // 8 * 8, (30 + 2 + 20 - 1) // 8 * 8]


@pytest.mark.parametrize("length", [4, 16, 17, 21])
def test_children_of_a_fork_inherit_the_scores_of_the_prompt(small: Small, length: int) -> None:
    prompt = list(range(25, 25 + length))
    model, seen, sequences = run(small, batched([prompt], n=3))
    assert len(sequences) == 3
    assert check(small, model, seen, sequences) == 0
    children = [close for key, close in seen.closed.items() if "parent" in seen.opened[key]]
    assert [close["reused"] for close in children] == [length - 1] * 2


def test_scores_of_a_prefix_that_was_forgotten_stay_a_named_gap(small: Small) -> None:
    """The cache is bounded. A gap keeps its reason, and is never filled with another prefix's scores."""
    model = small.model()
    with attach(model, [small.pack]) as seen:
        assert seen.tap is not None
        seen.tap.cache = ScoreCache(b"seed", 2, np.float32, limit_bytes=1)
        assert seen.tap.cache.capacity == 1
        prompts = [[*SHARED, 1], [*SHARED, 2], [*SHARED, 3, 4]]
        sequences = batched(prompts, allow_block_sharing=True, max_batch_tokens=48)(model)
    model.set_attn_implementation("eager")
    missing = check(small, model, seen, sequences)
    assert missing == sum(close["cached"] for close in seen.closed.values()) > 0


def test_children_of_a_fork_have_keys_of_their_own(small: Small) -> None:
    _, seen, sequences = run(small, batched([[25, 26, 27, 28]], n=3))
    assert len(sequences) == len(seen.closed) == 3
    parents = [record.get("parent") for record in seen.opened.values()]
    assert parents.count(None) == 1


def test_beams_are_refused_and_every_token_counted(small: Small) -> None:
    model = small.model()
    with attach(model, [small.pack]) as seen:
        output = model.generate(torch.tensor([[5, 6, 7, 5, 6, 7, 5, 6]]), **GREEDY, num_beams=2)
    assert seen.scores == {}
    assert only(seen)["served"] == output.shape[1] - 1
    assert only(seen)["errors"] == {"unsupported": output.shape[1] - 1}


def test_two_requests_with_one_client_id_keep_their_rows_apart(small: Small) -> None:
    """Clients repeat ids; the scheduler of 5.23 is keyed by them, our keys are not."""
    model = small.model()
    generation = GenerationConfig(
        max_new_tokens=4, do_sample=False, eos_token_id=-1, pad_token_id=0
    )
    config = ContinuousBatchingConfig(page_size=16, num_blocks=64, max_batch_tokens=64)
    with attach(model, [small.pack]) as seen:
        manager = model.init_continuous_batching(
            generation_config=generation, continuous_batching_config=config
        )
        manager.start()
        try:
            for prompt in ([11, 12, 13], [21, 22, 23, 24, 25]):
                manager.add_request(prompt, request_id="same", max_new_tokens=4)
                assert manager.get_result("same", timeout=30) is not None
        finally:
            manager.stop(block=True, timeout=5)
    assert sorted(record["prompt_len"] for record in seen.opened.values()) == [3, 5]
    assert sorted(len(rows) for rows in seen.scores.values()) == [6, 8]


def test_hooks_come_off_and_the_server_is_as_before(small: Small) -> None:
    model = small.model()
    with attach(model, [small.pack]):
        assert sum(len(block._forward_hooks) for block in model.model.layers) == 2
    assert sum(len(block._forward_hooks) for block in model.model.layers) == 0
    assert "forward" not in vars(model)


def test_a_failing_row_map_costs_the_step_and_never_the_server(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(runner: ModelRunner) -> None:
        raise KeyError("a field this release renamed")

    plain = batched(PROMPTS)(small.model())
    monkeypatch.setattr(continuous, "_packed_rows", broken)
    _, seen, sequences = run(small, batched(PROMPTS))
    assert sorted(sequences) == sorted(plain)
    assert seen.scores == {}
    assert all(c["served"] > c["emitted"] + c["cached"] for c in seen.closed.values())


def test_what_runs_beside_the_weights_costs_the_step_and_never_the_server(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked before the row map, where nobody caught an error: the server's worker ended with it."""

    def broken(model: LlamaForCausalLM) -> bytes:
        raise ValueError("no adapter loaded")

    plain = batched(PROMPTS)(small.model())
    monkeypatch.setattr(continuous, "_adapters", broken)
    _, seen, sequences = run(small, batched(PROMPTS))
    assert sorted(sequences) == sorted(plain)
    assert seen.scores == {}


def test_a_client_cannot_name_its_request_out_of_sight(small: Small) -> None:
    """`transformers serve` takes the id of a request from `x-request-id`, and its own warm-ups have ids of a kind."""
    model = small.model()
    generation = GenerationConfig(
        max_new_tokens=4, do_sample=False, eos_token_id=-1, pad_token_id=0
    )
    config = ContinuousBatchingConfig(page_size=16, num_blocks=64, max_batch_tokens=64)
    with attach(model, [small.pack]) as seen:
        manager = model.init_continuous_batching(
            generation_config=generation, continuous_batching_config=config
        )
        manager.start()
        try:
            manager.add_request([11, 12, 13], request_id="__warmup_DECODING_0__", max_new_tokens=4)
            assert manager.get_result(timeout=30) is not None
        finally:
            manager.stop(block=True, timeout=5)
    assert only(seen)["served"] == only(seen)["emitted"] == 6


def test_a_prefix_that_was_found_and_never_gone_on_from_was_not_served(small: Small) -> None:
    """Found 2026-11-30 by cancels at every moment: the server looks the prefix up, has no block left for the rest, and
    the client leaves. Nothing ran, and 20 tokens were short in the account."""
    with attach(small.model(), [small.pack]) as seen:
        found, ran = (RequestState(name, list(range(10, 34))) for name in ("found", "ran"))
        for state in (found, ran):
            state.position_offset = 20
        ran.tokens_to_process = list(range(10, 30))
        for state in (found, ran):
            continuous._ended(state, "cancelled")
    assert [close["served"] for _, close in sorted(seen.closed.items())] == [0, 20]


@pytest.mark.parts  # for its length: it imports the compiler
def test_requests_that_a_server_makes_up_to_warm_itself_up_are_nobodys(small: Small) -> None:
    model = small.model()
    generation = GenerationConfig(max_new_tokens=4, do_sample=False, pad_token_id=0)
    compile_config = compiling(fullgraph=False, dynamic=True)
    config = ContinuousBatchingConfig(
        page_size=16, num_blocks=64, max_batch_tokens=32, varlen_compile_config=compile_config
    )
    made = []
    born = RequestState.__post_init__
    with attach(model, [small.pack]) as seen, pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            RequestState, "__post_init__", lambda self: (made.append(self.request_id), born(self))
        )
        manager = model.init_continuous_batching(
            generation_config=generation, continuous_batching_config=config
        )
        manager.warmup()
    assert [name for name in made if name.startswith("__warmup_")]
    assert (seen.opened, seen.scores) == ({}, {})


GREEDY: dict[str, object] = {
    "max_new_tokens": 6,
    "do_sample": False,
    "eos_token_id": None,
    "pad_token_id": 0,
}


def only(seen: Seen) -> dict[str, object]:
    (close,) = seen.closed.values()
    return close


REPEATING = [5, 6, 7, 5, 6, 7, 5, 6]


@pytest.mark.parametrize(
    "drafts", ["own early exit", "another model", "prompt lookup", "prompt lookup, padded"]
)
@pytest.mark.parametrize("new", [1, 2, 24])
def test_rows_of_accepted_drafts_are_scored_and_of_rejected_ones_are_never_handed_on(
    small: Small, drafts: str, new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tap that trusted positions was wrong for 9 of 33 here, without an error."""
    ran, took = [], []
    read, emit = ProbeOp.read, Tap._emit

    def reading(self: ProbeOp, n: int, *rest: object) -> object:
        ran.append(n)
        return read(self, n, *rest)  # type: ignore[arg-type]

    def emitting(self: Tap, entries: Entries, values: object) -> None:
        took.extend(entries.n)
        emit(self, entries, values)  # type: ignore[arg-type]

    model, pad = small.model(), 3 if "padded" in drafts else 0
    ids = torch.tensor([[0] * pad + REPEATING])
    options: dict[str, object] = {"prompt_lookup_num_tokens": 3}
    if "lookup" not in drafts:
        options = {"assistant_early_exit": 2}
    if drafts == "another model":
        options = {"assistant_model": small.model()}
        torch.nn.init.normal_(options["assistant_model"].lm_head.weight)  # type: ignore[attr-defined]
    with attach(model, [small.pack]) as seen:
        monkeypatch.setattr(ProbeOp, "read", reading)
        monkeypatch.setattr(Tap, "_emit", emitting)
        output = model.generate(
            ids,
            attention_mask=torch.tensor([[0] * pad + [1] * len(REPEATING)]),
            **{**GREEDY, "max_new_tokens": new},
            **options,
        )
    sequences = [output[0, pad:].tolist()]
    assert check(small, model, seen, sequences) == 0
    assert only(seen)["errors"] == {}
    assert sum(took) == only(seen)["served"], "a row was handed on twice, or of a rejected draft"
    if new == 24:
        assert sum(ran) > sum(took), "no draft was rejected: nothing was shown"


def test_drafts_that_end_in_the_end_token_do_not_end_the_request(small: Small) -> None:
    model = small.model()
    plain = model.generate(torch.tensor([REPEATING]), **{**GREEDY, "max_new_tokens": 24})
    eos = int(plain[0, len(REPEATING) + 7])
    with attach(model, [small.pack]) as seen:
        output = model.generate(
            torch.tensor([[eos, *REPEATING, eos, *REPEATING]]),
            **{**GREEDY, "max_new_tokens": 24, "eos_token_id": eos},
            prompt_lookup_num_tokens=3,
        )
    assert check(small, model, seen, output.tolist()) == 0


class Gone(Exception):
    """The client has left: `transformers serve` then raises out of the streamer."""


class Leaving:
    def __init__(self, after: int) -> None:
        self.left = after

    def put(self, _tokens: torch.Tensor) -> None:
        self.left -= 1
        if self.left < 0:
            raise Gone

    def end(self) -> None: ...


@pytest.mark.parametrize("steps", [1, 2])
def test_a_client_that_leaves_takes_no_row_away_that_was_the_servers_before_the_drafts(
    small: Small, steps: int
) -> None:
    """A prompt that is never looked at would be had for leaving at the first token."""
    model = small.model()
    with attach(model, [small.pack]) as seen, pytest.raises(Gone):
        model.generate(
            torch.tensor([REPEATING]),
            **{**GREEDY, "max_new_tokens": 24},
            prompt_lookup_num_tokens=3,
            streamer=Leaving(steps),
        )
    close, ran = only(seen), len(REPEATING) + steps - 1
    assert (close["outcome"], close["served"], close["emitted"]) == ("cancelled", ran, ran)
    (rows,) = seen.scores.values()
    assert sorted(rows) == list(range(ran))


@pytest.mark.parametrize("drafts", [{}, {"prompt_lookup_num_tokens": 3}])
def test_steps_that_no_hook_met_are_counted(small: Small, drafts: dict[str, object]) -> None:
    """As after `model.compile()`, whose graph has no hook of the top module in it."""
    model = small.model()
    with attach(model, [small.pack]) as seen:
        model._forward_pre_hooks.clear()
        model.generate(torch.tensor([REPEATING]), **GREEDY, **drafts)
    served = len(REPEATING) + 5
    assert (only(seen)["served"], only(seen)["errors"]) == (served, {"unsupported": served})


def test_drafts_behind_a_cache_that_the_caller_brought_are_unsupported(small: Small) -> None:
    """transformers runs all of the prompt once more behind it: a row's place says nothing of its token."""
    model, ids = small.model(), torch.tensor([REPEATING])
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(ids[:, :4], past_key_values=cache, use_cache=True)
    with attach(model, [small.pack]) as seen:
        model.generate(ids, past_key_values=cache, **GREEDY, prompt_lookup_num_tokens=3)
    served = len(REPEATING) + 5
    assert (only(seen)["served"], only(seen)["errors"]) == (served, {"unsupported": served})
    assert not seen.scores


@pytest.mark.parametrize("drafts", [{}, {"prompt_lookup_num_tokens": 3}])
def test_forwards_of_a_logits_processor_are_no_steps(
    small: Small, drafts: dict[str, object]
) -> None:
    """Guidance runs the model a second time for each step, on a cache of its own; others on none."""
    model = small.model()
    embed = model.get_input_embeddings()

    def also(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        model(inputs_embeds=embed(ids))
        return scores

    ids = torch.tensor([REPEATING])
    options = {**GREEDY, **drafts, "guidance_scale": 1.5, "logits_processor": [also]}
    with attach(model, [small.pack]) as seen:
        output = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    assert check(small, model, seen, output.tolist()) == 0


@pytest.mark.parametrize("masked", [True, False])
def test_embeddings_in_place_of_tokens_are_served_unscored_and_counted(
    small: Small, masked: bool
) -> None:
    model = small.model()
    embeds = model.get_input_embeddings()(torch.tensor([[15, 16, 17, 18]]))
    mask = {"attention_mask": torch.ones(1, 4, dtype=torch.long)} if masked else {}
    with attach(model, [small.pack]) as seen:
        model.generate(inputs_embeds=embeds, **mask, **GREEDY)
    assert (only(seen)["served"], only(seen)["errors"]) == (9, {"unsupported": 9})


def test_positions_in_a_cache_that_the_caller_brought_are_named(small: Small) -> None:
    model, ids = small.model(), torch.tensor([[15, 16, 17, 18, 19, 20]])
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(ids[:, :4], past_key_values=cache, use_cache=True)
    with attach(model, [small.pack]) as seen:
        output = model.generate(ids, past_key_values=cache, **GREEDY)
    assert check(small, model, seen, output.tolist()) == 4
    assert only(seen)["cached"] == 4


def compiling(**options: object) -> CompileConfig:
    found = CompileConfig(backend="eager", mode=None, **options)
    found._compile_all_devices = True
    return found


@pytest.mark.parts  # for its length: it imports the compiler
def test_forwards_that_a_compiled_graph_runs_are_scored_in_it(small: Small) -> None:
    torch._dynamo.utils.counters.clear()
    model = small.model()
    with attach(model, [small.pack]) as seen:
        output = model.generate(
            torch.tensor([[15, 16, 17, 18]]),
            cache_implementation="static",
            compile_config=compiling(fullgraph=True),
            **GREEDY,
        )
    assert check(small, model, seen, output.tolist()) == 0
    assert only(seen)["errors"] == {}
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parts
def test_a_batch_with_padding_is_scored_in_the_graph_of_its_decode_steps(small: Small) -> None:
    go = generated(cache_implementation="static", compile_config=compiling(fullgraph=True))
    model, seen, sequences = run(small, go)
    assert check(small, model, seen, sequences) == 0


@pytest.mark.parts
def test_continuous_batching_that_compiles_is_scored(small: Small) -> None:
    go = batched(PROMPTS, varlen_compile_config=compiling(fullgraph=False, dynamic=True))
    model, seen, sequences = run(small, go)
    assert check(small, model, seen, sequences) == 0


def test_a_forward_that_others_put_on_the_model_stays(small: Small) -> None:
    """accelerate moves inputs between devices in an instance's `forward`; without it the next call fails."""
    model = small.model()
    original, calls = model.forward, []

    def theirs(*args: object, **kwargs: object) -> object:
        calls.append(1)
        return original(*args, **kwargs)

    model.forward = theirs
    with attach(model, [small.pack]) as seen:
        model.generate(torch.tensor([[15, 16]]), **GREEDY)
    assert vars(model)["forward"] is theirs
    assert len(calls) == 1 + 6  # the canary's
    assert only(seen)["errors"] == {}


def test_threads_that_share_a_model_are_served_and_never_given_each_others_scores(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told apart by their prompts: a request that got hardly a step agrees with every sequence."""
    model = small.model()
    asked: dict[int, int] = {}
    opened = Requests.open

    def opening(self: Requests, ids: Sequence[int], *rest: object) -> Request:
        request = opened(self, ids, *rest)  # type: ignore[arg-type]
        asked[request.key] = ids[0]
        return request

    monkeypatch.setattr(Requests, "open", opening)
    errors: list[BaseException] = []

    def client(first: int) -> None:
        try:
            model.generate(torch.tensor([[first, 16, 17]]), **GREEDY | {"max_new_tokens": 20})
        except BaseException as error:
            errors.append(error)

    with attach(model, [small.pack]) as seen:
        threads = [threading.Thread(target=client, args=(n,)) for n in (20, 30, 40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    sequences = [
        model.generate(torch.tensor([[n, 16, 17]]), **GREEDY | {"max_new_tokens": 20})[0].tolist()
        for n in (20, 30, 40)
    ]
    check(small, model, seen, sequences)  # whatever was scored is right, and every gap has a reason
    for ids in sequences:
        (key,) = [key for key, first in asked.items() if first == ids[0]]
        hidden = hidden_of(model, ids)
        for position, row in seen.scores.get(key, {}).items():
            expected = [
                np.einsum("ld,ld->", hidden[:, position], p.weights) + p.bias
                for p in small.pack.probes
            ]
            assert np.abs(row - expected).max() <= TOLERANCE, (key, position)


@pytest.mark.parametrize("seam", ["before", "after", "_finish"])
@pytest.mark.parametrize("drafts", [{}, {"prompt_lookup_num_tokens": 3}])
def test_an_error_of_ours_around_a_step_of_generate_never_reaches_the_server(
    small: Small, monkeypatch: pytest.MonkeyPatch, seam: str, drafts: dict[str, object]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("injected")

    model, ids = small.model(), torch.tensor([REPEATING])
    plain = model.generate(ids, **GREEDY, **drafts)
    monkeypatch.setattr(batch.Batch, seam, broken)
    monkeypatch.setattr(drafted.Drafted, seam, broken)
    with attach(model, [small.pack]) as seen:
        output = model.generate(ids, **GREEDY, **drafts)
        assert seams.requests is not None
        assert list(seams.requests.live()) == []
        assert seams.requests.errors > 0
    assert output.tolist() == plain.tolist()
    assert len(seen.closed) == 1


def test_a_mask_of_a_kind_we_do_not_know_is_the_servers_to_judge(small: Small) -> None:
    """Where a server hands its own loop a mask by kind of layer, none of ours may fail on it."""
    call = generate._watch(
        batch.Batch, small.model(), torch.tensor([[5, 6]]), {"attention_mask": {}}
    )
    assert call is None  # no tap is on it
    model = small.model()
    with attach(model, [small.pack]):
        kwargs = {"attention_mask": {"full_attention": None}}
        assert generate._watch(batch.Batch, model, torch.tensor([[5, 6]]), kwargs) is None
        assert seams.requests is not None
        assert seams.requests.errors == 1


def test_a_row_map_of_generate_that_failed_once_places_no_row_wrongly(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The columns before were not counted then, and every later row stood as many positions too low."""
    original, calls = batch.Batch.row_map, []

    def once(self: object, ids: torch.Tensor) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("injected")
        return original(self, ids)  # type: ignore[arg-type]

    monkeypatch.setattr(batch.Batch, "row_map", once)
    model = small.model()
    with attach(model, [small.pack]) as seen:
        output = model.generate(torch.tensor([[15, 16, 17, 18]]), **GREEDY)
    assert check(small, model, seen, output.tolist()) == 5
    assert only(seen)["errors"] == {"tap_error": 5}


def test_a_step_that_the_server_could_not_run_is_not_served(small: Small) -> None:
    model = small.model()
    calls: list[int] = []

    def crash(*_: object) -> None:
        calls.append(1)
        if len(calls) == 4:  # after the prompt and two tokens
            raise RuntimeError("the server's own")

    with attach(model, [small.pack]) as seen:
        handle = model.model.layers[2].register_forward_pre_hook(crash)
        batched([[11, 12, 13]], new=8)(model)
        handle.remove()
    assert only(seen)["outcome"] == "failed"
    assert only(seen)["served"] == only(seen)["emitted"] == 5


def test_two_requests_at_once_with_one_client_id_leave_nothing_alive(small: Small) -> None:
    """5.23 loses the first of them without a word, and its worker with it; its request must not stay."""
    model = small.model()
    generation = GenerationConfig(
        max_new_tokens=30, do_sample=False, eos_token_id=-1, pad_token_id=0
    )
    config = ContinuousBatchingConfig(page_size=16, num_blocks=64, max_batch_tokens=64)
    with attach(model, [small.pack]) as seen:
        manager = model.init_continuous_batching(
            generation_config=generation, continuous_batching_config=config
        )
        for prompt in ([11, 12, 13], [21, 22, 23, 24, 25]):
            manager.add_request(prompt, request_id="same")
        manager.start()
        manager.get_result(timeout=10)
        manager.stop(block=True, timeout=5)
        del manager
        gc.collect()
        assert seams.requests is not None
        assert list(seams.requests.live()) == []
    assert len(seen.closed) == 2


def test_a_model_that_is_gone_leaves_no_tap_behind(small: Small) -> None:
    from dosimeter.monitor.taps.attach import put
    from dosimeter.monitor.taps.binding import TapState

    before = len(seams.taps)
    model = small.model()
    assert put(model, small.folder, [small.pack_folder], Seen().sink, TapState()) is not None
    assert len(seams.taps) == before + 1
    del model
    gc.collect()
    assert len(seams.taps) == before
