"""The cases over HTTP: the same for every server, as its clients would ask."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence

from dosimeter.monitor.conformance.asked import Asked
from dosimeter.monitor.conformance.calls import Call, Calls
from dosimeter.monitor.conformance.case import Case, NotOffered
from dosimeter.monitor.conformance.generate import around
from dosimeter.monitor.conformance.soak import Round, Wish

LONG = 300
"""Tokens of an answer that its client will not wait for."""
LONG_ROUNDS = 5
"""Where nothing is put off, as in a cache that is large enough, so many of long answers are all."""


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
        calls.append(abandoned(site, "gone", text, leave_after, stream=i % 4 != 0))
    return [*site.together(calls), *last(site)]


def abandoned(site: Calls, name: str, text: str, leave_after: int, *, stream: bool = True) -> Call:
    """A long answer whose client goes early: where the server can be told so, it does not end by itself."""
    more = {"ignore_eos": True} if site.gives_ids else {}
    new = min(LONG, site.context - len(site.texts.ids(text)))
    return site.complete(name, text, new, stream=stream, leave_after=leave_after, **more)


def last(site: Calls) -> list[Asked]:
    """A call that is answered: whatever was asked before it has had its turn."""
    return site.complete("last", site.texts.words(3), 2)()[0]


def several(site: Calls) -> list[Asked]:
    if not site.gives_ids:
        raise NotOffered("this server ignores `n`")
    if site.server.kind == "sglang":
        raise NotOffered("SGLang runs the prompt once more by itself, a sequence nobody asked for")
    return site.together([site.complete("several", site.texts.words(n), 12, n=3) for n in (5, 33)])


def beams(site: Calls) -> list[Asked]:
    if site.continuous:
        raise NotOffered(
            "an engine's beams are not tried" if site.gives_ids else "no beams in a batch"
        )
    end = site.texts.tokenizer.eos_token_id
    config = {"num_beams": 2, "eos_token_id": end, "pad_token_id": end or 0, "max_new_tokens": 8}
    call = site.complete(
        "beams", site.texts.words(9), 8, scored=False, generation_config=json.dumps(config)
    )
    return call()[0]


def drafts(site: Calls) -> list[Asked]:
    """Answers that are free, whose drafts are mostly wrong; out of two words, whose drafts are mostly right, also at
    random; some end within a draft. Long ones at once, until a cache that is too small for them has put one off.

    Raises RuntimeError where the server kept all that it drafted, or none: then nothing is shown.
    """
    before = site.server.drafted()
    if before is None:
        raise NotOffered("this server drafts nothing")
    words = sorted({site.texts.ids(site.texts.words(2))[-1] for _ in range(40)})[:2]
    free = {"ignore_eos": True}
    two = {**free, "allowed_token_ids": words}
    random = {**two, "temperature": 1.0}
    calls = []
    for i, length in enumerate((3, 9, 40, 100, 7, 64, 130, 31, 5, 50, 18, 80, 12, 27)):
        name, how = ("free", free) if i % 2 else ("two", two)
        text = site.texts.words(length) + site.texts.words(4) * 3
        calls.append(site.complete(name, text, 24 + 5 * i, stream=i % 4 < 2, **how))
    for leave_after in (1, 4, 9):
        text = site.texts.words(12)
        calls.append(site.complete("left", text, LONG, stream=True, leave_after=leave_after, **two))
    asked = site.together(calls)
    put_off = site.server.put_off()
    for _ in range(LONG_ROUNDS):  # among themselves: beside short ones there may be room for all
        asked += site.together(
            [site.complete("long", site.texts.words(30 + n), 150 + n, **random) for n in range(8)]
        )
        if site.server.put_off() > put_off:
            break
    asked += site.complete("several", site.texts.words(9), 40, n=3, **two)()[0]
    asked += last(site)
    made, kept = (
        now - then for now, then in zip(site.server.drafted() or before, before, strict=True)
    )
    if not 0 < kept < made:
        raise RuntimeError(f"{made} tokens drafted, {kept} of them kept: nothing is shown")
    return asked


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
            text = prompt(wish)
            if wish.leave is None:
                made.append(site.complete("traffic", text, wish.new, stream=number % 2 == 0))
            else:
                made.append(abandoned(site, "traffic", text, 1 + int(wish.leave * wish.new)))
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
    Case("drafts", "some accepted, some rejected: no row of those", drafts),
    Case("beams", "refused, counted", beams, scored=False),
)
