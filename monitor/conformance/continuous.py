"""The cases of continuous batching: many requests share a step, their prompts, their memory and their ids."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from dosimeter.monitor.conformance.asked import Asked
from dosimeter.monitor.conformance.batching import PAGE, batching
from dosimeter.monitor.conformance.case import Case, NotOffered
from dosimeter.monitor.conformance.generate import around
from dosimeter.monitor.conformance.inside import Inside
from dosimeter.monitor.conformance.soak import Round, Wish


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


def put_off(site: Inside) -> list[Asked]:
    """The server has taken their memory away, so what it says it ran of them is less than it did run."""
    with batching(site, num_blocks=8, max_batch_tokens=32) as server:
        for _ in range(12):
            server.send("put-off", site.prompt(PAGE), 40)
        left = 0
        while not server.idle and left < 4:
            for request_id in server.put_off():
                server.cancel(request_id)
                left += 1
        if not left:
            raise NotOffered("no request was put off")
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
    Case(
        "cancels, put off", "clients that go while theirs waits to run again", put_off, repeats=True
    ),
)
