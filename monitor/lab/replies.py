"""Conversations through the lab model, with what the tap's own path saw of every token.

The same hooks and row map as in a server; only the sink differs. Replies are greedy, so a conversation
has one reply.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from dosimeter.detectors.frames import Scope
from dosimeter.monitor.lab.traffic import Conversation
from dosimeter.monitor.taps.attach import Seen
from dosimeter.monitor.taps.roles import prompt_spans

Watch = Callable[[Any], AbstractContextManager[Seen]]


@dataclass(frozen=True, slots=True)
class Reply:
    """One request as it ran.

    rows    float32 [T, K]  what the tap saw at positions 0 to T - 1: scores, or activations
    scopes  uint8 [T]       whose token each of them is
    """

    conversation: Conversation
    text: str
    prompt_len: int
    rows: npt.NDArray[np.float32]
    scopes: npt.NDArray[np.uint8]

    @property
    def answer(self) -> npt.NDArray[np.float32]:
        """Rows of the answer [A, K]; a reply of n tokens has n - 1, as the last is never run."""
        return self.rows[self.prompt_len :]


@dataclass(frozen=True, slots=True)
class Lab:
    """The lab model and its tokenizer, loaded from a folder."""

    model: Any
    tokenizer: PreTrainedTokenizerFast

    @classmethod
    def load(cls, folder: Path) -> Lab:
        torch.set_num_threads(1)  # so small a model loses more to waiting threads than it gains
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        return cls(model, PreTrainedTokenizerFast.from_pretrained(folder))

    def prompt(self, conversation: Conversation) -> list[int]:
        found = self.tokenizer.apply_chat_template(
            list(conversation.messages), add_generation_prompt=True, return_dict=True
        )
        return list(found["input_ids"])

    def scopes(
        self, conversation: Conversation, ids: Sequence[int], n: int
    ) -> npt.NDArray[np.uint8]:
        """uint8 [n]: spans of the prompt as the front finds them, then the answer."""

        def render(messages: list[dict[str, Any]]) -> str:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, add_generation_prompt=True, tokenize=False
                )
            )

        def tokenize(text: str) -> tuple[Sequence[int], Sequence[tuple[int, int]]]:
            found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            return found["input_ids"], found["offset_mapping"]

        spans, exact = prompt_spans(conversation.messages, render, tokenize, ids)
        if not exact:
            raise ValueError(f"conversation `{conversation.name}`: role spans are not exact")
        scopes = np.full(n, Scope.ANSWER, np.uint8)
        for scope, start, end in spans:
            scopes[start:end] = scope
        return scopes

    def replies(
        self, conversations: Sequence[Conversation], watch: Watch, batch: int = 64
    ) -> Iterator[Reply]:
        """Run all conversations, longest prompts first; a progress line on stderr every few seconds."""
        prompts = [self.prompt(c) for c in conversations]
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        started = told = time.monotonic()
        for at in range(0, len(order), batch):
            chosen = order[at : at + batch]
            yield from self._batch(
                [conversations[i] for i in chosen], [prompts[i] for i in chosen], watch
            )
            now = time.monotonic()
            if now - told > 4:
                told, done = now, at + len(chosen)
                left = (now - started) / done * (len(order) - done)
                print(
                    f"  {done:,} of {len(order):,} conversations, {left:.0f} s left",
                    file=sys.stderr,
                )

    def _batch(
        self, conversations: list[Conversation], prompts: list[list[int]], watch: Watch
    ) -> Iterator[Reply]:
        width = max(len(p) for p in prompts)
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        with watch(self.model) as seen, torch.no_grad():
            output = self.model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=max(c.max_tokens for c in conversations),
                do_sample=False,
            ).tolist()
        for key, conversation, prompt, row in zip(
            sorted(seen.opened), conversations, prompts, output, strict=True
        ):
            rows = seen.rows(key)
            text = self.tokenizer.decode(row[width:], skip_special_tokens=True)
            scopes = self.scopes(conversation, prompt, len(rows))
            yield Reply(conversation, text, len(prompt), rows, scopes)
