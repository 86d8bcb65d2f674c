"""The cases over HTTP: the same for every server, as its clients would ask.

Prompts go as token ids where the server takes them (vLLM), else as text of the model's own tokenizer. What
was generated is said by the server (`return_token_ids`), else by the text that left for the kit's own tenant.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from dosimeter.monitor.conformance.case import Case, NotOffered
from dosimeter.monitor.conformance.compare import Asked, Read
from dosimeter.monitor.conformance.ear import Sequence as Told
from dosimeter.monitor.conformance.generate import around
from dosimeter.monitor.conformance.server import Reply, Running
from dosimeter.monitor.conformance.soak import Round, Wish
from dosimeter.monitor.conformance.texts import Texts

CLIENTS = 8
LONG = 60
"""Tokens of an answer that its client will not wait for."""
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


class Calls:
    """Clients of one running server."""

    def __init__(self, server: Running, texts: Texts, context: int, seed: int) -> None:
        self.server, self.texts = server, texts
        self.context = min(context, 2048)
        self.rng = np.random.default_rng(seed)
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._calls = 0

    @property
    def gives_ids(self) -> bool:
        """vLLM takes and returns token ids."""
        return self.server.kind == "vllm"

    @property
    def continuous(self) -> bool:
        return self.gives_ids or "--continuous-batching" in self.server.command

    def label(self, name: str) -> str:
        self._calls += 1
        return f"{name}-{self._calls}"

    def complete(
        self, name: str, text: str, new: int, **how: Any
    ) -> Callable[[], tuple[list[Asked], Reply]]:
        """A call with a plain prompt, to be made later, on any thread."""
        ids = self.texts.ids(text)
        body = {"prompt": ids if self.gives_ids else text}
        return self._prepared(name, COMPLETIONS, body, ids, new, **how)

    def chat(
        self, name: str, messages: Sequence[dict[str, str]], new: int, **how: Any
    ) -> Callable[[], tuple[list[Asked], Reply]]:
        ids = self.texts.chat(messages)
        if ids is None:
            raise NotOffered("the model has no chat template")
        return self._prepared(name, CHAT, {"messages": list(messages)}, ids, new, **how)

    def together(self, calls: Sequence[Callable[[], tuple[list[Asked], Reply]]]) -> list[Asked]:
        """All at once, as many as there are clients."""
        return [one for asked, _ in self._pool.map(lambda call: call(), calls) for one in asked]

    def _prepared(
        self,
        name: str,
        path: str,
        body: dict[str, Any],
        ids: Sequence[int],
        new: int,
        *,
        stream: bool = False,
        leave_after: int | None = None,
        request_id: str = "",
        n: int = 1,
        scored: bool = True,
        **more: Any,
    ) -> Callable[[], tuple[list[Asked], Reply]]:
        label = self.label(name)
        headers = {"x-conversation-id": label, "x-request-id": request_id or label}
        body = {**body, "max_tokens": new, "temperature": 0, "stream": stream, **more}
        if n > 1:
            body |= {"n": n, "temperature": 1.0}
        if self.gives_ids:
            body["return_token_ids"] = True
            if stream:
                body["stream_options"] = {"include_usage": True}

        def go() -> tuple[list[Asked], Reply]:
            reply = self.server.post(path, body, headers, leave_after)
            prompt = tuple(ids)
            if reply.prompt_ids is not None and tuple(reply.prompt_ids) != prompt:
                raise RuntimeError(f"`{label}`: the server ran other prompt tokens than were asked")
            asked = []
            for index in range(n):
                answer = reply.ids.get(index)
                asked.append(
                    Asked(
                        label,
                        prompt,
                        None if answer is None else tuple(answer),
                        usage=reply.usage if n == 1 else None,
                        ended=reply.whole,
                        place=0 if n == 1 else None,
                        scored=scored,
                    )
                )
            return asked, reply

        return go


def reader(texts: Texts) -> Read:
    """Ids out of the text that a CLOSE carries, where the server let it out."""

    def read(asked: Asked, told: Told) -> Sequence[int] | None:
        tokens = (told.closed or {}).get("tokens")
        return None if tokens is None else texts.spelled(asked.prompt, tokens)

    return read


def one_token(site: Calls) -> list[Asked]:
    return site.together(
        [site.complete("one", site.texts.words(n), 1, stream=n % 2 == 0) for n in (2, 3, 5, 16, 40)]
    )


def mixed(site: Calls) -> list[Asked]:
    """Streaming and not, at once."""
    lengths = [int(n) for n in site.rng.integers(2, 60, 24)]
    return site.together(
        [
            site.complete("mixed", site.texts.words(n), 4 + i % 20, stream=i % 2 == 0)
            for i, n in enumerate(lengths)
        ]
    )


def chat(site: Calls) -> list[Asked]:
    """Turns of a conversation: each sends all of those before it again."""
    asked: list[Asked] = []
    for conversation in range(3):
        messages = [{"role": "user", "content": site.texts.words(6 + conversation)}]
        for turn in range(4):
            found, reply = site.chat("chat", messages, 16, stream=turn % 2 == 0)()
            asked += found
            messages += [
                {"role": "assistant", "content": reply.text},
                {"role": "user", "content": site.texts.words(5)},
            ]
    return asked


def shared(site: Calls) -> list[Asked]:
    """The first is in the cache when the others come, one by one and then at once."""
    prefix = site.texts.words(50)
    asked, _ = site.complete("first", prefix, 8)()
    for length in (53, 60, 75):
        found, _ = site.complete("shares", site.texts.words(length, prefix), 8)()
        asked += found
    return asked + site.together(
        [site.complete("at once", site.texts.words(52 + n, prefix), 8) for n in range(8)]
    )


def turns(site: Calls) -> list[Asked]:
    """A cached prefix that holds generated text."""
    asked: list[Asked] = []
    for _ in range(3):
        text = site.texts.words(20)
        for _ in range(4):
            found, reply = site.complete("turn", text, 24)()
            asked += found
            text += reply.text + site.texts.words(4)
    return asked


def same_id(site: Calls) -> list[Asked]:
    asked: list[Asked] = []
    for n in (4, 9, 20):
        found, _ = site.complete("same", site.texts.words(n), 8, request_id="the-clients-own")()
        asked += found
    return asked


def same_id_at_once(site: Calls) -> list[Asked]:
    if site.continuous and not site.gives_ids:
        raise NotOffered("two at once end this server's worker, with a tap or without")
    return site.together(
        [site.complete("twins", site.texts.words(4 + n), 16, request_id="twins") for n in range(4)]
    )


def lengths(site: Calls) -> list[Asked]:
    """One by one, then several of the longest at once: more rows than one frame of the wire."""
    asked: list[Asked] = []
    for length in around(site.context, (16, 32, 256)):
        if length > 3:
            found, _ = site.complete("length", site.texts.words(length), 2)()
            asked += found
    longest = [site.complete("longest", site.texts.words(site.context - 2), 2) for _ in range(5)]
    return asked + site.together(longest)


def hang_ups(site: Calls) -> list[Asked]:
    """In the middle of a stream, and before anything of a reply was read."""
    calls = []
    for i in range(24):
        leave_after = 0 if i % 4 < 2 else int(site.rng.integers(1, 12))
        text = site.texts.words(int(site.rng.integers(3, 60)))
        calls.append(site.complete("gone", text, 60, stream=i % 4 != 0, leave_after=leave_after))
    return [*site.together(calls), *last(site)]


def last(site: Calls) -> list[Asked]:
    """A call that is answered: whatever was asked before it has had its turn."""
    return site.complete("last", site.texts.words(3), 2)()[0]


def several(site: Calls) -> list[Asked]:
    if not site.gives_ids:
        raise NotOffered("this server ignores `n`")
    return site.together([site.complete("several", site.texts.words(n), 12, n=3) for n in (5, 33)])


def beams(site: Calls) -> list[Asked]:
    if site.continuous:
        raise NotOffered("this server has no beams here")
    end = site.texts.tokenizer.eos_token_id
    config = {"num_beams": 2, "eos_token_id": end, "pad_token_id": end or 0, "max_new_tokens": 8}
    call = site.complete(
        "beams", site.texts.words(9), 8, scored=False, generation_config=json.dumps(config)
    )
    return call()[0]


@contextlib.contextmanager
def traffic(site: Calls) -> Iterator[Round]:
    """Completions by all clients at once, every other one a stream; who goes does so within a stream."""
    prefixes = [site.texts.words(site.context) for _ in range(4)]

    def prompt(wish: Wish) -> str:
        if wish.shares is None:
            return site.texts.words(wish.length)
        which, length = wish.shares
        return site.texts.words(wish.length, prefixes[which][: 3 * length])

    def go(wishes: Sequence[Wish]) -> list[Asked]:
        made = []
        for number, wish in enumerate(wishes):
            leave = None if wish.leave is None else 1 + int(wish.leave * wish.new)
            made.append(
                site.complete(
                    "traffic",
                    prompt(wish),
                    wish.new if leave is None else LONG,
                    stream=leave is not None or number % 2 == 0,
                    leave_after=leave,
                )
            )
        return [*site.together(made), *last(site)]

    yield go


CASES: tuple[Case[Calls], ...] = (
    Case("one-token answers", "its token has no row, so all of it is prompt", one_token),
    Case("mixed, at once", "8 clients, streaming and not", mixed),
    Case("chat", "turns that send all turns before them again", chat),
    Case("shared prefixes", "prompts that the cache holds in part", shared),
    Case("turns", "a cached prefix that holds generated text", turns),
    Case("repeated ids", "one `x-request-id` again and again", same_id),
    Case("repeated ids at once", "four calls with one `x-request-id`", same_id_at_once),
    Case("lengths", "up to the longest context, around 16, 32, 64 …", lengths),
    Case("hang-ups", "clients that go, in a stream or before a reply", hang_ups),
    Case("several answers", "`n` of 3", several),
    Case("beams", "refused, counted", beams, scored=False),
)
