"""Attacks the front: headers, replies and messages of a client who wants another's label, a forged count,
another scope, or an exception inside the server.

The properties: the call and its reply pass unchanged, a trusted label comes from a header that stood there
once, a count is the server's own or none, and spans that call themselves exact keep every character in its
message.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Sequence
from contextvars import ContextVar
from typing import Any

from dosimeter.monitor.taps.front import MAX_LABEL, TAIL_BYTES, Front, usage_of
from dosimeter.monitor.taps.requests import End, Requests, Ticket
from dosimeter.monitor.taps.roles import MAX_TOKENS, prompt_spans, scopes_of
from dosimeter.monitor.taps.settings import TapSettings
from dosimeter.monitor.taps.wire import shrink
from targets.source import Source

SETTINGS = TapSettings(socket="s", trusted=("tenant", "route"), content_tenants=("acme",))
NAMES = (
    b"x-tenant-id",
    b"X-Tenant-Id",
    b"x-route",
    b"traceparent",
    b"x-request-id",
    b"x-user-id",
    b"\xff",
)
ROLES = ("system", "user", "assistant", "tool", "developer", "", "\u202euser")
COUNT = (7, 3)


def attack(data: bytes) -> None:
    source = Source(data)
    (call, forge, cut)[source.below(3)](source)


def call(source: Source) -> None:
    """One HTTP call whose headers and reply are hostile."""
    headers = [
        (source.choice(NAMES), source.choice((b"acme", b"", source.text().encode("utf-8", "replace"), b"\xff\x00")))
        for _ in range(source.below(6))
    ]  # fmt: skip
    reply = [
        {"type": "http.response.start", "status": source.choice((200, 404, 200)), "headers": []},
        *(
            {"type": "http.response.body", "body": source.take(source.below(64)), "more_body": True}
            for _ in range(source.below(4))
        ),
    ]
    said: list[tuple[str, dict[str, Any]]] = []
    tickets: list[Ticket] = []
    requests = Requests(lambda kind, record: said.append((kind, record)), lambda: 1)
    current: ContextVar[Ticket | None] = ContextVar("ticket", default=None)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ticket = current.get()
        assert ticket is not None
        tickets.append(ticket)
        request = requests.open([1] * 7, ticket)
        requests.tap_ended(request, End("finished", 7, 3, 9, "scheduler"))
        for message in reply:
            await send(message)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/chat/completions", "headers": headers}
    run(Front(app, requests, SETTINGS, current)(scope, None, send))  # type: ignore[arg-type]
    assert sent == reply
    assert not requests.errors, requests.last_error
    (ticket,) = tickets
    times = [name.lower() for name, _ in headers]
    for label in ticket.trusted:
        assert times.count(SETTINGS.labels[label].encode()) == 1
    assert ticket.content == ("tenant" in ticket.trusted and ticket.labels["tenant"] == "acme")
    assert all(len(value) <= MAX_LABEL for value in ticket.labels.values())
    assert [kind for kind, _ in said] == ["OPEN", "CLOSE"]
    for _, record in said:
        assert json.loads(shrink(record))
        assert 0 <= record.get("served", 0) < 1 << 32


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """To its end; nothing in it waits for anything."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("the front waited for something")


def forge(source: Source) -> None:
    """A reply in which client and model chose all the text; its count is COUNT, or it has none."""
    text = "".join(source.text() for _ in range(1 + source.below(4)))
    usage = {"prompt_tokens": COUNT[0], "completion_tokens": COUNT[1]}
    message = {"choices": [{"message": {"content": text}}]}
    dump = json.dumps if source.below(2) else plain_json
    long = "z" * (TAIL_BYTES if source.below(4) == 3 else 0)
    events = [message, {"response": {"output": long + text}}, {"text": text, "usage": usage}]
    stream = "".join(f"data: {dump(event)}\n\n" for event in events)
    error = f'data: {{"error": "{text}"}}\n\n'
    broken = stream.encode("utf-8", "replace")[: source.below(4096)]
    cases: Sequence[tuple[bytes, bool]] = (
        (dump({"output": long + text, **message, "usage": usage}).encode("utf-8", "replace"), True),
        (dump({"output": long, **message}).encode("utf-8", "replace"), False),
        (stream.encode("utf-8", "replace") + b"data: [DONE]\n\n", True),
        (error.encode("utf-8", "replace"), False),
        ((stream + error).encode("utf-8", "replace"), False),
        (broken, True),
    )
    for body, counted in cases:
        try:
            found = usage_of(body[-TAIL_BYTES:])
        except RecursionError:  # what the front takes for no count
            continue
        assert found is None or (counted and found == COUNT), (body, found)


def plain_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def cut(source: Source) -> None:
    """A conversation in which anyone may type what the template writes."""
    messages = [
        {"role": source.choice(ROLES), "content": source.text() + source.text()}
        for _ in range(1 + source.below(5))
    ]
    trim = bool(source.below(2))

    def render(given: Sequence[dict[str, Any]]) -> str:
        texts = [m["content"].strip() if trim else m["content"] for m in given]
        parts = (f"<|{m['role']}|>{t}<|end|>" for m, t in zip(given, texts, strict=True))
        return "".join(parts) + "<|assistant|>"

    def tokenize(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        return [ord(c) for c in text], [(i, i + 1) for i in range(len(text))]

    whole = render(messages)
    spans, exact = prompt_spans(messages, render, tokenize, [ord(c) for c in whole])
    edges = [0, *(end for _, _, end in spans)]
    assert edges == [*(start for _, start, _ in spans), len(whole)]
    assert exact == (len(whole) <= MAX_TOKENS), "this template can always be followed"
    if not exact:
        return
    scopes = [scope for scope, start, end in spans for _ in range(end - start)]
    at = 0
    for message, scope in zip(messages, scopes_of(messages), strict=True):
        content = message["content"].strip() if trim else message["content"]
        at += len(f"<|{message['role']}|>")
        assert set(scopes[at : at + len(content)]) <= {scope}
        at += len(content) + len("<|end|>")
