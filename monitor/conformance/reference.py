"""What every score must be: each sequence alone, one plain forward, dot products in float64.

It shares no code with a tap: its own copy of the model, its own hooks, no cache, no batch, no padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM

from dosimeter.detectors.bank import Probe
from dosimeter.detectors.frames import Codes, to_codes

Hidden = npt.NDArray[np.float32]

CLOSE = {"float32": (1, 1 / 4096), "float16": (64, 1 / 16), "bfloat16": (64, 1 / 16)}
"""dtype -> what a code may differ by, in 1/256 sd: so many, and this share of the code itself. In float32
one code is a rounding that fell the other way; half precision differs with the shape of the batch."""


class Reference:
    """A model read from its folder for this alone."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Raises OSError or ValueError where transformers cannot load a decoder from `folder`."""
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", local_files_only=True
        ).eval()
        self.model.to(device)
        self.dtype = str(self.model.dtype).removeprefix("torch.")
        self.probes: tuple[Probe, ...] = ()

    @property
    def layers(self) -> int:
        return len(self._blocks())

    @property
    def vocabulary(self) -> int:
        return int(self.model.get_input_embeddings().num_embeddings)

    @property
    def context(self) -> int:
        """Longest sequence the model takes."""
        return int(getattr(self.model.config, "max_position_embeddings", 2048))

    def hidden(self, ids: Sequence[int], layers: Sequence[int]) -> Hidden:
        """float32 [L, T, D]: what blocks `layers` put out."""
        found: dict[int, Hidden] = {}

        def keep(layer: int) -> Any:
            def hook(_module: Any, _args: Any, output: Any) -> None:
                out = output[0] if isinstance(output, tuple) else output
                found[layer] = out.reshape(-1, out.shape[-1]).float().cpu().numpy()

            return hook

        blocks = self._blocks()
        handles = [blocks[layer].register_forward_hook(keep(layer)) for layer in layers]
        try:
            self._forward(ids)
        finally:
            for handle in handles:
                handle.remove()
        return np.stack([found[layer] for layer in layers])

    def codes(self, ids: Sequence[int]) -> Codes:
        """int16 [T, F]: the code of every position of a sequence, column by column of `probes`."""
        layers = sorted({n for probe in self.probes for n in probe.layers})
        hidden = self.hidden(ids, layers).astype(np.float64)
        columns = []
        for probe in self.probes:
            mine = hidden[[layers.index(n) for n in probe.layers]]
            columns.append(np.einsum("ltd,ld->t", mine, probe.weights.astype(np.float64)))
            columns[-1] += probe.bias
        return to_codes(np.stack(columns, axis=1))

    def likeliest(self, ids: Sequence[int], among: Sequence[int]) -> int:
        """Of some tokens, the one this model would say next."""
        logits = self._forward(ids).logits[0, -1].float().cpu().numpy()
        return max(among, key=lambda token: float(logits[token]))

    def off(
        self, found: Codes, expected: Codes
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """[T]: the largest difference of a row in codes; and whether it is more than arithmetic explains."""
        least, share = CLOSE.get(self.dtype, CLOSE["bfloat16"])
        wide = expected.astype(np.int64)
        apart = np.abs(found.astype(np.int64) - wide)
        return apart.max(axis=1), (apart > least + np.abs(wide) * share).any(axis=1)

    def _forward(self, ids: Sequence[int]) -> Any:
        with torch.no_grad():
            tensor = torch.tensor([list(ids)], device=self.model.device)
            return self.model(input_ids=tensor, use_cache=False, logits_to_keep=1)

    def _blocks(self) -> Any:
        return self.model.get_decoder().layers
