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
TAIL_BYTES = 64 * 1024
"""How much of a reply's end is kept to find its token counts."""

MAX_LABEL = 256
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')


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
        if scope["type"] != "http" or scope.get("path") not in GENERATING:
            await self._app(scope, receive, send)
            return
        ticket = self._admit(scope)
        tail = bytearray()

        async def watched(message: Scope) -> None:
            if message["type"] == "http.response.body":
                tail.extend(message.get("body", b""))
                del tail[:-TAIL_BYTES]
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
                usage = usage_of(bytes(tail))
            try:
                self._requests.front_ended(ticket, usage)
            except Exception as error:
                self._requests.failed(error)

    def _admit(self, scope: Scope) -> Ticket:
        headers: dict[str, str] = {}
        for name, value in scope.get("headers", ()):
            headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1")[:MAX_LABEL])
        labels = {
            label: headers[header]
            for label, header in self._settings.labels.items()
            if header in headers
        }
        trusted = frozenset(self._settings.trusted) & frozenset(labels)
        # Only a label of the gateway may open content: a client cannot name itself into it, or out.
        content = "tenant" in trusted and labels["tenant"] in self._settings.content_tenants
        return Ticket(labels=labels, trusted=trusted, content=content)


def usage_of(tail: bytes) -> tuple[int, int] | None:
    """(prompt tokens, completion tokens) from the end of a reply, JSON or server-sent events; else None."""
    found = None
    for match in _USAGE.finditer(tail):
        found = match
    if found is None:
        return None
    text = tail[found.end() :].decode("utf-8", "replace")
    usage, _ = json.JSONDecoder().raw_decode(text)
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    completion = usage.get("completion_tokens", usage.get("output_tokens"))
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    return prompt, completion
