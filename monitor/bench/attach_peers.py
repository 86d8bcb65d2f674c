"""The peers of `dosimeter bench attach`: the same scores of the same model, by their own means.

It owns one way to read for each, the one that its documentation shows for values at chosen layers, with our own product
in it, so that what is compared is how the activations are reached. It runs only in the peers' environment, and must
never be imported by the product. What a peer puts on a module is clocked there, whatever it is.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch
from torch import nn

from dosimeter.detectors.bank import ProbeBank
from dosimeter.monitor.bench.attach_setting import AGAIN, BARE, CLOCKED, PHASES, Setting
from dosimeter.monitor.bench.attach_worker import Forward, Variant, agreed, exact
from dosimeter.monitor.bench.decoder import Decoder
from dosimeter.monitor.bench.variants import Nothing, Times, bank_of

CALLS = 2000


class Clock:
    """Processor time of the process inside functions that it is put around; one within another counts once.

    What the clock itself adds to a call is taken off again.
    """

    def __init__(self) -> None:
        self._ns = self._calls = 0
        self._inside = False
        nothing = self.around(lambda: None)
        for _ in range(CALLS):
            nothing()
        self._own_ns = self._ns / self._calls
        self.begin()

    def begin(self) -> None:
        self._ns = self._calls = 0

    @property
    def ns(self) -> int:
        return max(0, round(self._ns - self._calls * self._own_ns))

    def around(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return inner(*args, **kwargs)
            self._inside = True
            began = time.process_time_ns()
            try:
                return inner(*args, **kwargs)
            finally:
                self._ns += time.process_time_ns() - began
                self._calls += 1
                self._inside = False

        return timed

    @contextmanager
    def on(self, owner: type, name: str) -> Iterator[None]:
        """Around the method `owner.name`."""
        before = getattr(owner, name)
        setattr(owner, name, self.around(before))
        try:
            yield
        finally:
            setattr(owner, name, before)

    @contextmanager
    def on_hooks(self) -> Iterator[None]:
        """Around every forward hook that is registered meanwhile."""
        register = nn.Module.register_forward_hook

        def registered(module: nn.Module, hook: Callable[..., Any], **options: Any) -> Any:
            return register(module, self.around(hook), **options)

        nn.Module.register_forward_hook = registered
        try:
            yield
        finally:
            nn.Module.register_forward_hook = register


class Peer(Protocol):
    scores: Any  # float32 [T, F], of the last step

    def __call__(self, forward: Forward) -> None: ...

    def clocked(self, clock: Clock) -> AbstractContextManager[None]:
        """Where this peer's code runs inside the forward."""


class Nnsight:
    """A trace of the model, and in it the output of each block."""

    def __init__(self, decoder: Decoder, bank: ProbeBank) -> None:
        from nnsight import NNsight

        self._model = NNsight(decoder.model)
        self._layers, self._weights = bank.layers, torch.tensor(bank.weights).transpose(1, 2)
        self.scores: Any = None

    def __call__(self, forward: Forward) -> None:
        model, layers, weights = self._model, self._layers, self._weights
        with torch.no_grad(), model.trace(forward.ids, **forward.options):
            total: Any = 0
            for index in range(len(layers)):
                hidden = model.model.layers[layers[index]].output
                total = total + hidden.reshape(-1, hidden.shape[-1]).float() @ weights[index]
            scores = total.save()
        forward.undo()
        self.scores = scores.numpy()

    def clocked(self, clock: Clock) -> AbstractContextManager[None]:
        """It registers no hooks: each module's forward hands its values over in `handle`."""
        from nnsight.intervention.interleaver import Interleaver

        return clock.on(Interleaver, "handle")


class TransformerLens:
    """A bridge around the model, run with a hook on the output of each block."""

    def __init__(self, decoder: Decoder, bank: ProbeBank) -> None:
        self._bridge = _bridge(decoder)
        self._weights = torch.tensor(bank.weights).transpose(1, 2)
        self._hooks = [
            (f"blocks.{layer}.hook_out", self._hook(index))
            for index, layer in enumerate(bank.layers)
        ]
        self._total: Any = 0
        self.scores: Any = None

    def _hook(self, index: int) -> Callable[..., None]:
        def read(hidden: torch.Tensor, **_: Any) -> None:
            rows = hidden.reshape(-1, hidden.shape[-1]).float()
            self._total = self._total + rows @ self._weights[index]

        return read

    def __call__(self, forward: Forward) -> None:
        self._total = 0
        with torch.no_grad():
            self._bridge.run_with_hooks(forward.ids, fwd_hooks=self._hooks, **forward.options)
        forward.undo()
        self.scores = self._total.numpy()

    def clocked(self, clock: Clock) -> AbstractContextManager[None]:
        return clock.on_hooks()


@cache
def _bridge(decoder: Decoder) -> Any:
    """Around a model of its own, whose modules it takes apart; the tokenizer that it wants is never asked."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    with TemporaryDirectory() as folder:
        decoder.model.config.save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=words, **named).save_pretrained(folder)
        return TransformerBridge.boot_transformers(
            folder, hf_model=copy.deepcopy(decoder.model), device="cpu", dtype=decoder.dtype
        )


KINDS: dict[str, Callable[[Decoder, ProbeBank], Peer]] = {
    "nnsight": Nnsight,
    "TransformerLens": TransformerLens,
}


def variants_of(
    kind: str, decoder: Decoder, setting: Setting, forwards: dict[str, Forward]
) -> dict[str, dict[str, Variant]]:
    """The bare forwards, of a model that no peer has touched, and the peer: as it is, and clocked inside."""
    clock, bare = Clock(), copy.deepcopy(decoder)
    found: dict[str, dict[str, Variant]] = {}
    for phase in PHASES:
        found[phase] = {BARE: _bare(bare), AGAIN: _bare(bare)}
    for name, layers in setting.tapped.items():
        bank = bank_of(setting.probes, layers, setting.width)
        expected = {phase: exact(bare, bank, _of(bare, forwards[phase])) for phase in PHASES}
        peer = KINDS[kind](decoder, bank)
        for phase in PHASES:
            peer(forwards[phase])
            agreed(peer.scores, expected[phase])
            found[phase][f"{kind}, {name}"] = _as_is(peer)
            found[phase][f"{kind}, {CLOCKED}, {name}"] = _clocked(peer, clock)
    return found


def _of(decoder: Decoder, forward: Forward) -> Forward:
    found = copy.copy(forward)
    found.model = decoder.model
    return found


def _bare(decoder: Decoder) -> Variant:
    return lambda forward: Nothing().step(decoder.blocks, _of(decoder, forward))


def _as_is(peer: Peer) -> Variant:
    def step(forward: Forward) -> Times:
        peer(forward)
        return Times(0, 0, 0)

    return step


def _clocked(peer: Peer, clock: Clock) -> Variant:
    """For the time inside alone: a clock in every module would be some per cent of a decoding step."""

    def step(forward: Forward) -> Times:
        clock.begin()
        with peer.clocked(clock):
            peer(forward)
        return Times(clock.ns, 0, 0)

    return step
