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
    """vLLM's blocks leave the last addition to the next norm; a few older models add at once."""
    if isinstance(output, tuple):
        hidden, rest = output
        summed: torch.Tensor = hidden + rest
        return summed
    if not isinstance(output, torch.Tensor):
        raise HookError(f"a block returned {type(output).__name__}")
    return output


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
