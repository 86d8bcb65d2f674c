"""Drafts under vLLM: rows wait for the sampler's word and the scheduler's, and nothing is known of a rejected one.

On a runner made of vLLM's own steps; `test_conformance_vllm` runs the same code inside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dosimeter.detectors.frames import Scope, to_codes
from dosimeter.rules.atoms import Atom
from dosimeter.rules.engine import Engine as Rules
from tests.rules.rule_streams import frame, program_of

from .conftest import Small, hidden_of
from .test_vllm_worker import PROMPT, Engine, Runner, scoring


class Speculating(Runner):
    """Runner V1 with drafts: `execute_model` runs a step, and what came of it is sampled after that."""

    def __init__(self, small: Small) -> None:
        super().__init__(small, speculative_config=SimpleNamespace(method="ngram"))
        self.vllm_config.scheduler_config.async_scheduling = False
        self.vllm_config.use_v2_model_runner = False
        self.gives: Mapping[str, int] = {}
        self.fails: Exception | None = None

    def sample_tokens(self, grammar_output: Any) -> Any:
        if self.fails is not None:
            raise self.fails
        names = list(self.input_batch.req_ids)
        given = [[7] * self.gives.get(name, 1) for name in names]
        return SimpleNamespace(req_ids=names, sampled_token_ids=given)


class Drafting(Engine):
    """A scheduler of steps with drafts. Rows of a step see the step's own tokens before them, and no others."""

    def __init__(self, small: Small) -> None:
        super().__init__(Speculating(small), scoring(small))
        self.canary(small)

    def forward(
        self,
        ids: Mapping[str, Sequence[int]],
        drafts: Mapping[str, Sequence[int]] | None = None,
        gives: Mapping[str, int] | None = None,
        *,
        new: Sequence[str] = (),
        ended: Mapping[str, tuple[str, int, int, int]] | None = None,
        computed: Sequence[int] = (0, 0, 0, 0),
    ) -> None:
        """ids: of each request, its drafts last; gives: how many tokens are sampled, else one each."""
        assert isinstance(self.runner, Speculating)
        self.runner.gives = gives or {}
        self.runner.input_batch.num_computed_tokens_cpu = np.array(computed)
        params = SimpleNamespace(extra_args=None)
        made = []
        for name in new:
            prompt = list(ids[name])[: len(ids[name]) - len((drafts or {}).get(name, ()))]
            made.append(
                SimpleNamespace(
                    req_id=name,
                    prompt_token_ids=prompt,
                    prompt_len=len(prompt),
                    sampling_params=params,
                )
            )
        self.step(
            SimpleNamespace(
                new=made,
                ended=dict(ended or {}),
                ids=[token for part in ids.values() for token in part],
                scheduled={name: len(part) for name, part in ids.items()},
                drafts=dict(drafts or {}),
            )
        )
        if ids:
            self.runner.sample_tokens(None)

    def end(self, **ended: tuple[str, int, int, int]) -> None:
        self.forward({}, ended=ended)


@pytest.fixture
def engine(small: Small) -> Drafting:
    return Drafting(small)


def codes_of(small: Small, ids: Sequence[int]) -> npt.NDArray[np.int16]:
    """int16 [T, F], by a plain forward and a plain product."""
    hidden = hidden_of(small.model(), list(ids))
    columns = [np.einsum("ltd,ld->t", hidden, p.weights) + p.bias for p in small.pack.probes]
    return to_codes(np.stack(columns, axis=1))


def test_rows_wait_until_the_server_goes_on_and_those_of_rejected_drafts_go_nowhere(
    engine: Drafting, small: Small
) -> None:
    """Three drafts, one of them accepted: two tokens are sampled, the second in place of the first rejected one."""
    ids = [*PROMPT, 50, 51, 52]
    engine.forward({"a": ids}, {"a": [50, 51, 52]}, {"a": 2}, new=["a"])
    assert engine.wire.rows == []
    engine.forward({"a": [60]}, computed=[6, 0, 0, 0])
    assert engine.wire.rows == [(1, 0, 6), (1, 6, 1)]
    expected = codes_of(small, ids)[:6].astype(int)
    assert np.abs(engine.wire.codes[0].astype(int) - expected).max() <= 1
    engine.end(a=("FINISHED_STOPPED", 5, 3, 7))
    (close,) = engine.wire.closed
    assert (close["served"], close["emitted"], close["errors"]) == (7, 7, {})


