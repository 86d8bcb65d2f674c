"""The process that `dosimeter bench attach` asks for steps: `python -m … KIND SETTING`, JSON lines on stdin and stdout.

It owns what a step of each variant is, and is run by the interpreter of the environment that the variant needs. Time is
the processor time of this process, all of its threads, so that neighbours do not count and a peer's own threads do.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TextIO

import numpy as np
import torch
from torch import nn

from dosimeter.detectors.bank import ProbeBank
from dosimeter.monitor.bench.attach_setting import (
    AGAIN,
    BARE,
    DISTRIBUTIONS,
    HIDDEN,
    IDLE,
    LOOPS,
    OURS,
    PHASES,
    Setting,
    Step,
)
from dosimeter.monitor.bench.decoder import Decoder
from dosimeter.monitor.bench.variants import (
    Nothing,
    NumpyLoop,
    Tapped,
    Times,
    bank_of,
    going_on,
)

AGREE = (
    0.02  # of the scores' own size: models are bfloat16, and not every peer runs the same attention
)


class Forward:
    """One phase, again and again from the same state. `model`: the decoder's, or what a peer made of it."""

    def __init__(self, model: Any, ids: torch.Tensor, past: Any = None) -> None:
        self.model, self.ids, self.past = model, ids, past
        self.options: dict[str, Any] = {"use_cache": True, "logits_to_keep": 1}
        if past is not None:
            self.options["past_key_values"] = past

    def __call__(self) -> None:
        self.run()

    def run(self, **more: Any) -> Any:
        with torch.no_grad():
            found = self.model(self.ids, **self.options, **more)
        self.undo()
        return found

    def undo(self) -> None:
        """Take off the token that a decoding step added."""
        if self.past is not None:
            self.past.crop(-1)


Variant = Callable[[Forward], Times]


def forwards_of(decoder: Decoder, setting: Setting) -> dict[str, Forward]:
    model = decoder.model
    draw = torch.Generator().manual_seed(1)
    words = model.config.vocab_size
    prompt = torch.randint(0, words, (setting.batch, setting.prompt), generator=draw)
    token = torch.randint(0, words, (setting.batch, 1), generator=draw)
    with torch.no_grad():
        past = model(prompt, logits_to_keep=1).past_key_values
    return {"prefill": Forward(model, prompt), "decode": Forward(model, token, past)}


def rows_of(setting: Setting, phase: str) -> int:
    """Of one request in one step."""
    return setting.prompt if phase == "prefill" else 1


class ModuleLoop(Nothing):
    """A hook as people write it who train probes in torch: a linear layer and a sigmoid for each probe."""

    def __init__(self, bank: ProbeBank, rows: int, dtype: torch.dtype) -> None:
        super().__init__(bank.layers)
        self._probes = [[_linear(weight, dtype) for weight in layer] for layer in bank.weights]
        self.values = torch.empty((rows, len(bank.columns)))

    def hook(self, index: int) -> Callable[..., None]:
        def read(_module: Any, _args: Any, output: torch.Tensor) -> None:
            hidden = output.reshape(-1, output.shape[-1])
            with torch.no_grad():
                for number, probe in enumerate(self._probes[index]):
                    self.values[:, number] = torch.sigmoid(probe(hidden)).squeeze(-1)

        return read


def _linear(weight: Any, dtype: torch.dtype) -> nn.Linear:
    found = nn.Linear(len(weight), 1, dtype=dtype)
    with torch.no_grad():
        found.weight.copy_(torch.tensor(weight)[None])
        found.bias.zero_()
    return found


class HiddenStates:
    """The model hands out its hidden states, and numpy multiplies those of the tapped blocks after the forward."""

    def __init__(self, bank: ProbeBank) -> None:
        self._layers, self._weights = bank.layers, bank.weights
        self.scores = np.zeros((0, 0), np.float32)

    def __call__(self, forward: Forward) -> Times:
        states = forward.run(output_hidden_states=True).hidden_states
        self.scores = sum(
            states[layer + 1].reshape(-1, states[0].shape[-1]).float().numpy() @ weights.T
            for layer, weights in zip(self._layers, self._weights, strict=True)
        )  # the last state is after the norm: another value, as long to read
        return Times(0, 0, 0)


