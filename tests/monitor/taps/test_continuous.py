"""Continuous batching's own objects, without its manager: whose tokens a request is taken to have."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers.generation.continuous_batching.requests import RequestState

from dosimeter.monitor.taps import continuous, seams
from dosimeter.monitor.taps.requests import Requests
from dosimeter.monitor.taps.score_cache import ScoreCache
from dosimeter.monitor.taps.tap import Tap


def test_a_fork_that_did_not_fit_leaves_its_parent_its_own_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server makes a copy of the parent, to run from its beginning, and renames it later. The parent's scores
    were kept under the copy's tokens then, and given to whoever sent those."""
    continuous.patch()
    monkeypatch.setattr(seams, "requests", Requests(lambda kind, record: None, lambda: 0))
    scores: list[float] = []
    op: Any = SimpleNamespace(
        begin=lambda: None, read=lambda n, select: np.array(scores, np.float32)[:, None]
    )
    out: list[list[float]] = []

    def sink(rows: Any, values: Any, ns: int) -> tuple[int, None]:
        out.append(values[:, 0].tolist())
        return len(values), None

    cache = ScoreCache(b"m", 1, np.float32)
    cache.fit(4)
    tap = Tap(op, sink, cache=cache)

    def step(state: RequestState, *found: float) -> None:
        state.position_offset += len(found)
        scores[:] = found
        batch = [SimpleNamespace(state=state, query_length=len(found))]
        runner: Any = SimpleNamespace(inputs_and_outputs=SimpleNamespace(requests_in_batch=batch))
        model: Any = SimpleNamespace()
        tap.step(functools.partial(continuous._packed_rows, runner, model, tap), lambda: None)

    parent = RequestState(request_id="p", initial_tokens=[1, 2, 3, 4, 5], max_new_tokens=50)
    step(parent, 0, 0, 0, 0, 0)
    parent.generated_tokens.append(7)
    child = parent.create_equivalent_initial_request()
    child.request_id = "p__child#0"
    step(child, 0, 0, 0, 0, 0, 0)
    child.generated_tokens += [20, 21]
    for token in (10, 11, 12):
        step(parent, 1)
        parent.generated_tokens.append(token)
    step(parent, 1)
    step(child, 2, 2)
    other = RequestState(
        request_id="n", initial_tokens=[1, 2, 3, 4, 5, 7, 20, 21, 9], max_new_tokens=5
    )
    other.position_offset = 8
    step(other, 3)
    assert out[-1] == [0, 0, 0, 0, 0, 0, 2, 2, 3]
