"""What `dosimeter bench attach` runs: the model, the batch, the probes, and who takes part.

It owns names that the benchmark and its processes share, and must never import torch or a peer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

PHASES = ("prefill", "decode")
BARE, AGAIN = "bare", "bare again"
OURS, IDLE = "ours", "hooks that do nothing"
HIDDEN = "output_hidden_states and numpy"
LOOPS = ("numpy loop", "module loop")
COMPILED = "ours, compiled"
CLOCKED = "clocked inside"  # for its time in hooks alone
PEERS = ("nnsight", "TransformerLens")
DISTRIBUTIONS = {"nnsight": "nnsight", "TransformerLens": "transformer-lens"}


@dataclass(frozen=True)
class Setting:
    """A llama-shaped model of random weights, the same in every process; tapped: which blocks, by name."""

    layers: int = 16
    width: int = 1024
    batch: int = 8
    prompt: int = 64
    probes: int = 64
    tapped: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {"4 layers": (3, 6, 9, 12), "all layers": tuple(range(16))}
    )
    backend: str = "inductor"
    dtype: str = "bfloat16"  # of the model: a name that torch has

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Setting:
        body: dict[str, Any] = json.loads(text)
        tapped = {name: tuple(layers) for name, layers in body.pop("tapped").items()}
        return Setting(**body, tapped=tapped)


@dataclass(frozen=True, slots=True)
class Step:
    """One forward, ns of processor time: all of it with what was put around it, and inside hooks."""

    whole: int
    hooks: int
