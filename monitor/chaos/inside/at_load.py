"""What a model can be when it comes out of `from_pretrained`, before the tap sees it: an upgrade, another library.

Each says what it stands for. What happens to a model while it serves is in `faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def renamed_layers(model: Any) -> None:
    """A release that calls its blocks something else: the list of blocks has another name."""
    decoder = model.get_decoder()
    kept = decoder.layers
    del decoder.layers
    decoder.blocks = kept
    original = decoder.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        decoder.__dict__["layers"] = kept  # for its own code, which this fake cannot rewrite
        try:
            return original(*args, **kwargs)
        finally:
            del decoder.__dict__["layers"]

    decoder.forward = forward


def other_output(model: Any) -> None:
    """A release whose blocks return (hidden - residual, residual) and leave the sum to the next one."""
    for block in model.get_decoder().layers:
        original = block.forward

        def forward(
            hidden: Any, *args: Any, _original: Callable[..., Any] = original, **kwargs: Any
        ) -> Any:
            residual = getattr(hidden, "residual", None)
            whole = hidden if residual is None else hidden.as_subclass(torch.Tensor) + residual
            out = _original(whole, *args, **kwargs)
            part = (out - whole).as_subclass(Part)
            part.residual = whole
            return part

        block.forward = forward
    norm = model.get_decoder().norm
    last = norm.forward
    norm.forward = lambda hidden: last(
        hidden.as_subclass(torch.Tensor) + hidden.residual if isinstance(hidden, Part) else hidden
    )


class Part(torch.Tensor):  # type: ignore[misc]
    """A block's output without the residual stream, which it carries along."""

    residual: Any


def other_order(model: Any) -> None:
    """A release that numbers its blocks from the other end: what it runs stays as it was."""
    decoder = model.get_decoder()
    kept = list(decoder.layers)
    decoder.layers = nn.ModuleList(reversed(kept))
    original = decoder.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        shown = decoder.layers
        decoder.layers = nn.ModuleList(kept)
        try:
            return original(*args, **kwargs)
        finally:
            decoder.layers = shown

    decoder.forward = forward


def compiled_before(model: Any) -> None:
    """Compiled and run before anyone could hook in: the compiled code stays, hooks that come later do not fire."""
    decoder = model.get_decoder()
    decoder.forward = torch.compile(decoder.forward, backend="eager")
    with torch.no_grad():
        for length in (5, 9, 16, 24):
            model(input_ids=torch.ones((1, length), dtype=torch.long), use_cache=False)


AT_LOAD: dict[str | None, Callable[[Any], None]] = {
    "renamed-layers": renamed_layers,
    "other-output": other_output,
    "other-order": other_order,
    "compiled-before": compiled_before,
}


def other_release() -> None:
    """transformers was upgraded under the tap: its version, as far as anybody can ask."""
    import transformers

    transformers.__version__ = "5.24.0"


RELEASE: dict[str, Callable[[], None]] = {"other-release": other_release}