def put_in(decoder: Decoder, variant: Nothing) -> Variant:
    return lambda forward: variant.step(decoder.blocks, forward)


def ours(decoder: Decoder, setting: Setting, phase: str) -> dict[str, Variant]:
    rows = rows_of(setting, phase)
    found = {BARE: put_in(decoder, Nothing()), AGAIN: put_in(decoder, Nothing())}
    for name, layers in setting.tapped.items():
        bank = bank_of(setting.probes, layers, setting.width)
        numpy_loop, module_loop = (
            NumpyLoop(bank, rows * setting.batch),
            ModuleLoop(bank, rows * setting.batch, decoder.dtype),
        )
        found |= {
            f"{IDLE}, {name}": put_in(decoder, Nothing(layers)),
            f"{OURS}, {name}": put_in(decoder, Tapped(bank, going_on(setting.batch, rows))),
            f"{HIDDEN}, {name}": HiddenStates(bank),
            f"{LOOPS[0]}, {name}": put_in(decoder, numpy_loop),
            f"{LOOPS[1]}, {name}": put_in(decoder, module_loop),
        }
    return found


def exact(decoder: Decoder, bank: ProbeBank, forward: Forward) -> Any:
    """float32 [T, F]: what a bare forward's own blocks put out, multiplied at once."""
    kept: list[torch.Tensor] = []
    handles = [
        decoder.blocks[layer].register_forward_hook(lambda _m, _a, out: kept.append(out.clone()))
        for layer in bank.layers
    ]
    forward()
    for handle in handles:
        handle.remove()
    wide = [hidden.reshape(-1, hidden.shape[-1]).float().numpy() for hidden in kept]
    return sum(rows @ weights.T for rows, weights in zip(wide, bank.weights, strict=True))


def agreed(scores: Any, expected: Any) -> None:
    """A peer that reads something else would be compared for nothing."""
    if scores.shape != expected.shape:
        raise RuntimeError(f"scores are {scores.shape}, not {expected.shape}")
    apart = float(np.sqrt(np.mean((scores - expected) ** 2) / np.mean(expected**2)))
    if not apart <= AGREE:
        raise RuntimeError(f"scores are {apart:.2g} of their size away from the model's own")


def variants_of(
    kind: str, decoder: Decoder, setting: Setting, forwards: dict[str, Forward]
) -> dict[str, dict[str, Variant]]:
    if kind == OURS:
        return {phase: ours(decoder, setting, phase) for phase in PHASES}
    if kind in DISTRIBUTIONS:
        from dosimeter.monitor.bench import attach_peers

        return attach_peers.variants_of(kind, decoder, setting, forwards)
    from dosimeter.monitor.bench import attach_compiled

    return attach_compiled.variants_of(decoder, setting, forwards)


def main(kind: str, setting: Setting, answers: TextIO) -> None:
    decoder = Decoder(setting.layers, setting.width, getattr(torch, setting.dtype))
    forwards = forwards_of(decoder, setting)
    variants = variants_of(kind, decoder, setting, forwards)
    versions = {name: version(name) for name in ("torch", "transformers", "numpy")}
    if kind in DISTRIBUTIONS:
        versions[kind] = version(DISTRIBUTIONS[kind])
    _say(answers, {"versions": versions, "variants": {p: [*v] for p, v in variants.items()}})
    for line in sys.stdin:
        phase, name = json.loads(line)
        began = time.process_time_ns()
        times = variants[phase][name](forwards[phase])
        step = Step(time.process_time_ns() - began, times.hooks)
        _say(answers, {"whole": step.whole, "hooks": step.hooks})


def _say(answers: TextIO, body: dict[str, Any]) -> None:
    answers.write(json.dumps(body) + "\n")
    answers.flush()


if __name__ == "__main__":
    # What a library prints must not end up among the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as alone:
        os.dup2(2, 1)
        main(sys.argv[1], Setting.from_json(sys.argv[2]), alone)
