"""A decoder of 190 M random weights on one thread, and clocks that count only this thread's own work.

The forward that a tap is compared with; what it says is of no interest here. Shares of a per cent drown in
what neighbours do to a forward from end to end, so a part is clocked where it runs, by the processor time of
its thread, and set against a forward of the same round.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

LAYERS, WIDTH = 16, 1024
PROMPT = 128  # tokens of a request that are there before it decodes
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PEAK = 1024  # side of the matrices whose product is the machine's peak
READ_BYTES = 1 << 28  # larger than any cache
clock = time.thread_time_ns


class Meter:
    """Adds up the thread's time inside the functions it is put around."""

    def __init__(self) -> None:
        self.ns = 0

    def around(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            began = clock()
            result = inner(*args)
            self.ns += clock() - began
            return result

        return timed


class Decoder:
    """One forward at a time: `batch` requests with their prompts, or with the next token each."""

    def __init__(
        self, layers: int = LAYERS, width: int = WIDTH, dtype: torch.dtype = torch.bfloat16
    ) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=8000,
            hidden_size=width,
            intermediate_size=width * 21 // 8,
            num_hidden_layers=layers,
            num_attention_heads=16,
            num_key_value_heads=4,
        )
        self.model = LlamaForCausalLM(config).to(dtype).eval()
        self.dtype = dtype
        self.blocks: nn.ModuleList = self.model.model.layers
        self.parameters = sum(p.numel() for p in self.model.parameters())

    def prefill(self, batch: int, tokens: int = PROMPT) -> Callable[[], None]:
        ids = self._ids(batch, tokens)

        def forward() -> None:
            with torch.no_grad():
                self.model(ids, use_cache=True, logits_to_keep=1)

        return forward

    def decode(self, batch: int) -> Callable[[], None]:
        """The same step again and again: the token that it adds to the cache is taken off."""
        ids = self._ids(batch, 1)
        with torch.no_grad():
            past = self.model(self._ids(batch, PROMPT), logits_to_keep=1).past_key_values

        def forward() -> None:
            with torch.no_grad():
                self.model(ids, past_key_values=past, use_cache=True)
            past.crop(-1)

        return forward

    def _ids(self, batch: int, tokens: int) -> torch.Tensor:
        return torch.randint(0, self.model.config.vocab_size, (batch, tokens))


def flops_a_second(dtype: torch.dtype) -> float:
    """Of one thread, by a product of square matrices."""
    square = torch.randn(PEAK, PEAK).to(dtype)
    return 2 * PEAK**3 / _seconds(lambda: square @ square)


def quickest() -> torch.dtype:
    """Of what a server would run a model in: bfloat16, or float32 on a processor that multiplies it faster."""
    dtypes = torch.bfloat16, torch.float32
    return max(dtypes, key=flops_a_second)


def bytes_read_a_second() -> float:
    """Of one thread, from memory."""
    values = torch.ones(READ_BYTES // 4)
    return READ_BYTES / _seconds(values.sum)


def _seconds(work: Callable[[], object]) -> float:
    found = []
    for _ in range(9):
        began = clock()
        work()
        found.append(clock() - began)
    return float(np.median(found)) / 1e9


@contextmanager
def one_thread() -> Iterator[None]:
    """For a child to inherit: a second thread of a BLAS would work outside the clock of the first."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
