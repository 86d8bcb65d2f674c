"""Row maps for transformers: continuous batching and `generate`.

Both are patched at class level, once, and pass straight through for models that carry no tap. A request is
the server's own `RequestState` object under continuous batching, and one row of the batch under `generate`;
beams, assisted decoding and custom loops have no proven row map: their tokens are counted, not scored.
Private names of transformers 5.23 are used; `install` refuses another minor release.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import nn
from transformers.generation.continuous_batching.continuous_api import OutputRouter
from transformers.generation.continuous_batching.model_runner import ModelRunner
from transformers.generation.continuous_batching.requests import RequestState
from transformers.generation.continuous_batching.scheduler import Scheduler
from transformers.generation.utils import GenerationMixin

from dosimeter.monitor.taps.requests import End, Request, Requests, Ticket
from dosimeter.monitor.taps.tap import Rows, Step, Tap

SUPPORTED = (5, 23)
current_ticket: ContextVar[Ticket | None] = ContextVar("dosimeter_ticket", default=None)
"""The HTTP call being served on this context; None outside one."""

_taps: weakref.WeakKeyDictionary[nn.Module, Tap] = weakref.WeakKeyDictionary()
_hooks: weakref.WeakKeyDictionary[nn.Module, list[Any]] = weakref.WeakKeyDictionary()
_requests: Requests | None = None


class _Thread(threading.local):
    """What this thread is generating: the call of `generate`, and the batch its forwards belong to."""

    call: _Call | None = None
    batch: _Batch | None = None


_thread = _Thread()


class UnsupportedServer(RuntimeError):
    """The tap does not know this release; the server runs on, untouched and unseen."""


def blocks(model: nn.Module) -> Sequence[nn.Module]:
    """The decoder blocks, in order; layer 0 is the first block's output."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model.model
    layers: Sequence[nn.Module] = decoder.layers
    return layers


def put_tap(model: nn.Module, tap: Tap) -> None:
    """The model's own `forward` stays as it is: accelerate and compilers put theirs there."""
    drop_tap(model)
    _hooks[model] = [
        model.register_forward_pre_hook(_before_forward, with_kwargs=True),
        model.register_forward_hook(_after_forward),
    ]
    _taps[model] = tap


def drop_tap(model: nn.Module) -> None:
    _taps.pop(model, None)
    for handle in _hooks.pop(model, ()):
        handle.remove()


def tapped(model: nn.Module) -> bool:
    return model in _taps


def install(requests: Requests) -> None:
    """Patch the seams; a second call replaces the registry and patches nothing twice."""
    global _requests
    found = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    if found != SUPPORTED:
        raise UnsupportedServer(
            f"transformers {transformers.__version__} is not {SUPPORTED[0]}.{SUPPORTED[1]}"
        )
    _requests = requests
    if not hasattr(ModelRunner.compute_batch, "_dosimeter"):
        _patch_requests()
        _patch_steps()
        _patch_generate()


@contextlib.contextmanager
def installed(requests: Requests) -> Iterator[None]:
    """Seams patched with this registry; the one before comes back at the end."""
    global _requests
    before = _requests
    install(requests)
    try:
        yield
    finally:
        _requests = before


