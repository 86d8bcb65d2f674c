"""The cases of continuous batching: many requests share a step, their prompts, their memory and their ids."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from dosimeter.monitor.conformance.case import Case, NotOffered
from dosimeter.monitor.conformance.compare import Asked
from dosimeter.monitor.conformance.generate import around
from dosimeter.monitor.conformance.inside import Inside
from dosimeter.monitor.conformance.soak import Round, Wish
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


def sent(
    site: Inside, name: str, prompts: Sequence[Sequence[int]], new: int, **config: Any
) -> list[Asked]:
    """All at once."""
    with batching(site, **config) as server:
        for prompt in prompts:
            server.send(name, prompt, new)
        return server.collect()


def one_token(site: Inside) -> list[Asked]:
    return sent(site, "one", [site.prompt(n) for n in (1, 2, 5, 16, 40)], 1)


def packed(site: Inside) -> list[Asked]:
    return sent(site, "packed", [site.prompt(n) for n in (3, 6, 1, 20, 33, 9, 15, 2)], 8)


def ends(site: Inside) -> list[Asked]:
    if not site.ends:
        raise NotOffered("the model has no end-of-sequence token")
    prompts = [[*site.prompt(5), site.ends[0], *site.prompt(n), site.ends[0]] for n in range(1, 7)]
    return sent(site, "ends", prompts, 24, ends=site.ends)


def chunked(site: Inside) -> list[Asked]:
    return sent(site, "chunk", [site.prompt(n) for n in (3, 6, 1, 20, 50)], 6, max_batch_tokens=8)


def shared(site: Inside) -> list[Asked]:
    """The first prompt is in the cache when the others come; two of those share more than it."""
    prefix, more = site.prompt(40), site.prompt(24)
    with batching(site) as server:
        server.send("first", [*prefix, *site.prompt(3)], 6)
        asked = server.collect()
        for tail in ([*more, *site.prompt(2)], [*more, *site.prompt(5)], site.prompt(1)):
            server.send("shares", [*prefix, *tail], 6)
            asked += server.collect()
        for length in range(1, 7):
            server.send("at once", [*prefix, *more, *site.prompt(length)], 6)
        return asked + server.collect()


def turns(site: Inside) -> list[Asked]:
    """Each turn sends everything before it again, so that the cached prefix holds generated text."""
    asked: list[Asked] = []
    with batching(site) as server:
        for conversation in range(3):
            text = site.prompt(10 + conversation)
            for _ in range(4):
                server.send("turn", text, 12)
                (turn,) = server.collect()
                asked.append(turn)
                text = [*turn.prompt, *(turn.answer or ()), *site.prompt(5)]
    return asked


def small_cache(site: Inside, **config: Any) -> list[Asked]:
    """More than the cache holds: requests are put off, run again, or moved away and back."""
    prompts = [site.prompt(PAGE) for _ in range(6)]
    return sent(site, "squeezed", prompts, 24, num_blocks=8, max_batch_tokens=32, **config)


def offloaded(site: Inside) -> list[Asked]:
    if site.model.device.type != "cuda":
        raise NotOffered("the server swaps out to pinned memory, which needs CUDA")
    return small_cache(site, cpu_offload_space=0.01)


def forks(site: Inside) -> list[Asked]:
    return sent(site, "fork", [site.prompt(4), site.prompt(37)], 8, n=3)


def forks_squeezed(site: Inside) -> list[Asked]:
    """Three pages for the prompt and one for each answer: not all children fit at the fork."""
    return sent(site, "fork", [site.prompt(37)], 8, n=3, num_blocks=4)


def same_id(site: Inside) -> list[Asked]:
    """One after the other: a client's id says nothing about who it is."""
    asked = []
    with batching(site) as server:
        for length in (3, 5, 20):
            server.send("same", site.prompt(length), 6, request_id="the-clients-own")
            asked += server.collect()
    return asked


def lengths(site: Inside) -> list[Asked]:
    """Pages and budgets; the last batch holds more rows than one frame of the wire."""
    asked = []
    longest = min(site.context, 1024)
    with batching(site, max_batch_tokens=4096, num_blocks=6 * 1024 // PAGE) as server:
        for length in around(longest, (PAGE, 256)):
            server.send(f"length-{length}", site.prompt(length), 2)
            asked += server.collect()
        for _ in range(5):
            server.send("frame", site.prompt(longest - 2), 2)
        asked += server.collect()
    with batching(site, max_batch_tokens=64) as server:
        for length in (63, 64, 65, 127, 128, 129):
            server.send(f"budget-{length}", site.prompt(length), 2)
        return asked + server.collect()


def cancels(site: Inside) -> list[Asked]:
    """Many, each at a moment of its own: before it began, in its prompt, in its answer, after its end."""
    with batching(site, max_batch_tokens=32) as server:
        waiting = []
        for number in range(60):
            length = int(site.rng.integers(1, 60))
            request_id = server.send("cancel", site.prompt(length), 40)
            if number % 3:
                waiting.append((time.monotonic() + float(site.rng.exponential(0.15)), request_id))
        for moment, request_id in sorted(waiting):
            time.sleep(max(0.0, moment - time.monotonic()))
            server.cancel(request_id)
        return server.collect()


@contextlib.contextmanager
def traffic(site: Inside) -> Iterator[Round]:
    """One manager for all rounds; who goes does so at a moment within the time that a round takes."""
    prefixes = [site.prompt(site.context) for _ in range(4)]
    with batching(site, num_blocks=128, max_batch_tokens=256) as server:
        lasted = 0.5

        def go(wishes: Sequence[Wish]) -> list[Asked]:
            nonlocal lasted
            began, leaving = time.monotonic(), []
            for wish in wishes:
                prompt = site.prompt(wish.length)
                if wish.shares is not None:
                    which, length = wish.shares
                    prompt[:length] = prefixes[which][:length]
                request_id = server.send("traffic", prompt, wish.new)
                if wish.leave is not None:
                    leaving.append((began + 0.7 * wish.leave * lasted, request_id))
            for moment, request_id in sorted(leaving):
                time.sleep(max(0.0, moment - time.monotonic()))
                server.cancel(request_id)
            asked = server.collect()
            lasted = time.monotonic() - began
            return asked

        yield go


CASES: tuple[Case[Inside], ...] = (
    Case("one-token answers", "its token has no row, so all of it is prompt", one_token),
    Case("packing", "requests of mixed lengths side by side in one row", packed),
    Case("ends by itself", "end-of-sequence tokens in prompts and answers", ends),
    Case("chunked prefill", "8 tokens a step", chunked),
    Case("shared prefixes", "prompts that the cache holds in part", shared),
    Case("turns", "a cached prefix that holds generated text", turns),
    Case("preemption", "a cache for 128 tokens: put off and run again", small_cache, repeats=True),
    Case("offload", "the same with room to swap", offloaded, repeats=True),
    Case("forks", "`num_return_sequences`", forks),
    Case("forks, small cache", "children that do not fit at once", forks_squeezed, repeats=True),
    Case("repeated ids", "one client id again and again", same_id),
    Case("lengths", "1 to the longest context, around pages, budgets and frames", lengths),
    Case("cancels", "40 of 60, at random moments", cancels, repeats=True),
)