def test_each_request_of_a_step_keeps_its_own_share_of_it(engine: Drafting, small: Small) -> None:
    """All of one's drafts, none of another's, and a chunk of a prompt that has none and gives no token."""
    ids = {"a": [*PROMPT, 50, 51], "b": [44, 45, 46], "c": [*range(70, 80)], "d": [90, 91]}
    drafts = {"a": [50, 51], "b": [45, 46], "d": []}
    engine.forward(ids, drafts, {"a": 3, "b": 1, "c": 0}, new=["a", "b", "c", "d"])
    engine.forward({})
    assert engine.wire.rows == [(1, 0, 7), (2, 0, 1), (3, 0, 10), (4, 0, 2)]
    whole = codes_of(small, [token for part in ids.values() for token in part])
    expected = np.delete(whole, [8, 9], axis=0).astype(int)
    assert np.abs(engine.wire.codes[0].astype(int) - expected).max() <= 1


def test_a_step_without_drafts_goes_out_at_once(engine: Drafting) -> None:
    engine.forward({"a": PROMPT}, {"a": []}, new=["a"])
    assert engine.wire.rows == [(1, 0, 5)]


def test_drafts_behind_the_end_of_an_answer_were_never_served(engine: Drafting) -> None:
    """All are accepted, and the second token that was sampled is the last that the scheduler takes."""
    engine.forward({"a": [*PROMPT, 50, 51, 52]}, {"a": [50, 51, 52]}, {"a": 4}, new=["a"])
    engine.end(a=("FINISHED_STOPPED", 5, 2, 8))
    assert engine.wire.rows == [(1, 0, 6)]
    (close,) = engine.wire.closed
    assert (close["served"], close["emitted"], close["errors"]) == (6, 6, {})


@pytest.mark.parametrize("counted", [8, 6], ids=["before", "after the sampler's word"])
def test_a_client_that_leaves_while_drafts_run_was_served_what_was_kept(
    engine: Drafting, counted: int
) -> None:
    """An abort may reach the scheduler in the middle of a step: it then counts rejected drafts as run."""
    engine.forward({"a": [*PROMPT, 50, 51, 52]}, {"a": [50, 51, 52]}, {"a": 2}, new=["a"])
    engine.end(a=("FINISHED_ABORTED", 5, 0 if counted == 8 else 2, counted))
    assert engine.wire.rows == [(1, 0, 6)]
    (close,) = engine.wire.closed
    assert (close["outcome"], close["served"], close["emitted"]) == ("cancelled", 6, 6)


def test_a_request_that_is_put_off_keeps_what_was_accepted_and_runs_it_again(
    engine: Drafting,
) -> None:
    ids = [*PROMPT, 50, 51, 52]
    engine.forward({"a": ids}, {"a": [50, 51, 52]}, {"a": 2}, new=["a"])
    engine.forward({"b": [70]}, new=["b"])  # the scheduler put `a` off, and says nothing of it
    engine.forward({"a": [*PROMPT, 50, 60]})
    engine.end(a=("FINISHED_STOPPED", 5, 3, 7), b=("FINISHED_STOPPED", 1, 1, 1))
    assert engine.wire.rows == [(1, 0, 6), (2, 0, 1), (1, 0, 7)]
    assert [(one["served"], one["emitted"]) for one in engine.wire.closed] in (
        [(7, 7), (1, 1)],
        [(1, 1), (7, 7)],
    )


def test_a_step_that_nobody_sampled_from_has_only_the_rows_before_its_drafts(
    engine: Drafting,
) -> None:
    """How many drafts were kept is not known; what they were run after was the server's own before."""
    assert isinstance(engine.runner, Speculating)
    engine.runner.fails = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        engine.forward({"a": [*PROMPT, 50, 51]}, {"a": [50, 51]}, new=["a"])
    engine.forward({})
    assert engine.wire.rows == [(1, 0, 5)]


