"""The demo's clients: what a reply says, and that one without its counts is an error, not zero tokens."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from dosimeter.monitor.lab.clients import ask
from dosimeter.monitor.lab.traffic import Conversation

USAGE = {"prompt_tokens": 10, "completion_tokens": 3}


def conversation(*, stream: bool) -> Conversation:
    said = ({"role": "user", "content": "Hello!"},)
    return Conversation("a name", "tenant", "user", "c-1", said, stream=stream)


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n"


def chunk(text: str, **fields: Any) -> bytes:
    return event(choices=[{"delta": {"content": text}}], **fields)


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the server sends next: lines, or an error after them."""
    coming: list[Any] = []

    def lines(parts: Sequence[Any]) -> Iterator[bytes]:
        for part in parts:
            if isinstance(part, Exception):
                raise part
            yield part

    monkeypatch.setattr(
        urllib.request, "urlopen", lambda *_, **__: contextlib.nullcontext(lines(coming))
    )
    return coming


def test_a_streamed_reply_is_its_parts_together_with_the_counts_of_its_last(
    replies: list[Any],
) -> None:
    replies += [chunk("Good "), b"\n", chunk("day"), chunk("", usage=USAGE), b"data: [DONE]\n"]
    found = ask("http://host", "m", conversation(stream=True))
    assert (found.text, found.tokens, found.error) == ("Good day", 12, None)


def test_a_whole_reply_is_read_with_its_counts(replies: list[Any]) -> None:
    body = {"choices": [{"message": {"content": "Good day"}}], "usage": USAGE}
    replies += [json.dumps(body).encode()]
    found = ask("http://host", "m", conversation(stream=False))
    assert (found.text, found.tokens, found.error) == ("Good day", 12, None)


@pytest.mark.parametrize(
    "parts",
    [
        [chunk("Good ")],
        [chunk("Good "), http.client.IncompleteRead(b"")],
        [event(error={"message": "the worker died"})],
        [b"data: {cut\n"],
        [ConnectionResetError("hung up")],
    ],
)
def test_a_reply_that_was_cut_off_or_failed_is_an_error(
    replies: list[Any], parts: list[Any]
) -> None:
    """A thread of the traffic that dies of it would take its conversation out of the report."""
    replies += parts
    found = ask("http://host", "m", conversation(stream=True))
    assert found.error
    assert (found.text, found.tokens) == ("", 0)
