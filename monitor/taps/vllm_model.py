"""vLLM's models, as far as a read-out must know them: their blocks, what a block returns, where the weights lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dosimeter.monitor.taps.probe_op import HookError

BLOCKS = ("model.layers", "transformer.h", "model.decoder.layers", "gpt_neox.layers")
"""Where vLLM's decoders keep their blocks."""


def residual(output: Any) -> torch.Tensor:
    """vLLM's blocks leave the last addition to the next norm; some add at once, and have nothing beside it or None.

    What no two tensors of a stream are is not added: while a compiler traces this, such an error is the server's.
    """
    found = output if isinstance(output, tuple) else (output, None)
    if len(found) != 2:
        raise HookError(f"a block returned {len(found)} values")
    hidden, rest = found
    for one in (hidden,) if rest is None else found:
        if not isinstance(one, torch.Tensor):
            raise HookError(f"a block returned {type(one).__name__}")
    if rest is None:
        return hidden
    if (hidden.dim(), hidden.shape[-1]) != (rest.dim(), rest.shape[-1]):
        raise HookError("a block returned two tensors that are not added")
    return hidden + rest


def blocks(model: nn.Module) -> Sequence[nn.Module]:
    """The decoder blocks, in order. Raises HookError where they are not found."""
    language: Any = getattr(model, "get_language_model", lambda: model)()
    for path in BLOCKS:
        found = language
        for name in path.split("."):
            found = getattr(found, name, None)
        if isinstance(found, nn.ModuleList):
            layers: Sequence[nn.Module] = found
            return layers
    raise HookError(f"`{type(model).__name__}` keeps its blocks in none of {', '.join(BLOCKS)}")


def folder_of(model_config: Any) -> Path:
    """Where the weights lie on this disk. Raises ValueError, or what the hub's cache raises."""
    name = str(model_config.model)
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=model_config.revision, local_files_only=True))
