"""Whose tokens: scope spans of a rendered prompt, from its message boundaries.

The prompt is rendered once more with each message's content between markers that are random per request,
so a user who types `<|assistant|>` stays inside their own message. Where the template changes content in a
way that moves the boundaries, or the tokens differ from the server's, the answer is one `message` span and
`exact` is false: an honest blur, never a guess.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dosimeter.detectors.frames import Scope

Span = tuple[int, int, int]
MAX_TOKENS = 16_384
"""Longer prompts are blurred: finding spans costs the server's event loop one more tokenisation."""

_MARK = re.compile(r"([0-9]{1,9})([][])")

Render = Callable[[list[dict[str, Any]]], str]
"""Messages -> prompt text, as the server's template renders them."""

Tokenize = Callable[[str], tuple[Sequence[int], Sequence[tuple[int, int]]]]
"""Text -> token ids and their [start, end) character offsets."""


def scopes_of(messages: Sequence[Mapping[str, Any]]) -> list[Scope]:
    """One scope a message. Everything before the last user message, but for system, is resent history."""
    roles = [str(message.get("role")) for message in messages]
    last_user = max((i for i, role in enumerate(roles) if role == "user"), default=len(roles) - 1)
    scopes = []
    for i, role in enumerate(roles):
        if role in ("system", "developer"):
            scopes.append(Scope.SYSTEM)
        elif i < last_user:
            scopes.append(Scope.HISTORY)
        elif role in ("tool", "function"):
            scopes.append(Scope.TOOL)
        elif role == "assistant":
            scopes.append(Scope.HISTORY)
        else:
            scopes.append(Scope.MESSAGE)
    return scopes


def blurred(n: int) -> tuple[list[Span], bool]:
    """The honest blur: one message span over the whole prompt, not exact."""
    return [(int(Scope.MESSAGE), 0, n)], False


def prompt_spans(
    messages: Sequence[Mapping[str, Any]], render: Render, tokenize: Tokenize, ids: Sequence[int]
) -> tuple[list[Span], bool]:
    """Spans over the prompt positions, contiguous from 0 to len(ids), and whether they are exact.

    Tokens of the template between two messages belong to the message before them, so the end of the
    prompt (where a model settles what it will say) is the last message's.
    """
    if len(ids) > MAX_TOKENS:
        return blurred(len(ids))
    texts = [str(message.get("content") or "") for message in messages]
    # Many templates trim content, which moves the inner markers but not what is between them.
    for cut in (texts, [text.strip() for text in texts]):
        plain = [_with_text(message, text) for message, text in zip(messages, cut, strict=True)]
        text = render(plain)
        starts = _content_starts(plain, text, render)
        if starts is not None:
            found, offsets = tokenize(text)
            if list(found) == list(ids):
                return _spans(starts, offsets, scopes_of(messages)), True
    return blurred(len(ids))


def by_template(
    messages: Sequence[Mapping[str, Any]], render: Render, tokenizer: Any
) -> Callable[[Sequence[int]], tuple[list[Span], bool]]:
    """Answers for the ids that the server runs, with its own template and tokenizer; never raises."""

    def tokenize(text: str) -> tuple[Sequence[int], Sequence[tuple[int, int]]]:
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return found["input_ids"], found["offset_mapping"]

    def spans(ids: Sequence[int]) -> tuple[list[Span], bool]:
        try:
            return prompt_spans(messages, render, tokenize, ids)
        except Exception:  # a template that refuses the marked render
            return blurred(len(ids))

    return spans


def _spans(
    starts: Sequence[int], offsets: Sequence[tuple[int, int]], scopes: Sequence[Scope]
) -> list[Span]:
    spans: list[Span] = []
    index = 0
    for position, (start, _) in enumerate(offsets):
        while index + 1 < len(starts) and start >= starts[index + 1]:
            index += 1
        scope = int(scopes[index])
        if spans and spans[-1][0] == scope:
            spans[-1] = (scope, spans[-1][1], position + 1)
        else:
            spans.append((scope, position, position + 1))
    return spans


def _with_text(message: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {**message, "content": text}


def _content_starts(messages: list[dict[str, Any]], text: str, render: Render) -> list[int] | None:
    """Character index in `text`, the plain rendering, where each content starts; None if it cannot be told."""
    nonce = secrets.token_hex(16)
    marked = render(
        [
            _with_text(message, f"{nonce}{i}[{message['content']}{nonce}{i}]")
            for i, message in enumerate(messages)
        ]
    )
    # One pass, whatever the number of messages: a client chooses it, and this runs in the server.
    first, *rest = marked.split(nonce)
    starts: list[int] = []
    open_, pieces, length = 0, [first], len(first)
    for part in rest:
        found = _MARK.match(part)
        if found is None:
            return None
        index, opening = int(found[1]), found[2] == "["
        if index != len(starts) - open_ or open_ == opening:
            return None  # twice, out of order, or one inside another
        if opening:
            starts.append(length)
        open_ = int(opening)
        pieces.append(part[found.end() :])
        length += len(pieces[-1])
    if len(starts) != len(messages) or open_:
        return None
    return starts if "".join(pieces) == text else None
