"""`generate` of transformers: a request is one row of the batch.

`batch` and `drafted` hold the row maps. Beams and custom loops have none: their tokens are counted, not scored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.generation.utils import GenerationMixin
from transformers.modeling_utils import PreTrainedModel

from dosimeter.monitor.taps import seams
from dosimeter.monitor.taps.batch import (
    Batch,
    as_set,
    inputs_of,
    running,
    sequences_of,
    up_to_end,
)
from dosimeter.monitor.taps.drafted import Drafted
from dosimeter.monitor.taps.requests import End
from dosimeter.monitor.taps.seams import current_ticket, guarded, wrap


class _Thread(threading.local):
    """The call of `generate` that this thread is in."""

    call: _Call | None = None


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
    def watched(kind: type[Batch]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def looped(original: Callable[..., Any]) -> Callable[..., Any]:
            def loop(self: Any, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
                call = _thread.call
                if call is None or call.model is not self or call.nested:
                    return original(self, input_ids, *args, **kwargs)
                batch = _watch(kind, self, input_ids, kwargs)
                if batch is None:
                    return original(self, input_ids, *args, **kwargs)
                call.watched = True
                with batch.watching():
                    return batch.finish(original(self, input_ids, *args, **kwargs))

            return loop

        return looped

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
            forward, batch = original(self, *args, **kwargs), running.batch
            if batch is None or seams.taps.get(self) is not batch.tap:
                return forward
            return batch.around(forward)

        return get_compiled_call

    wrap(GenerationMixin, "_sample", watched(Batch))
    wrap(GenerationMixin, "_assisted_decoding", watched(Drafted))
    wrap(GenerationMixin, "generate", generated)
    wrap(PreTrainedModel, "get_compiled_call", compiled)


def _watch(
    kind: type[Batch], model: Any, input_ids: torch.Tensor, kwargs: dict[str, Any]
) -> Batch | None:
    """The row map of one call of a loop; None where none is proven, or where making it failed."""
    tap = seams.taps.get(model)
    if tap is None or seams.requests is None:
        return None
    try:
        if model.config.is_encoder_decoder:
            return None
        mask = kwargs.get("attention_mask")
        if kwargs.get("inputs_embeds") is not None:
            return (
                None  # positions without a token: no span, no text, and none in the server's output
            )
        if mask is not None and mask.dim() == 2 and mask.shape != input_ids.shape:
            return None
        past = kwargs.get("past_key_values")
        if kind is Drafted and (past is None or int(past.get_seq_length())):
            return None  # transformers runs all of the prompt once more behind what the caller's cache holds
        return kind(tap, seams.requests, input_ids, kwargs)
    except Exception as error:
        seams.requests.failed(error)
        return None


def _before_forward(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if torch.compiler.is_compiling():
        return
    batch = _batch()
    if batch is not None:
        guarded(lambda: batch.before(*inputs_of(args, kwargs)))


def _after_forward(_module: nn.Module, _args: Any, _output: Any) -> None:
    if torch.compiler.is_compiling():
        return
    batch = _batch()
    if batch is not None:
        guarded(batch.after)


def _batch() -> Batch | None:
    """Whose forward this is; None for a draft that a part of the same model makes."""
    call = _thread.call
    return None if call is None or call.nested else running.batch


def _count_unsupported(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> None:
    """Beams, custom loops: refused, and every token of them counted as such."""
    if seams.requests is None:
        return
    prompt = args[0] if args else kwargs.get("inputs", kwargs.get("input_ids"))
    repeated = 0 if prompt is None else int(prompt.shape[-1])  # columns of the prompt in the output
    embeds = kwargs.get("inputs_embeds")
    columns = repeated if embeds is None else int(embeds.shape[1])
    if model.config.is_encoder_decoder:
        repeated = 1  # the decoder's start token; its last token has no row, its first one does
    mask = kwargs.get("attention_mask")
    sequences = sequences_of(output).tolist()
    config = kwargs.get("generation_config") or model.generation_config
    eos = as_set(kwargs.get("eos_token_id", config.eos_token_id))
    for index, sequence in enumerate(sequences):
        real = columns
        if mask is not None and mask.dim() == 2:
            real = int(mask[index * len(mask) // len(sequences)].sum())
        generated = up_to_end(sequence[repeated:], eos)
        known = repeated == columns
        ids = sequence[columns - real : columns] if known else [0] * real
        request = seams.requests.open(ids, current_ticket.get())
        served = max(0, real + len(generated) - 1)
        request.miss("unsupported", served)
        end = End("finished", real, len(generated), served, "output", generated)
        seams.requests.tap_ended(request, end)
