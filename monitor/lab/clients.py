"""The demo's clients: conversations sent to a chat server over HTTP, a few at a time, at a pace.

They know nothing of the monitor. Labels go in the headers that a gateway would set.
"""

from __future__ import annotations

import http.client
import itertools
import json
import secrets
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dosimeter.monitor.lab.traffic import Conversation

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One call and its reply. error: what went wrong instead of a reply."""

    conversation: Conversation
    text: str
    tokens: int  # prompt + completion - 1, from the reply's own usage
    error: str | None = None


def call(
    url: str, model: str, conversation: Conversation, request_id: str | None = None, **more: object
) -> urllib.request.Request:
    """One chat call, not yet sent; greedy, so that a conversation always gets the same reply.

    request_id: what the client calls it; ids of calls under way must differ, or the server fails.
    more: further fields of the body.
    """
    body = {
        "model": model,
        "messages": list(conversation.messages),
        "max_tokens": conversation.max_tokens,
        "temperature": 0.0,
        "stream": conversation.stream,
    }
    trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    headers = {
        "content-type": "application/json",
        "x-request-id": request_id or f"{conversation.conversation}-{secrets.token_hex(3)}",
        "x-tenant-id": conversation.tenant,
        "x-user-id": conversation.user,
        "x-conversation-id": conversation.conversation,
        "traceparent": trace,
    }
    text = json.dumps(body | more).encode()
    return urllib.request.Request(f"{url}/v1/chat/completions", text, headers)


def ask(
    url: str, model: str, conversation: Conversation, request_id: str | None = None, **more: object
) -> Exchanged:
    """Send it and wait for the whole reply."""
    try:
        request = call(url, model, conversation, request_id, **more)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            lines = list(reply)
        text, usage = _streamed(lines) if conversation.stream else _whole(b"".join(lines))
        tokens = usage["prompt_tokens"] + usage["completion_tokens"] - 1
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return Exchanged(conversation, "", 0, repr(error))
    return Exchanged(conversation, text, tokens)


def _whole(body: bytes) -> tuple[str, dict[str, int]]:
    found = json.loads(body)
    return found["choices"][0]["message"]["content"], found["usage"]


def _streamed(lines: Iterable[bytes]) -> tuple[str, dict[str, int]]:
    text, usage = (
        "",
        dict[str, int](),
    )  # a reply that was cut off carries no counts: KeyError at the caller
    for line in lines:
        if line.startswith(b"data: {"):
            chunk = json.loads(line[6:])
            text += "".join(c["delta"].get("content") or "" for c in chunk["choices"])
            usage = chunk.get("usage") or usage
    return text, usage


class Traffic:
    """Sends conversations on `clients` threads, at most `per_s` a second, until they end or `stop`."""

    def __init__(
        self,
        url: str,
        model: str,
        conversations: Iterable[Conversation],
        clients: int,
        per_s: float,
    ) -> None:
        self.done: list[Exchanged] = []
        self._url, self._model = url, model
        self._source: Iterator[Conversation] = iter(conversations)
        self._pause_s = clients / per_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(i * self._pause_s / clients,), daemon=True)
            for i in range(clients)
        ]

    def start(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def _run(self, offset_s: float) -> None:
        self._stop.wait(offset_s)
        while not self._stop.is_set():
            with self._lock:
                conversation = next(self._source, None)
            if conversation is None:
                return
            exchanged = ask(self._url, self._model, conversation)
            with self._lock:
                self.done.append(exchanged)
            self._stop.wait(self._pause_s)

    @property
    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def stop(self, patience_s: float = 10.0) -> None:
        """No new calls; returns when those under way have their replies, or patience is up."""
        self._stop.set()
        deadline = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def endless(make: Iterator[list[Conversation]]) -> Iterator[Conversation]:
    """Batches one after another, for a live demo that runs until someone stops it."""
    return itertools.chain.from_iterable(make)
