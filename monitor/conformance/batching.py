"""Continuous batching in this process: a manager, and requests sent to it, cancelled and collected.

It drives the server's own public calls and knows no case. Which request an answer belongs to is told by the
id that the server got; who asked is a label that it never sees.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from dosimeter.monitor.conformance.asked import Asked
from dosimeter.monitor.conformance.case import NotOffered
from dosimeter.monitor.conformance.inside import Inside
from dosimeter.monitor.taps.requests import Ticket

PAGE = 16
ANSWER_S = 120.0


@dataclass
class Batching:
    """A running manager. `send`, perhaps `cancel`, then `collect`."""

    site: Inside
    manager: Any
    ends: list[int]
    n: int = 1
    _sent: dict[str, tuple[str, Ticket, tuple[int, ...]]] = field(default_factory=dict)
    _cancelled: set[str] = field(default_factory=set)

    def send(self, name: str, prompt: Sequence[int], new: int, request_id: str = "") -> str:
        """Ask; returns the id by which the server knows it. Each request has a label of its own."""
        label = self.site.label(name)
        request_id = request_id or label
        with self.site.call(label) as ticket:
            self.manager.add_request(
                list(prompt),
                request_id=request_id,
                max_new_tokens=new,
                eos_token_id=self.ends or -1,
            )
        self._sent[request_id] = (label, ticket, tuple(prompt))
        return request_id

    def cancel(self, request_id: str) -> None:
        """The client goes away."""
        self.manager.cancel_request(request_id)
        self._cancelled.add(request_id)
        self.site.replied(self._sent[request_id][1])

    @property
    def idle(self) -> bool:
        """Everything that was sent has ended."""
        return all(r.ended for _, ticket, _ in self._sent.values() for r in ticket.requests)

    def put_off(self) -> list[str]:
        """Requests that were running, and had to give their memory back, with an answer begun."""
        processor = self.manager.batch_processor
        waiting = [] if processor is None else list(processor.scheduler.waiting_requests.values())
        return [
            state.request_id
            for state in waiting
            if state._true_initial_tokens and state.request_id not in self._cancelled
        ]

    def collect(self) -> list[Asked]:
        """Every answer that comes; a request that was cancelled may still have been quicker."""
        deadline = time.monotonic() + ANSWER_S
        answers: dict[str, list[tuple[int, ...]]] = {}
        while not self._complete(answers):
            if time.monotonic() > deadline:
                waiting = [name for name in self._sent if name not in answers]
                raise TimeoutError(f"no answer to {waiting[:5]} after {ANSWER_S:.0f} s")
            result = self.manager.get_result(timeout=0.05)
            if result is not None and result.is_finished() and result.error is None:
                parent = result.request_id.split("__child#")[0]
                answers.setdefault(parent, []).append(tuple(result.generated_tokens))
            elif result is not None and result.error is not None:
                raise RuntimeError(f"`{result.request_id}` failed: {result.error}")
            elif self.manager.background_thread_status.fatal_error is not None:
                raise RuntimeError(f"worker died: {self.manager.background_thread_status}")
        asked = []
        for request_id, (label, ticket, prompt) in self._sent.items():
            got = answers.get(request_id)
            place = 0 if self.n == 1 else None
            if got is None:
                asked.append(Asked(label, prompt, ended=False, place=place))
                continue
            usage = (len(prompt), len(got[0])) if self.n == 1 else None
            if request_id not in self._cancelled:
                self.site.replied(ticket, usage)
            asked += [Asked(label, prompt, answer, place=place) for answer in got]
        self._sent.clear()
        self._cancelled.clear()
        return asked

    def _complete(self, answers: dict[str, list[tuple[int, ...]]]) -> bool:
        return all(
            len(answers.get(request_id, ())) == self.n
            or (request_id in self._cancelled and all(r.ended for r in ticket.requests))
            for request_id, (_, ticket, _) in self._sent.items()
        )


@contextlib.contextmanager
def batching(
    site: Inside, *, n: int = 1, ends: Sequence[int] = (), **config: Any
) -> Iterator[Batching]:
    """A manager of its own for a case, with the settings that make it one."""
    if not hasattr(site.model, "init_continuous_batching"):
        raise NotOffered(f"{type(site.model).__name__} has no continuous batching")
    torch.manual_seed(int(site.rng.integers(1 << 31)))
    generation = GenerationConfig(
        max_new_tokens=64,
        do_sample=n > 1,
        eos_token_id=list(ends) or -1,
        pad_token_id=site.pad,
        num_return_sequences=n,
    )
    options = {"page_size": PAGE, "num_blocks": 256, "max_batch_tokens": 256, **config}
    manager = site.model.init_continuous_batching(
        generation_config=generation, continuous_batching_config=ContinuousBatchingConfig(**options)
    )
    manager.start()
    try:
        yield Batching(site, manager, list(ends), n)
    finally:
        manager.stop(block=True, timeout=10)
