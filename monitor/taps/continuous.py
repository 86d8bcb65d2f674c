"""Continuous batching of transformers: a request is the server's own `RequestState` object.

Private names of one minor release are used; `transformers.install` refuses another. Forks, soft resets
and cancels keep their identity; warm-up requests have none. Which are of a warm-up says who makes them:
their ids are names that a client may send as well.
"""

from __future__ import annotations

import functools
import math
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn
from transformers.generation.continuous_batching.continuous_api import OutputRouter
from transformers.generation.continuous_batching.model_runner import ModelRunner
from transformers.generation.continuous_batching.requests import RequestState
from transformers.generation.continuous_batching.scheduler import Scheduler

from dosimeter.monitor.taps import seams
from dosimeter.monitor.taps.requests import End, Request
from dosimeter.monitor.taps.rows import Rows
from dosimeter.monitor.taps.seams import current_ticket, guarded, wrap
from dosimeter.monitor.taps.tap import Tap


class _Thread(threading.local):
    """Whether this thread makes up requests, to warm the server up."""

    warming = False


_thread = _Thread()


def patch() -> None:
    """Once in a process."""
    if not seams.wrapped(ModelRunner, "compute_batch"):
        _patch_requests()
        _patch_steps()


def _of(state: RequestState) -> Request | None:
    """The request of a state. A child that did not fit at a fork is a reset copy of its parent under a new
    id: it is met here for the first time, and gets a key of its own."""
    found: Request | None = getattr(state, "_dosimeter", None)
    if found is not None and state.request_id != state._dosimeter_id:
        _open(state, found)
        found = state._dosimeter
    return found


def _end_of(state: RequestState, outcome: str) -> End:
    initial = state._true_initial_tokens or len(state.initial_tokens)
    generated = list(state.initial_tokens[initial:]) + list(state.generated_tokens)
    served = initial + len(generated) - 1
    if outcome != "finished":
        # Offsets are advanced before a step; what the server then could not run, it did not serve. They begin
        # again at 0 when a request is put off, and it may end before it runs again. Without tokens in a step so far, an
        # offset is of a prefix that the server found in its cache, and then had no room to go on from.
        ran = state.position_offset - state._dosimeter.undone if state.tokens_to_process else 0
        served = max(ran, state._dosimeter.next_position, served if generated else 0)
    return End(outcome, initial, len(generated), max(0, served), "scheduler", generated)


def _patch_requests() -> None:
    def born(original: Callable[..., Any]) -> Callable[..., Any]:
        def __post_init__(self: RequestState) -> None:  # noqa: N807
            original(self)
            # A soft reset builds a new state for the same request: it already carries generated text.
            if seams.requests is None or self._true_initial_tokens or _thread.warming:
                return
            guarded(lambda: _open(self, None))

        return __post_init__

    def forked(original: Callable[..., Any]) -> Callable[..., Any]:
        def fork(self: RequestState, new_request_id: str) -> RequestState:
            parent = None
            try:
                parent = _of(self)
            except Exception as error:
                if seams.requests is not None:
                    seams.requests.failed(error)
            self._dosimeter = None  # the copy below is deep, and a request is not copied
            try:
                child = original(self, new_request_id)
            finally:
                self._dosimeter = parent
            if parent is not None:
                guarded(lambda: _open(child, parent))
            return child

        return fork

    def reset(original: Callable[..., Any]) -> Callable[..., Any]:
        def create_equivalent_initial_request(self: RequestState) -> RequestState:
            again: RequestState = original(self)
            guarded(lambda: _stand_for(again, _of(self), self.request_id))
            return again

        return create_equivalent_initial_request

    def updated(original: Callable[..., Any]) -> Callable[..., Any]:
        def update_and_check_completion(
            self: RequestState, token_id: int, logprob: float | None
        ) -> bool:
            # The one sign of a true end: a soft reset also marks the state it replaces as finished.
            complete: bool = original(self, token_id, logprob)
            if complete:
                guarded(lambda: _ended(self, "finished"))
            return complete

        return update_and_check_completion

    def cancelled(original: Callable[..., Any]) -> Callable[..., Any]:
        def clear_cancelled_requests(self: Scheduler) -> list[RequestState]:
            states: list[RequestState] = original(self)
            for state in states:
                guarded(functools.partial(_ended, state, "cancelled"))
            return states

        return clear_cancelled_requests

    def failed(original: Callable[..., Any]) -> Callable[..., Any]:
        def fail_and_deliver(self: OutputRouter, state: RequestState, error: Exception) -> None:
            guarded(lambda: _ended(state, "failed"))
            original(self, state, error)

        return fail_and_deliver

    wrap(RequestState, "__post_init__", born)
    wrap(RequestState, "fork", forked)
    wrap(RequestState, "create_equivalent_initial_request", reset)
    wrap(RequestState, "update_and_check_completion", updated)
    wrap(Scheduler, "clear_cancelled_requests", cancelled)
    wrap(OutputRouter, "fail_and_deliver", failed)


