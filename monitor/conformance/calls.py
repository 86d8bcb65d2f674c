"""Clients of a running server, whichever it is: a prompt goes out, what was asked and got comes back.

Prompts go as token ids where the server takes them (vLLM, SGLang), else as text of the model's own tokenizer. What
was generated is said by the server (`return_token_ids`), else by the text that left for the kit's own tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from dosimeter.monitor.cli.attach import ENGINES
from dosimeter.monitor.conformance.asked import Asked, Read
from dosimeter.monitor.conformance.case import NotOffered
from dosimeter.monitor.conformance.ear import Sequence as Told
from dosimeter.monitor.conformance.server import Reply, Running
from dosimeter.monitor.conformance.texts import Texts

CLIENTS = 8
Call = Callable[[], tuple[list[Asked], Reply]]
"""A call to be made: on any thread, once."""
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


class Calls:
    """Clients of one running server."""

    def __init__(self, server: Running, texts: Texts, context: int, seed: int) -> None:
        self.server, self.texts = server, texts
        if server.kind == "sglang":
            context -= 6  # the longest prompt that it takes is so much shorter
        self.context = min(context, 2048)
        self.rng = np.random.default_rng(seed)
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._calls = 0

    @property
    def gives_ids(self) -> bool:
        """vLLM and SGLang take and return token ids."""
        return self.server.kind in ENGINES

    @property
    def continuous(self) -> bool:
        return self.gives_ids or "--continuous-batching" in self.server.command

    def label(self, name: str) -> str:
        self._calls += 1
        return f"{name}-{self._calls}"

    def complete(self, name: str, text: str, new: int, **how: Any) -> Call:
        """A call with a plain prompt, to be made later, on any thread."""
        ids = self.texts.ids(text)
        body = {"prompt": ids if self.gives_ids else text}
        return self._prepared(name, COMPLETIONS, body, ids, new, **how)

    def chat(self, name: str, messages: Sequence[dict[str, str]], new: int, **how: Any) -> Call:
        ids = self.texts.chat(messages)
        if ids is None:
            raise NotOffered("the model has no chat template")
        return self._prepared(name, CHAT, {"messages": list(messages)}, ids, new, **how)

    def together(self, calls: Sequence[Call]) -> list[Asked]:
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
    ) -> Call:
        label = self.label(name)
        if path == CHAT and self.server.kind == "sglang":
            stream = False  # it says no ids in a chat's stream
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
