"""The cases of `generate`: a request is a row of a batch, and what a row is depends on padding and ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from dosimeter.monitor.conformance.asked import Asked
from dosimeter.monitor.conformance.case import Case, NotOffered
from dosimeter.monitor.conformance.inside import Inside
from dosimeter.monitor.conformance.soak import Round, Wish

MIXED = (3, 6, 1, 20)
NEW = 8
BATCH = 20


def ask(
    site: Inside, name: str, prompts: Sequence[list[int]], *, scored: bool = True, **options: Any
) -> list[Asked]:
    """Prompts padded on the left into one batch of `generate`; what each row of its output was."""
    n = int(options.get("num_return_sequences", 1))
    width = max(map(len, prompts))
    ids = torch.tensor([[site.pad] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    settings: dict[str, Any] = {
        "max_new_tokens": NEW,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": site.pad,
        **options,
    }
    label = site.label(name)
    with site.call(label) as ticket:
        output = site.model.generate(
            ids.to(site.model.device), attention_mask=mask.to(site.model.device), **settings
        )
    ends = settings["eos_token_id"] or ()
    ends = {ends} if isinstance(ends, int) else set(ends)
    asked = []
    for place, row in enumerate(output.tolist()):
        prompt, answer = prompts[place // n], row[width:]
        stop = next((i + 1 for i, token in enumerate(answer) if token in ends), len(answer))
        asked.append(Asked(label, tuple(prompt), tuple(answer[:stop]), place=place, scored=scored))
    site.replied(ticket, (len(asked[0].prompt), len(asked[0].answer or ())) if not place else None)
    return asked


def mixed(site: Inside) -> list[list[int]]:
    return [site.prompt(length) for length in MIXED]


def one_token(site: Inside) -> list[Asked]:
    return ask(site, "one", mixed(site), max_new_tokens=1) + ask(
        site, "one", [site.prompt(1)], max_new_tokens=1
    )


def ends_early(site: Inside) -> list[Asked]:
    """The second row's third token becomes the end, so that its row goes on as padding."""
    prompts = mixed(site)
    first = ask(site, "full", prompts)
    answer = first[1].answer or ()
    return first + ask(site, "cut", prompts, eos_token_id=answer[2])


def ends_inside(site: Inside) -> list[Asked]:
    """As after a chat template: the tokens that end an answer stand in the prompt, too, at its very end."""
    if not site.ends:
        raise NotOffered("the model has no end-of-sequence token")
    end = site.ends[0]
    prompts = [[*site.prompt(4), end, *site.prompt(3)], [*site.prompt(2), end], [end]]
    found = ask(site, "ends", prompts, eos_token_id=site.ends)
    return found + ask(site, "ends", prompts, eos_token_id=site.ends, prefill_chunk_size=2)


def brought_cache(site: Inside) -> list[Asked]:
    """A conversation's second turn with the first one's cache: positions that run nothing are named."""
    ids = site.prompt(12)
    cache = DynamicCache(config=site.model.config)
    with torch.no_grad():
        site.model(
            torch.tensor([ids[:8]], device=site.model.device), past_key_values=cache, use_cache=True
        )
    return ask(site, "cache", [ids], past_key_values=cache)


def samples(site: Inside) -> list[Asked]:
    torch.manual_seed(int(site.rng.integers(1 << 31)))
    return ask(site, "sampled", mixed(site)[:2], do_sample=True, num_return_sequences=3)


def lengths(site: Inside) -> list[Asked]:
    return [
        asked
        for length in around(site.context, (16, 64))
        for asked in ask(site, f"length-{length}", [site.prompt(length)], max_new_tokens=2)
    ]


def around(context: int, sizes: Sequence[int]) -> list[int]:
    """1 to 3; one below, at and above each boundary and its multiples by two; the longest that fits."""
    found = {1, 2, 3, context - 2}
    for size in sizes:
        while size <= context:
            found |= {size - 1, size, size + 1}
            size *= 2
    return sorted(n for n in found if 1 <= n <= context - 2)