def _open(state: RequestState, parent: Request | None) -> None:
    if seams.requests is not None:
        prompt_len = state._true_initial_tokens or len(state.initial_tokens)
        prompt = state.initial_tokens[:prompt_len]
        request = seams.requests.open(prompt, current_ticket.get(), parent)
        _stand_for(state, request, state.request_id)


def _stand_for(state: RequestState, request: Request | None, request_id: str) -> None:
    """This object of the server is that request, until the collector takes it: a state can be dropped
    without an end (its id was repeated, the queue was full), and its request must not stay for ever."""
    state._dosimeter, state._dosimeter_id = request, request_id
    if request is not None and seams.requests is not None:
        request.held += 1
        weakref.finalize(state, seams.requests.released, request).atexit = False


def _ended(state: RequestState, outcome: str) -> None:
    request = _of(state)
    if request is not None and seams.requests is not None:
        seams.requests.tap_ended(request, _end_of(state, outcome))


def _patch_steps() -> None:
    def runner(original: Callable[..., Any]) -> Callable[..., Any]:
        def compute_batch(self: ModelRunner, model: nn.Module, batch_data: dict[str, Any]) -> Any:
            tap = seams.taps.get(model)
            if tap is None:
                return original(self, model, batch_data)
            guarded(lambda: _fit_page(self, tap))
            return tap.step(
                functools.partial(_packed_rows, self, model, tap),
                lambda: original(self, model, batch_data),
            )

        return compute_batch

    def warming(original: Callable[..., Any]) -> Callable[..., Any]:
        def warmup(self: ModelRunner, *args: Any, **kwargs: Any) -> Any:
            _thread.warming = True
            try:
                return original(self, *args, **kwargs)
            finally:
                _thread.warming = False

        return warmup

    wrap(ModelRunner, "compute_batch", runner)
    wrap(ModelRunner, "warmup", warming)


def _fit_page(runner: ModelRunner, tap: Tap) -> None:
    """A prefix is shared in whole pages: the score cache must end where they end."""
    if tap.cache is not None and getattr(runner, "_dosimeter_fitted", None) is not tap.cache:
        pages = [one.tokens_per_page for one in runner.cache.cache_allocators.values()]
        tap.cache.fit(math.gcd(*pages))
        runner._dosimeter_fitted = tap.cache


def _adapters(model: nn.Module) -> bytes:
    """What runs beside the weights: a prefix has other scores under another adapter."""
    if not getattr(model, "_hf_peft_config_loaded", False):
        return b""
    return repr(model.active_adapters()).encode()


def _ids(of: Callable[[], RequestState | None], start: int, stop: int) -> list[int]:
    """Prompt, then what was generated; a soft reset has moved that into the prompt. None where its state is gone."""
    state = of()
    if state is None:
        return []
    prompt: list[int] = state.initial_tokens
    if stop <= len(prompt):
        return prompt[start:stop]
    rest: list[int] = state.generated_tokens
    return prompt[start:] + rest[max(0, start - len(prompt)) : stop - len(prompt)]


def _known(state: RequestState, tap: Tap) -> Request | None:
    """Whose rows these are; None for a warm-up, and for one whose opening failed: its count comes up short."""
    try:
        return _of(state)
    except Exception as error:
        tap.lost()
        if seams.requests is not None:
            seams.requests.failed(error)
        return None


def _packed_rows(
    runner: ModelRunner, model: nn.Module, tap: Tap
) -> tuple[Rows, npt.NDArray[np.int64] | None]:
    """Requests of the batch in packing order; rows after them are padding. Offsets are already advanced."""
    io, salt = runner.inputs_and_outputs, _adapters(model)
    if hasattr(io, "io_pairs"):
        io = io.io_pairs[io.current_pair].host_io
    rows, skipped, at = Rows(), list[tuple[int, int]](), 0
    for future in io.requests_in_batch:
        state, n = future.state, future.query_length
        request = _known(state, tap)
        if request is None:
            skipped.append((at, at + n))
        else:
            if request.chain is None:
                request.salt = salt
            if (
                request.ended is None
            ):  # of the state that runs: others stand for the request as well
                request.ids = functools.partial(_ids, weakref.ref(state))
            rows.add(request, state.position_offset - n, n)
        at += n
    if not skipped or not len(rows):
        return rows, None
    keep = np.ones(at, bool)
    for start, stop in skipped:
        keep[start:stop] = False
    return rows, np.flatnonzero(keep)
