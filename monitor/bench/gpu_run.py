"""One run of `make bench-gpu`: a batch of requests through a server of its own, with or without the tap.

It owns the model, the clock of its output tokens and the count of what the tap says became of each token. A server is
made for each run: CUDA graphs hold what was on the model when they were captured. The bare one has the tap's patches of
transformers in it, which pass everything through where a model has no tap.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import (
    ContinuousBatchingConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.generation.continuous_batching.requests import RequestState

from dosimeter.detectors.bank import ProbeBank
from dosimeter.detectors.frames import to_codes
from dosimeter.monitor.taps import transformers as tapping
from dosimeter.monitor.taps.probe_op import ProbeOp
from dosimeter.monitor.taps.requests import Requests
from dosimeter.monitor.taps.tap import Tap

PATIENCE_S = 120.0
ASKED = "bench-"
WARM = 8  # tokens of a request before the clock counts
VOCABULARY = 128_256


class RunFailed(RuntimeError):
    """The server gave no answer, or the tap did not close what it had opened."""


@dataclass(frozen=True, slots=True)
class Run:
    """token_s: from one output token of a request to its next. Positions: as the CLOSE records have them."""

    token_s: float
    served: int = 0
    scored: int = 0
    unaccounted: int = 0


class Server:
    """A decoder of random weights, and continuous batching over it."""

    def __init__(self, device: str, layers: int, width: int) -> None:
        config = LlamaConfig(
            vocab_size=VOCABULARY if device == "cuda" else 512,
            hidden_size=width,
            intermediate_size=width * 7 // 2,
            num_hidden_layers=layers,
            num_attention_heads=max(1, width // 128),
            num_key_value_heads=max(1, width // 512),
            dtype="bfloat16" if device == "cuda" else "float32",
        )
        torch.manual_seed(0)
        self.device = torch.device(device)
        # A GPU's memory says how much a server takes; elsewhere it has to be told.
        self._room = {} if device == "cuda" else {"num_blocks": 256, "max_batch_tokens": 256}
        with self.device, _default(config.dtype):
            self.model: Any = LlamaForCausalLM(config).eval()

    def run(self, bank: ProbeBank | None, batch: int, prompt: int, new: int, **config: Any) -> Run:
        closed: list[dict[str, Any]] = []
        with contextlib.ExitStack() as stack:
            if bank is not None:
                stack.enter_context(self.tapped(bank, closed))
            times = stack.enter_context(_clocked())
            self.ask(batch, prompt, new, config)
        gaps = [(seen[-1] - seen[WARM]) / (len(seen) - 1 - WARM) for seen in times.values()]
        if len(gaps) != batch or (bank is not None and len(closed) != batch):
            raise RunFailed(f"{batch} requests: {len(gaps)} answered, {len(closed)} closed")
        served = sum(record["served"] for record in closed)
        scored = sum(record["emitted"] for record in closed)
        short = sum(
            abs(one["served"] - one["emitted"] - one["cached"] - sum(one["errors"].values()))
            for one in closed
        )
        return Run(float(np.median(gaps)), served, scored, short)

    @contextlib.contextmanager
    def tapped(self, bank: ProbeBank, closed: list[dict[str, Any]]) -> Iterator[ProbeOp]:
        """The tap as a server gets it, but for a sink that takes all and sends nothing."""
        op = ProbeOp(bank, self.device)
        tap = Tap(op, lambda rows, codes, hook_ns: (len(codes), None), encode=to_codes)

        def said(kind: str, record: dict[str, Any]) -> None:
            if kind == "CLOSE":
                closed.append(record)

        with tapping.installed(Requests(said, time.time_ns)):
            op.install(tapping.blocks(self.model))
            tapping.put_tap(self.model, tap)
            try:
                yield op
            finally:
                tapping.drop_tap(self.model)
                op.remove()

    def ask(self, batch: int, prompt: int, new: int, config: dict[str, Any]) -> None:
        """Prompts that share nothing, so that none comes out of the prefix cache."""
        words = torch.randint(0, self.model.config.vocab_size, (batch, prompt)).tolist()
        manager = self.model.init_continuous_batching(
            generation_config=GenerationConfig(
                max_new_tokens=new, do_sample=False, eos_token_id=-1, pad_token_id=0
            ),
            continuous_batching_config=ContinuousBatchingConfig(**self._room | config),
        )
        manager.start()
        try:
            for number, ids in enumerate(words):
                manager.add_request(
                    ids, request_id=f"{ASKED}{number}", max_new_tokens=new, eos_token_id=-1
                )
            waiting, until = batch, time.monotonic() + PATIENCE_S
            while waiting:
                result = manager.get_result(timeout=1.0)
                if result is not None and result.error is not None:
                    raise RunFailed(f"a request failed: {result.error}")
                waiting -= result is not None and result.is_finished()
                if time.monotonic() > until:
                    raise RunFailed(f"{waiting} of {batch} requests without an answer")
        finally:
            manager.stop(block=True, timeout=10)
            del manager
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


@contextlib.contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _clocked() -> Iterator[dict[str, list[float]]]:
    """request -> when the server took each of its tokens. In every variant alike: it is the benchmark's own."""
    times: dict[str, list[float]] = {}
    original = RequestState.update_and_check_completion

    def taken(self: RequestState, *args: Any, **kwargs: Any) -> bool:
        if self.request_id.startswith(ASKED):  # a server asks itself too, to warm up
            times.setdefault(self.request_id, []).append(time.perf_counter())
        complete: bool = original(self, *args, **kwargs)
        return complete

    RequestState.update_and_check_completion = taken
    try:
        yield times
    finally:
        RequestState.update_and_check_completion = original


def waits_in_hooks(server: Server, bank: ProbeBank, prompt: int) -> int:
    """How often a hook asks for what the GPU has not computed yet, in an eager run: torch makes an error of it."""
    waits = 0
    closed: list[dict[str, Any]] = []
    with server.tapped(bank, closed) as op:
        take, cuda = op.take, server.device.type == "cuda"

        def strict(index: int, hidden: torch.Tensor) -> None:
            nonlocal waits
            if cuda:
                torch.cuda.set_sync_debug_mode("error")
            try:
                take(index, hidden)
            except RuntimeError as error:
                waits += "synchronizing" in str(error)
                raise
            finally:
                if cuda:
                    torch.cuda.set_sync_debug_mode("default")

        op.take = strict  # type: ignore[method-assign]
        server.ask(4, prompt, 2 * WARM, {"use_cuda_graph": False} if cuda else {})
    if not sum(record["emitted"] for record in closed):
        raise RunFailed("no hook read a row: nothing can be said of waiting")
    return waits