class _HangUp:
    """A streamer whose client goes away after some tokens."""

    def __init__(self, after: int) -> None:
        self._after = after
        self.ids: list[int] = []

    def put(self, value: torch.Tensor) -> None:
        self.ids += value.reshape(-1).tolist()
        self._after -= 1
        if self._after < 0:
            raise ConnectionResetError("the client has gone")

    def end(self) -> None: ...


def leaving(site: Inside, length: int, after: int, new: int) -> Asked:
    """A client that goes when `after` parts have come, the first of them its own prompt."""
    prompt, streamer, label = site.prompt(length), _HangUp(after), site.label("gone")
    with site.call(label) as ticket, contextlib.suppress(ConnectionResetError):
        site.model.generate(
            torch.tensor([prompt], device=site.model.device),
            streamer=streamer,
            max_new_tokens=new,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=site.pad,
        )
    site.replied(ticket)
    return Asked(label, tuple(prompt), tuple(streamer.ids[length:]), ended=False)


def hang_ups(site: Inside) -> list[Asked]:
    return [leaving(site, 7, after, 20) for after in (1, 2, 3, 6)]


def assisted(site: Inside) -> list[Asked]:
    """A prompt that repeats itself, so that there is something to look up."""
    return ask(site, "assisted", [site.prompt(4) * 3], prompt_lookup_num_tokens=3)


def refused(**options: Any) -> Callable[[Inside], list[Asked]]:
    """A mode without a proven row map: everything is served, nothing scored, every token counted."""

    def go(site: Inside) -> list[Asked]:
        return ask(site, "refused", [site.prompt(8)], scored=False, **options)

    return go


@contextlib.contextmanager
def traffic(site: Inside) -> Iterator[Round]:
    """Large batches, and between them single requests whose clients go."""

    def go(wishes: Sequence[Wish]) -> list[Asked]:
        asked: list[Asked] = []
        staying = [wish for wish in wishes if wish.leave is None]
        staying.sort(key=lambda wish: wish.length)  # else nearly all that is computed is padding
        for low in range(0, len(staying), BATCH):
            batch = staying[low : low + BATCH]
            new = max(wish.new for wish in batch)
            prompts = [site.prompt(wish.length) for wish in batch]
            asked += ask(site, "traffic", prompts, max_new_tokens=new)
        for wish in wishes:
            if wish.leave is not None:
                asked.append(
                    leaving(site, wish.length, 1 + int(wish.leave * wish.new), wish.new + 1)
                )
        return asked

    yield go


CASES: tuple[Case[Inside], ...] = (
    Case("one-token answers", "its token has no row, so all of it is prompt", one_token),
    Case("mixed lengths", "prompts padded on the left", lambda s: ask(s, "mixed", mixed(s))),
    Case("a row ends early", "its end-of-sequence token; padding follows", ends_early),
    Case("ends inside prompts", "end-of-sequence tokens in the prompt and at its end", ends_inside),
    Case(
        "static cache",
        "`cache_implementation=static`",
        lambda s: ask(s, "static", mixed(s), cache_implementation="static"),
    ),
    Case(
        "no cache",
        "every position runs again in every step",
        lambda s: ask(s, "bare", mixed(s), use_cache=False),
        repeats=True,
    ),
    Case(
        "chunked prefill",
        "`prefill_chunk_size`",
        lambda s: ask(s, "chunk", mixed(s), prefill_chunk_size=3),
    ),
    Case("several answers", "sampled, `num_return_sequences`", samples),
    Case("a cache brought along", "positions of an earlier turn are not run", brought_cache),
    Case("lengths", "1 to the longest context, around 16, 32, 64 …", lengths),
    Case("hang-ups", "the client goes after 0, 1, 2, 5 tokens", hang_ups),
    Case("assisted", "drafts by lookup: no row of a rejected one", assisted),
    Case("beams", "refused, counted", refused(num_beams=2), scored=False),
)
