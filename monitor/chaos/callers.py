"""Tenants of the stage: who calls the model server, and whether each of their answers was scored to its end.

Each call has a request id of its own, and the rule in force alerts once at the end of every answer with the
number of its tokens that have scores. It knows nothing of attacks.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dosimeter.monitor.lab.clients import call
from dosimeter.monitor.lab.traffic import Conversation

RULE = "whole-answer"
RULES = f"""version: 1
rules:
  - rule: {RULE}
    when: {{feature: scam, in: answer, above: z -100, average: answer}}
    status: live
    severity: low
    owner: chaos
    summary: "an answer of {{model}} to {{tenant}} has ended: {{tokens}} tokens"
"""
"""One alert an answer, whatever the model says: no mean is 100 sd below the benign one."""
TIMEOUT_S = 40.0
QUESTIONS = ("How do I make soup?", "Who are you?", "How do I spot a scam?", "What is the time?")


@dataclass(frozen=True, slots=True)
class Reply:
    """One call. answer_tokens: those the server ran; nothing is run for the last one."""

    request_id: str
    began: float  # monotonic
    answer_tokens: int = 0
    tokens: int = 0  # prompt and answer, as served
    error: str | None = None


class Caller:
    """One tenant. model: as the server calls it."""

    def __init__(self, tenant: str, model: str) -> None:
        self.tenant, self.model = tenant, model
        self.replies: list[Reply] = []
        self._serial = itertools.count()

    def ask(
        self,
        url: str,
        text: str | None = None,
        *,
        request_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        max_tokens: int = 24,
        timeout_s: float = TIMEOUT_S,
        **more: object,
    ) -> Reply:
        """Call and wait for the whole answer; what went wrong is in the reply."""
        number = next(self._serial)
        text = text if text is not None else QUESTIONS[number % len(QUESTIONS)]
        name = request_id or f"{self.tenant}-{number}-{secrets.token_hex(4)}"
        message = {"role": "user", "content": text}
        conversation = Conversation(
            name, self.tenant, f"{self.tenant}-user", name, (message,), max_tokens=max_tokens
        )
        request = call(url, self.model, conversation, name, **more)
        for header, value in (headers or {}).items():
            request.add_header(header, value)
        began = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                usage = json.load(answer)["usage"]
            prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
            reply = Reply(name, began, max(0, completion - 1), prompt + completion - 1)
        except (OSError, ValueError, KeyError) as error:
            reply = Reply(name, began, error=repr(error))
        self.replies.append(reply)
        return reply


@contextlib.contextmanager
def repeated(do: Callable[[], object], *, every_s: float) -> Iterator[None]:
    """Do something again and again, on a thread, for the length of a `with`."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            do()
            stop.wait(every_s)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(TIMEOUT_S)


def answered(replies: Iterable[Reply]) -> list[Reply]:
    """Those whose answer has a token that can have a score."""
    return [reply for reply in replies if reply.error is None and reply.answer_tokens]


def scored(replies: Sequence[Reply], tokens_of: Callable[[str], int]) -> int:
    """How many have a score for every token of their answer. tokens_of: by request id, from the alerts."""
    return sum(tokens_of(reply.request_id) == reply.answer_tokens for reply in replies)
