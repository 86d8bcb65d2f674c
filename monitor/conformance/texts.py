"""Prompts as text of an exact length in tokens, and back: which tokens a server said it ran.

A server over HTTP may take text alone, and give text alone. The kit uses the model's own tokenizer on both
sides; where one text stands for several tokens, the reference decides which of them was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from dosimeter.monitor.conformance.reference import Reference

TRIES = 200


class Texts:
    """Over the tokenizer in a model's folder. Raises OSError or ValueError if there is none."""

    def __init__(self, folder: Path, reference: Reference, seed: int) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._reference = reference
        self._rng = np.random.default_rng(seed)

    def ids(self, text: str) -> list[int]:
        """As the server's own tokenizer reads a plain prompt."""
        return [int(token) for token in self.tokenizer(text)["input_ids"]]

    def words(self, length: int, before: str = "") -> str:
        """Made-up words after `before`, `length` tokens in all. Raises ValueError if none were found."""
        for _ in range(TRIES):
            text, rest = before, length - len(self.ids(before)) if before else length
            while rest > 0:
                text += "".join(self._rng.choice(self._pieces, rest).tolist())
                now = len(self.ids(text))
                if now >= length:
                    break
                rest = length - now
            if len(self.ids(text)) == length:
                return text
        raise ValueError(f"this tokenizer makes no {length} tokens of {TRIES} made-up texts")

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int] | None:
        """As the server renders a conversation; None if the model has no template."""
        if not self.tokenizer.chat_template:
            return None
        found = self.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_dict=True
        )
        return [int(token) for token in found["input_ids"]]

    def spelled(self, prompt: Sequence[int], tokens: Sequence[str]) -> list[int]:
        """Ids of `tokens`, the texts of a sequence one by one, which begins with `prompt` unless it is another's."""
        ids = [
            token if self._text(token) == text else self._spellings.get(text, [-1])[0]
            for token, text in zip(prompt, tokens, strict=False)
        ]
        for text in tokens[len(prompt) :]:
            known = self._spellings.get(text, [])
            if not known:
                break
            ids.append(known[0] if len(known) == 1 else self._reference.likeliest(ids, known))
        return ids

    def _text(self, token: int) -> str:
        return str(self.tokenizer.decode([token]))

    @cached_property
    def _spellings(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for token in range(len(self.tokenizer)):
            found.setdefault(self._text(token), []).append(token)
        return found

    @cached_property
    def _pieces(self) -> list[str]:
        """Tokens that begin a word, which rarely grow together with what stands before them."""
        special = set(self.tokenizer.all_special_ids)
        texts = [
            self._text(token)
            for token in range(min(len(self.tokenizer), 20_000))
            if token not in special
        ]
        words = [text for text in texts if text[:1] == " " and text[1:].isalpha()]
        return words or [" a", " b", " c"]
