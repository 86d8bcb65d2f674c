"""The front: ASGI middleware in the server's API process. Who asks, and what the server counted.

It reads headers on the way in and the token counts of the reply on the way out; it changes neither, keeps
no text, and lets every error of its own pass as if it were not there.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

from dosimeter.monitor.taps.requests import Requests, Ticket
from dosimeter.monitor.taps.settings import TapSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]

GENERATING = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
UNREAD = ("/v1/systemone",)
"""Of transformers: one forward for each question, beside the loops that a row map follows. Its tokens are counted."""
TAIL_BYTES = 64 * 1024
"""How much of a reply's end is kept to find its token counts."""

MAX_COUNT = 1 << 31
MAX_LABEL = 256
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_ERROR = re.compile(rb'"error"\s*:\s*(?!\s|null)')


def path_of(scope: Scope) -> str:
    """What the app routes by: without the path that a proxy puts before it (`root_path`)."""
    path, root = str(scope.get("path", "")), scope.get("root_path") or ""
    return path[len(root) :] if path.startswith(f"{root}/") else path


class Front:
    """Wraps the server's app. Outermost, so that it sees the call before anything else does."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        requests: Requests,
        settings: TapSettings,
        ticket: ContextVar[Ticket | None],
    ) -> None:
        self._app = app
        self._requests = requests
        self._settings = settings
        self._ticket = ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or path_of(scope) not in GENERATING + UNREAD:
            await self._app(scope, receive, send)
            return
        try:
            ticket = self._admit(scope)
        except (
            Exception
        ) as error:  # whose call it is stays unknown; its tokens are counted all the same
            self._requests.failed(error)
            ticket = Ticket(labels={}, trusted=frozenset())
        tail = bytearray()
        failed = False

        def note(message: Scope) -> None:
            nonlocal failed
            if message["type"] == "http.response.start":
                failed = message.get("status", 200) >= 400
            elif message["type"] == "http.response.body":
                tail.extend(message.get("body", b"")[-TAIL_BYTES:])
                del tail[:-TAIL_BYTES]

        async def watched(message: Scope) -> None:
            try:
                note(message)
            except Exception as error:  # whatever the app sends is the server's to judge
                self._requests.failed(error)
            await send(message)

        token = self._ticket.set(ticket)
        try:
            await self._app(scope, receive, watched)
        finally:
            self._ticket.reset(token)
            usage = None
            with contextlib.suppress(
                Exception
            ):  # a reply we cannot read has no count: not an error
                usage = None if failed else usage_of(bytes(tail))
            try:
                self._requests.front_ended(ticket, usage)
            except Exception as error:
                self._requests.failed(error)

    def _admit(self, scope: Scope) -> Ticket:
        headers: dict[str, str] = {}
        repeated: set[str] = set()
        for raw, value in scope.get("headers", ()):
            name = raw.decode("latin-1").lower()
            if name in headers:
                repeated.add(name)
            headers.setdefault(name, value.decode("utf-8", "replace")[:MAX_LABEL])
        labels = {
            label: headers[header]
            for label, header in self._settings.labels.items()
            if header in headers
        }
        # A header that came twice is one of the gateway's and one of the client's: whose, nobody can tell.
        trusted = frozenset(
            label
            for label in self._settings.trusted
            if label in labels and self._settings.labels[label] not in repeated
        )
        # Only a label of the gateway may open content: a client cannot name itself into it, or out.
        content = "tenant" in trusted and labels["tenant"] in self._settings.content_tenants
        reason = "unsupported" if path_of(scope) in UNREAD else None
        return Ticket(labels=labels, trusted=trusted, content=content, reason=reason)


def usage_of(tail: bytes) -> tuple[int, int] | None:
    """(prompt tokens, completion tokens) from the end of a reply, JSON or server-sent events; else None.

    Of an event only its own `usage` counts, or that of the `response` in it. A reply with an error anywhere
    in it has no count: the server writes error texts unescaped, and a client can have a say in them, also
    in what looks like the event after. Inside a JSON string quotes are escaped, so nothing that a client or
    a model says looks like either key.
    """
    if _ERROR.search(tail):
        return None
    lines = [line for line in tail.split(b"\n") if line.startswith(b"data: {")]
    last = lines[-1][len(b"data: ") :] if lines else tail
    try:
        event = json.loads(last)
    except ValueError:
        if len(tail) < TAIL_BYTES:
            return None
        return _usage_at_the_end(last)  # its beginning is lost: only so long a reply is searched
    if not isinstance(event, dict):
        return None
    response = event.get("response")
    found = event.get("usage")
    return _counts(found if found or not isinstance(response, dict) else response.get("usage"))


def _usage_at_the_end(text: bytes) -> tuple[int, int] | None:
    found = None
    for match in _USAGE.finditer(text):
        found = match
    if found is None:
        return None
    usage, _ = json.JSONDecoder().raw_decode(text[found.end() :].decode("utf-8", "replace"))
    return _counts(usage)


def _counts(usage: Any) -> tuple[int, int] | None:
    if not isinstance(usage, dict):
        return None
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    completion = usage.get("completion_tokens", usage.get("output_tokens"))
    if type(prompt) is not int or type(completion) is not int:
        return None
    return (
        (prompt, completion)
        if 0 <= min(prompt, completion) <= max(prompt, completion) < MAX_COUNT
        else None
    )