def _wrap(owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    wrapper = functools.wraps(original)(make(original))
    wrapper._dosimeter = True  # type: ignore[attr-defined]
    setattr(owner, name, wrapper)


def _guarded(do: Callable[[], None]) -> None:
    """Our bookkeeping beside a call of the server: an error here costs us a request, never the server.

    It is counted, and the request comes up short against the server's own count.
    """
    try:
        do()
    except Exception as error:
        if _requests is not None:
            _requests.failed(error)


# ---- continuous batching: a request is a RequestState object -------------------------------------------


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
    # Offsets are advanced before a step; what the server then could not run, it did not serve.
    ran = state.position_offset - state._dosimeter.undone
    served = initial + len(generated) - 1 if outcome == "finished" else ran
    return End(outcome, initial, len(generated), max(0, served), "scheduler", generated)


def _patch_requests() -> None:
    def born(original: Callable[..., Any]) -> Callable[..., Any]:
        def __post_init__(self: RequestState) -> None:  # noqa: N807
            original(self)
            # A soft reset builds a new state for the same request: it already carries generated text.
            if _requests is None or self._true_initial_tokens:
                return
            if not self.request_id.startswith("__warmup_"):
                _guarded(lambda: _open(self, None))

        return __post_init__

    def forked(original: Callable[..., Any]) -> Callable[..., Any]:
        def fork(self: RequestState, new_request_id: str) -> RequestState:
            parent = None
            with contextlib.suppress(Exception):
                parent = _of(self)
            self._dosimeter = None  # the copy below is deep, and a request is not copied
            try:
                child = original(self, new_request_id)
            finally:
                self._dosimeter = parent
            if parent is not None:
                _guarded(lambda: _open(child, parent))
            return child

        return fork

    def reset(original: Callable[..., Any]) -> Callable[..., Any]:
        def create_equivalent_initial_request(self: RequestState) -> RequestState:
            again: RequestState = original(self)
            _guarded(lambda: _stand_for(again, _of(self), self.request_id))
            return again

        return create_equivalent_initial_request

    def updated(original: Callable[..., Any]) -> Callable[..., Any]:
        def update_and_check_completion(
            self: RequestState, token_id: int, logprob: float | None
        ) -> bool:
            # The one sign of a true end: a soft reset also marks the state it replaces as finished.
            complete: bool = original(self, token_id, logprob)
            if complete:
                _guarded(lambda: _ended(self, "finished"))
            return complete

        return update_and_check_completion

    def cancelled(original: Callable[..., Any]) -> Callable[..., Any]:
        def clear_cancelled_requests(self: Scheduler) -> list[RequestState]:
            states: list[RequestState] = original(self)
            for state in states:
                _guarded(functools.partial(_ended, state, "cancelled"))
            return states

        return clear_cancelled_requests

    def failed(original: Callable[..., Any]) -> Callable[..., Any]:
        def fail_and_deliver(self: OutputRouter, state: RequestState, error: Exception) -> None:
            _guarded(lambda: _ended(state, "failed"))
            original(self, state, error)

        return fail_and_deliver

    _wrap(RequestState, "__post_init__", born)
    _wrap(RequestState, "fork", forked)
    _wrap(RequestState, "create_equivalent_initial_request", reset)
    _wrap(RequestState, "update_and_check_completion", updated)
    _wrap(Scheduler, "clear_cancelled_requests", cancelled)
    _wrap(OutputRouter, "fail_and_deliver", failed)


def _open(state: RequestState, parent: Request | None) -> None:
    if _requests is not None:
        prompt_len = state._true_initial_tokens or len(state.initial_tokens)
        prompt = state.initial_tokens[:prompt_len]
        request = _requests.open(prompt, current_ticket.get(), parent)
        _stand_for(state, request, state.request_id)


def _stand_for(state: RequestState, request: Request | None, request_id: str) -> None:
    """This object of the server is that request, until the collector takes it: a state can be dropped
    without an end (its id was repeated, the queue was full), and its request must not stay for ever."""
    state._dosimeter, state._dosimeter_id = request, request_id
    if request is not None and _requests is not None:
        request.held += 1
        weakref.finalize(state, _requests.released, request).atexit = False


def _ended(state: RequestState, outcome: str) -> None:
    request = _of(state)
    if request is not None and _requests is not None:
        _requests.tap_ended(request, _end_of(state, outcome))


def _patch_steps() -> None:
    def runner(original: Callable[..., Any]) -> Callable[..., Any]:
        def compute_batch(self: ModelRunner, model: nn.Module, batch_data: dict[str, Any]) -> Any:
            tap = _taps.get(model)
            if tap is None:
                return original(self, model, batch_data)
            return tap.step(
                functools.partial(_packed_rows, self), lambda: original(self, model, batch_data)
            )

        return compute_batch

    _wrap(ModelRunner, "compute_batch", runner)


def _packed_rows(runner: ModelRunner) -> tuple[list[Rows], npt.NDArray[np.int64] | None]:
    """Requests of the batch in packing order; rows after them are padding. Offsets are already advanced."""
    io = runner.inputs_and_outputs
    if hasattr(io, "io_pairs"):
        io = io.io_pairs[io.current_pair].host_io
    rows, skipped, at = [], [], 0
    for future in io.requests_in_batch:
        request, n = _of(future.state), future.query_length
        if request is None:
            skipped.append((at, at + n))
        else:
            rows.append(Rows(request, future.state.position_offset - n, n))
        at += n
    if not skipped or not rows:
        return rows, None
    keep = np.ones(at, bool)
    for start, stop in skipped:
        keep[start:stop] = False
    return rows, np.flatnonzero(keep)


# ---- generate: a request is one row of the batch -------------------------------------------------------


class _Call:
    """One call of `generate` on a tapped model. nested: drafts that assisted decoding asks of the same model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.nested = 0
        self.watched = False


def _patch_generate() -> None:
    def sampled(original: Callable[..., Any]) -> Callable[..., Any]:
        def _sample(self: Any, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            call = _thread.call
            if call is None or call.model is not self or call.nested:
                return original(self, input_ids, *args, **kwargs)
            batch = _watch(self, input_ids, kwargs)
            if batch is None:
                return original(self, input_ids, *args, **kwargs)
            call.watched = True
            with batch.watching():
                return batch.finish(original(self, input_ids, *args, **kwargs))

        return _sample

    def generated(original: Callable[..., Any]) -> Callable[..., Any]:
        def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
            if _taps.get(self) is None:
                return original(self, *args, **kwargs)
            outer = _thread.call
            if outer is not None and outer.model is self:
                outer.nested += 1
                try:
                    return original(self, *args, **kwargs)
                finally:
                    outer.nested -= 1
            call = _thread.call = _Call(self)
            try:
                output = original(self, *args, **kwargs)
            finally:
                _thread.call = outer
            if not call.watched:
                _guarded(lambda: _count_unsupported(self, args, kwargs, output))
            return output

        return generate

    _wrap(GenerationMixin, "_sample", sampled)
    _wrap(GenerationMixin, "generate", generated)


def _watch(model: Any, input_ids: torch.Tensor, kwargs: dict[str, Any]) -> _Batch | None:
    """The row map of one call of `_sample`; None where none is proven, or where making it failed."""
    tap = _taps.get(model)
    if tap is None or _requests is None or model.config.is_encoder_decoder:
        return None
    mask = kwargs.get("attention_mask")
    if kwargs.get("inputs_embeds") is not None:
        return None  # positions without a token: no span, no text, and none in the server's output
    if mask is not None and mask.dim() == 2 and mask.shape != input_ids.shape:
        return None
    try:
        return _Batch(tap, _requests, input_ids, kwargs)
    except Exception as error:
        _requests.failed(error)
        return None


def _before_forward(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if torch.compiler.is_compiling():
        return
    batch = _thread.batch
    if batch is not None:
        batch.before(args[0] if args else kwargs.get("input_ids"))


def _after_forward(_module: nn.Module, _args: Any, _output: Any) -> None:
    if torch.compiler.is_compiling():
        return
    batch = _thread.batch
    if batch is not None:
        batch.after()


def _sequences(output: Any) -> torch.Tensor:
    found: torch.Tensor = output if isinstance(output, torch.Tensor) else output.sequences
    return found


def _count_unsupported(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> None:
    """Beams, assisted decoding, custom loops: refused, and every token of them counted as such."""
    if _requests is None:
        return
    prompt = args[0] if args else kwargs.get("inputs", kwargs.get("input_ids"))
    repeated = 0 if prompt is None else int(prompt.shape[-1])  # columns of the prompt in the output
    embeds = kwargs.get("inputs_embeds")
    columns = repeated if embeds is None else int(embeds.shape[1])
    if model.config.is_encoder_decoder:
        repeated = 1  # the decoder's start token; its last token has no row, its first one does
    mask = kwargs.get("attention_mask")
    sequences = _sequences(output).tolist()
    config = kwargs.get("generation_config") or model.generation_config
    eos = _as_set(kwargs.get("eos_token_id", config.eos_token_id))
    for index, sequence in enumerate(sequences):
        real = columns
        if mask is not None and mask.dim() == 2:
            real = int(mask[index * len(mask) // len(sequences)].sum())
        generated = _up_to_end(sequence[repeated:], eos)
        known = repeated == columns
        ids = sequence[columns - real : columns] if known else [0] * real
        request = _requests.open(ids, current_ticket.get())
        served = max(0, real + len(generated) - 1)
        request.miss("unsupported", served)
        end = End("finished", real, len(generated), served, "output", generated)
        _requests.tap_ended(request, end)


def _as_set(eos: Any) -> set[int]:
    return set(eos) if isinstance(eos, (list, tuple)) else {eos}


def _up_to_end(generated: list[int], eos: set[int]) -> list[int]:
    """Generated tokens up to and with the first end-of-sequence token; padding follows it."""
    stop = next((i + 1 for i, token in enumerate(generated) if token in eos), len(generated))
    return generated[:stop]


class _Batch:
    """One call of `_sample`: B rows, left-padded prompts, one column a step after the prompt."""

    def __init__(
        self, tap: Tap, requests: Requests, input_ids: torch.Tensor, kwargs: dict[str, Any]
    ) -> None:
        self.tap, self.requests = tap, requests
        mask = kwargs.get("attention_mask")
        if mask is None or mask.dim() != 2:
            mask = torch.ones_like(input_ids)
        past = kwargs.get("past_key_values")
        self.mask = mask.cpu().numpy().astype(bool)  # [B, prompt columns]
        self.prompt_columns = input_ids.shape[1]
        self.use_cache = bool(kwargs.get("use_cache", True))
        self.eos = _as_set(kwargs["generation_config"].eos_token_id)
        # Columns of the batch that ran; a cache that the caller brought holds the first ones.
        self.column = int(past.get_seq_length()) if past is not None and self.use_cache else 0
        self.step: Step | None = None
        self.lost = False  # the row map failed: where the rows stand is not known any more
        ids = input_ids.tolist()
        ticket = current_ticket.get()
        self.rows = [
            requests.open(
                [token for token, real in zip(ids[b], self.mask[b], strict=True) if real], ticket
            )
            for b in range(len(ids))
        ]
        self.finished = [False] * len(ids)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Steps are forwards of the top module. On an error of the server, the rows end as cancelled."""
        outer, _thread.batch = _thread.batch, self
        try:
            yield
        except BaseException:
            _guarded(self._cancel)
            raise
        finally:
            _thread.batch = outer

    def _cancel(self) -> None:
        if self.step is not None:
            self.tap.abandon(self.step)
        for request in self.rows:
            end = End("cancelled", request.prompt_len, 0, request.next_position, "tap")
            self.requests.tap_ended(request, end)

    def before(self, ids: torch.Tensor) -> None:
        if self.lost:
            return
        self.step = self.tap.begin(functools.partial(self._mapped, ids))

    def after(self) -> None:
        step, self.step = self.step, None
        if step is not None:
            self.tap.end(step)

    def _mapped(self, ids: torch.Tensor) -> tuple[list[Rows], npt.NDArray[np.int64] | None]:
        self.lost = True
        found = self.row_map(ids)
        self.lost = False
        return found

    def row_map(self, ids: torch.Tensor) -> tuple[list[Rows], npt.NDArray[np.int64] | None]:
        columns = int(ids.shape[1])
        first = self.column if self.use_cache else 0
        self.column = first + columns
        if self.column > self.prompt_columns:
            self._mark_finished(ids[:, -1].tolist())
        rows, select = [], []
        for b, request in enumerate(self.rows):
            if self.finished[b]:
                continue
            real = self._real(b, first, columns)
            if len(real):
                before = int(self.mask[b, :first].sum()) + max(0, first - self.prompt_columns)
                rows.append(Rows(request, before, len(real)))
                select.append(b * columns + real)
        if not rows:
            return rows, None
        return rows, np.concatenate(select)

    def _mark_finished(self, last: list[int]) -> None:
        """A row whose input is an end-of-sequence token of its own has ended; what follows is padding."""
        for b, token in enumerate(last):
            self.finished[b] = self.finished[b] or token in self.eos

    def _real(self, b: int, first: int, columns: int) -> npt.NDArray[np.int64]:
        """Columns of this step that hold a token of row b; the prompt is padded on the left."""
        real = np.ones(columns, bool)
        stop = min(self.prompt_columns, first + columns)
        if first < stop:
            real[: stop - first] = self.mask[b, first:stop]
        return np.flatnonzero(real)

    def finish(self, output: Any) -> Any:
        _guarded(lambda: self._finish(_sequences(output).tolist()))
        return output

    def _finish(self, sequences: list[list[int]]) -> None:
        unwatched = (
            max(map(len, sequences), default=0) - 1 > self.column
        )  # forwards that no hook met
        for request, sequence in zip(self.rows, sequences, strict=True):
            generated = _up_to_end(sequence[self.prompt_columns :], self.eos)
            served = max(0, request.prompt_len + len(generated) - 1)
            if self.lost or unwatched:
                seen = request.emitted + request.cached + sum(request.unscored.values())
                request.miss("tap_error" if self.lost else "unsupported", max(0, served - seen))
            end = End("finished", request.prompt_len, len(generated), served, "output", generated)
            self.requests.tap_ended(request, end)