def test_an_error_of_ours_with_a_samplers_word_costs_no_step(engine: Drafting) -> None:
    engine.forward({"a": [*PROMPT, 50]}, {"a": [50]}, new=["a"])
    engine.watch.sampled(SimpleNamespace(req_ids=["a"], sampled_token_ids=[[7, 7]]))
    engine.watch.guarded(lambda: engine.watch.sampled(SimpleNamespace()))
    assert engine.watch.requests.errors == 1
    engine.forward({})
    assert engine.wire.rows == [(1, 0, 6)]


def test_a_rejected_draft_is_in_no_prefix_that_others_get_scores_of(engine: Drafting) -> None:
    """The server keeps pages of 16 tokens. The page that a rejected draft would have filled is another one."""
    known = list(range(40, 55))
    engine.forward({"a": [*known, 80, 81]}, {"a": [80, 81]}, {"a": 1}, new=["a"])
    engine.forward({"a": [82]}, computed=[15, 0, 0, 0])
    assert engine.wire.rows == [(1, 0, 15), (1, 15, 1)]
    assert engine.watch.tap is not None
    cache = engine.watch.tap.cache
    assert cache is not None

    def of(last: int) -> list[tuple[int, npt.NDArray[Any]]]:
        page = [*known, last]
        return cache.prefix(cache.chain(), 16, lambda start, stop: page[start:stop])

    assert of(80) == []
    ((start, rows),) = of(82)
    assert start == 0
    assert np.array_equal(rows, np.concatenate(engine.wire.codes))


def test_nothing_fires_on_a_rejected_token(engine: Drafting, small: Small) -> None:
    """A rule whose level only the draft reaches: it fires where the draft is kept, and not where it is rejected."""
    highest = [
        (int(codes[-1, column]) - int(codes[:-1, column].max()), column, draft)
        for draft in range(10, 250, 8)
        for codes in [codes_of(small, [*PROMPT, draft])]
        for column in range(codes.shape[1])
    ]
    margin, column, draft = max(highest)
    assert margin > 16  # codes; a rounding is one
    level = int(codes_of(small, [*PROMPT, draft])[-1, column]) - margin // 2
    fired = {}
    for name, sampled in (("rejected", 1), ("kept", 2)):
        engine.forward({name: [*PROMPT, draft]}, {name: [draft]}, {name: sampled}, new=[name])
        del engine.wire.rows[:], engine.wire.codes[:]
        engine.forward({})
        ((key, start, n),) = engine.wire.rows
        rules = Rules(program_of(Atom(column, Scope.MESSAGE, 1, "once", 1, level)))
        rules.open(key, {})
        fired[name] = rules.step(frame((key, start, Scope.MESSAGE, engine.wire.codes[0])))
        assert n == 4 + sampled
    assert fired["rejected"] == []
    assert [hit.position for hit in fired["kept"]] == [5]


def test_rows_that_could_not_be_settled_are_an_error_of_the_tap_and_no_cached_prefix(
    engine: Drafting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("ours")

    monkeypatch.setattr("dosimeter.monitor.taps.vllm_drafts.Drafted.settle", fails)
    ids = [*PROMPT, 50]
    engine.forward({"a": ids}, {"a": [50]}, {"a": 2}, new=["a"])
    engine.forward({"a": [51]}, computed=[len(ids), 0, 0, 0])
    engine.end(a=("FINISHED_LENGTH_CAPPED", len(PROMPT), 3, len(ids) + 1))
    (close,) = engine.wire.closed
    assert close["cached"] == 0
    assert close["errors"] == {"tap_error": len(ids)}
    assert close["served"] == close["emitted"] + len(ids) == len(ids) + 1


def test_accepted_drafts_of_which_nothing_was_heard_are_an_error_of_the_tap(
    engine: Drafting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("ours")

    with monkeypatch.context() as patched:
        patched.setattr(engine.watch, "sampled", fails)
        engine.forward({"a": [*PROMPT, 50, 51, 52]}, {"a": [50, 51, 52]}, {"a": 4}, new=["a"])
    engine.forward({"a": [60]}, computed=[len(PROMPT) + 3, 0, 0, 0])
    engine.end(a=("FINISHED_STOPPED", len(PROMPT), 5, len(PROMPT) + 4))
    (close,) = engine.wire.closed
    assert (close["cached"], close["errors"]) == (0, {"tap_error": 3})
