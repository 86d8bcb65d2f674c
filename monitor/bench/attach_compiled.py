"""Our read-out in the graph of a compiled forward, for `dosimeter bench attach`: beside the same graph without it.

It owns how both come out of one model: the compiler is told to look at hooks when it chooses a graph, which it leaves
out otherwise. A step whose graph has not read its rows is an error of the tap's own, so it cannot pass for a fast one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import StaticCache

from dosimeter.monitor.bench.attach_setting import AGAIN, BARE, COMPILED, PHASES, Setting
from dosimeter.monitor.bench.attach_worker import Forward, Variant, put_in, rows_of
from dosimeter.monitor.bench.decoder import Decoder
from dosimeter.monitor.bench.variants import Nothing, Tapped, Times, bank_of, going_on


class Static(Forward):
    """Decoding over a cache of fixed size, as servers that compile have it; a prompt without a cache."""

    def __init__(self, model: Any, ids: torch.Tensor, past: StaticCache | None, held: int) -> None:
        super().__init__(model, ids, past)
        self.options["use_cache"] = past is not None
        self._held = held

    def undo(self) -> None:
        if self.past is not None:
            for layer in self.past.layers:
                layer.cumulative_length.fill_(self._held)


class InGraph:
    """The tap's hooks are on the blocks for one step; the compiler takes the graph that it traced with them."""

    def __init__(self, decoder: Decoder, tapped: Tapped) -> None:
        self._blocks, self._tapped = decoder.blocks, tapped

    def __call__(self, forward: Forward) -> Times:
        op = self._tapped.op
        op.install(self._blocks)
        try:
            before = self._tapped.before()
            forward()
            self._tapped.after(before)
        finally:
            op.remove()
        return Times(0, 0, 0)


def variants_of(
    decoder: Decoder, setting: Setting, forwards: dict[str, Forward]
) -> dict[str, dict[str, Variant]]:
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    model: nn.Module = torch.compile(
        decoder.model, backend=setting.backend, fullgraph=True, dynamic=False
    )
    past = StaticCache(config=decoder.model.config, max_cache_len=setting.prompt + 1)
    with torch.no_grad():
        decoder.model(forwards["prefill"].ids, past_key_values=past, logits_to_keep=1)
    forwards["prefill"] = Static(model, forwards["prefill"].ids, None, 0)
    forwards["decode"] = Static(model, forwards["decode"].ids, past, setting.prompt)
    found: dict[str, dict[str, Variant]] = {}
    for phase in PHASES:
        found[phase] = {
            BARE: put_in(decoder, Nothing()),
            AGAIN: put_in(decoder, Nothing()),
        }
        for name, layers in setting.tapped.items():
            bank = bank_of(setting.probes, layers, setting.width)
            tapped = Tapped(bank, going_on(setting.batch, rows_of(setting, phase)))
            found[phase][f"{COMPILED}, {name}"] = InGraph(decoder, tapped)
        for variant in found[phase].values():  # traced and compiled before anything is clocked
            variant(forwards[phase])
    return found
