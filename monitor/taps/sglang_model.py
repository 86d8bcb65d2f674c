"""SGLang's models, as far as a read-out must know them: where a block leaves the residual stream.

In most of them a block returns what it adds, and the sum it is to be added to waits in the batch
(`ForwardBatch.residual_stream`) for the next norm: the output alone is not the residual stream. `snapshot` there
gives the sum and takes nothing away. Other models return the pair, as vLLM's do.
"""

from __future__ import annotations

from typing import Any

import torch

from dosimeter.monitor.taps import vllm_model
from dosimeter.monitor.taps.probe_op import HookError


class ResidualStream:
    """The residual stream after a block, read while the model runs. `enter` is called before its first block."""

    def __init__(self) -> None:
        self._batch: Any = None

    def enter(self, _decoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A pre-hook of the decoder. The batch that runs is often a copy of the one that was scheduled."""
        named = (one for one in (*args, *kwargs.values()) if hasattr(one, "residual_stream"))
        self._batch = next(named, None)

    def leave(self, *_: Any) -> None:
        self._batch = None

    def __call__(self, output: Any) -> torch.Tensor:
        stream = getattr(self._batch, "residual_stream", None)
        if stream is None:
            return vllm_model.residual(output)
        found: torch.Tensor = stream.snapshot(output)
        if not isinstance(found, torch.Tensor):
            raise HookError(f"the residual stream is {type(found).__name__}")
        return found
