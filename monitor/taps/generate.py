"""`generate` of transformers: a request is one row of the batch.

Beams, assisted decoding and custom loops have no proven row map: their tokens are counted, not scored.
What a row is follows from the columns that ran, the prompt's padding and the end-of-sequence tokens.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers.generation.utils import GenerationMixin
from transformers.modeling_utils import PreTrainedModel

from dosimeter.monitor.taps import seams
from dosimeter.monitor.taps.requests import End, Requests
from dosimeter.monitor.taps.rows import Rows
from dosimeter.monitor.taps.seams import current_ticket, guarded, wrap
from dosimeter.monitor.taps.tap import Step, Tap


class _Thread(threading.local):
    """What this thread is generating: the call of `generate`, and the batch its forwards belong to."""

    call: _Call | None = None
    batch: _Batch | None = None


_thread = _Thread()


def patch() -> None:
    """Once in a process."""
    if not seams.wrapped(GenerationMixin, "_sample"):
        _patch_generate()


def watch_forward(model: nn.Module) -> list[Any]:
    """Hooks that tell a batch of its steps; the model's own `forward` stays as accelerate or a compiler left it."""
    return [
        model.register_forward_pre_hook(_before_forward, with_kwargs=True),
        model.register_forward_hook(_after_forward),
    ]


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
            if seams.taps.get(self) is None:
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
                guarded(lambda: _count_unsupported(self, args, kwargs, output))
            return output

        return generate

    def compiled(original: Callable[..., Any]) -> Callable[..., Any]:
        def get_compiled_call(self: Any, *args: Any, **kwargs: Any) -> Any:
            forward, batch = original(self, *args, **kwargs), _thread.batch
            if batch is None or seams.taps.get(self) is not batch.tap:
                return forward
            return batch.around(forward)

        return get_compiled_call

    wrap(GenerationMixin, "_sample", sampled)
    wrap(GenerationMixin, "generate", generated)
    wrap(PreTrainedModel, "get_compiled_call", compiled)


def _watch(model: Any, input_ids: torch.Tensor, kwargs: dict[str, Any]) -> _Batch | None:
    """The row map of one call of `_sample`; None where none is proven, or where making it failed."""
    tap = seams.taps.get(model)
    if tap is None or seams.requests is None or model.config.is_encoder_decoder:
        return None
    mask = kwargs.get("attention_mask")
    if kwargs.get("inputs_embeds") is not None:
        return None  # positions without a token: no span, no text, and none in the server's output
    if mask is not None and mask.dim() == 2 and mask.shape != input_ids.shape:
        return None
    try:
        return _Batch(tap, seams.requests, input_ids, kwargs)
    except Exception as error:
        seams.requests.failed(error)
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
    if seams.requests is None:
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
        request = seams.requests.open(ids, current_ticket.get())
        served = max(0, real + len(generated) - 1)
        request.miss("unsupported", served)
        end = End("finished", real, len(generated), served, "output", generated)
        seams.requests.tap_ended(request, end)


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
            guarded(self._cancel)
            raise
        finally:
            _thread.batch = outer

    def _cancel(self) -> None:
        if self.step is not None:
            self.tap.abandon(self.step)
        for request in self.rows:
            end = End("cancelled", request.prompt_len, 0, request.next_position, "tap")
            self.requests.tap_ended(request, end)

    def around(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A forward that the compiler runs: the top module's hooks are in its graph, where they do nothing."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.before(args[0] if args else kwargs.get("input_ids"))
            output = forward(*args, **kwargs)
            self.after()
            return output

        return watched

    def before(self, ids: torch.Tensor) -> None:
        if self.lost or self.step is not None:  # begun around it already
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
        guarded(lambda: self._finish(_sequences(output).tolist()))
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
