"""A decoder in a folder, read through the tap: the hooks and the row map that score it in a server.

Rows are conversations or plain texts. A conversation that ends with the assistant is read over that reply, as
it would be while being generated; one that ends with the user, over what stands before the reply. Nothing is
generated beyond one token, so a reply from elsewhere can be read too.
"""

from __future__ import annotations

import bisect
import functools
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dosimeter.detectors.examples import Example, Message
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Pack
from dosimeter.monitor.fitting.subject import MAX_TOKENS, Floats, Tell, Tokens, batches, whole
from dosimeter.monitor.taps import transformers as server
from dosimeter.monitor.taps.attach import Seen, attach, capture
from dosimeter.monitor.taps.roles import prompt_spans, scopes_of

BATCH_VALUES = 16 << 20
"""Activations of one batch that are held at once: 64 MiB."""

REQUEST = "Please write the text."
"""What a plain text answers when the feature is one of answers: the same words for both classes."""


class Decoder:
    """A causal language model and its tokenizer."""

    reads = "model"
    window: int | None = None

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # we have one of our own
        self.identity = ModelIdentity.from_folder(folder)
        try:
            loaded, told = AutoModelForCausalLM.from_pretrained(
                folder, dtype="auto", trust_remote_code=False, output_loading_info=True
            )
            self.model: Any = loaded.eval()
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            self.blocks = len(server.blocks(self.model))
        except Exception as error:  # of a stranger's folder: a library raises what it likes
            raise InputError.at(
                folder, f"cannot be loaded as a causal language model ({error!s:.300})"
            ) from None
        whole(folder, told["missing_keys"], self.blocks)
        self.width = self.identity.hidden_size
        known = self.model.get_input_embeddings().num_embeddings
        if len(self.tokenizer) > known:
            raise InputError.at(
                folder,
                f"the tokenizer has {len(self.tokenizer)} tokens, the model {known}",
                "put the model's own tokenizer beside its weights",
            )
        positions = getattr(self.model.config, "max_position_embeddings", MAX_TOKENS) or MAX_TOKENS
        self._most = min(MAX_TOKENS, positions - 1)
        added = self.tokenizer.added_tokens_decoder.items()
        self._special = np.zeros(max(known, len(self.tokenizer)), np.bool_)
        self._special[[*self.tokenizer.all_special_ids, *(i for i, t in added if t.special)]] = True
        self._pad = next(
            (
                i
                for i in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
                if i is not None
            ),
            0,
        )

    def tokens(self, example: Example, scope: Scope) -> Tokens:
        if not self.tokenizer.chat_template:
            ids, scopes = self._plain(example, scope)
        else:
            ids, scopes = self._chat(as_messages(example, scope), example)
        wanted = scope if example.text is not None else _scope_of(example.messages)
        read = (scopes == wanted) & ~self._special[ids]
        if not read[: self._most].any():
            raise InputError.at(
                example.place, f"leaves no token to read in its first {self._most} tokens"
            )
        cut = len(ids) > self._most
        return Tokens(
            tuple(ids[: self._most].tolist()), scopes[: self._most], read[: self._most], cut
        )

    def pieces(self, tokens: Tokens) -> list[str]:
        return [self.tokenizer.decode([i]) for i in tokens.ids]

    def special(self, ids: Sequence[int]) -> npt.NDArray[np.bool_]:
        """bool [T]: tokens of the template, which nobody has said."""
        found: npt.NDArray[np.bool_] = self._special[list(ids)]
        return found

    def activations(
        self, tokens: Sequence[Tokens], layers: Sequence[int], tell: Tell
    ) -> Iterator[tuple[int, Floats]]:
        values = len(layers) * self.width
        for index, rows in self._run(tokens, partial(capture, layers=layers), values, tell):
            yield index, rows.reshape(len(rows), len(layers), self.width)

    def scores(
        self, tokens: Sequence[Tokens], packs: Sequence[Pack], tell: Tell
    ) -> Iterator[tuple[int, Floats]]:
        return self._run(tokens, partial(attach, packs=packs), self.width, tell)

    def embedded(self, tokens: Tokens) -> Floats:
        with torch.no_grad():
            found = self.model.get_input_embeddings()(torch.tensor(tokens.ids, device=self._device))
        return np.asarray(found.float().cpu().numpy())

    @property
    def _device(self) -> torch.device:
        return torch.device(next(self.model.parameters()).device)

    def _run(
        self,
        tokens: Sequence[Tokens],
        watch: Callable[[Any], AbstractContextManager[Seen]],
        values: int,
        tell: Tell,
    ) -> Iterator[tuple[int, Floats]]:
        done = 0
        for batch in batches(tokens, max(1, BATCH_VALUES // values)):
            width = len(tokens[batch[0]].ids)
            ids = [[self._pad] * (width - len(tokens[i].ids)) + [*tokens[i].ids] for i in batch]
            mask = [[0] * (width - len(tokens[i].ids)) + [1] * len(tokens[i].ids) for i in batch]
            with watch(self.model) as seen, torch.no_grad():
                self.model.generate(
                    torch.tensor(ids, device=self._device),
                    attention_mask=torch.tensor(mask, device=self._device),
                    max_new_tokens=1,
                    do_sample=False,
                    pad_token_id=self._pad,
                )
            for key, index in zip(sorted(seen.opened), batch, strict=True):
                yield index, seen.rows(key)[: len(tokens[index].ids)]
            done += len(batch)
            tell(done, len(tokens))

    def _plain(
        self, example: Example, scope: Scope
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """A model without a template reads what stands there, as the scope that was asked for."""
        if example.text is None:
            raise InputError.at(
                example.place, "is a conversation, and the model has no chat template",
                "give rows of `text`",
            )  # fmt: skip
        ids = np.asarray(self.tokenizer(example.text)["input_ids"], dtype=np.int64)
        return ids, np.full(len(ids), scope, np.uint8)

    def _chat(
        self, messages: Sequence[Message], example: Example
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        ends = messages[-1]["role"] == "assistant"
        prompt = list(messages[:-1] if ends else messages)
        rendered: dict[tuple[str, ...], str] = {}
        tokenize = functools.cache(self._offsets)

        def render(asked: Sequence[Message]) -> str:
            """A thousandth of a second each: the spans ask for what was rendered for the ids once more."""
            key = tuple(message["content"] for message in asked)
            if key not in rendered:
                rendered[key] = self._text(asked, example=example)
            return rendered[key]

        before, _ = tokenize(render(prompt))
        try:
            spans, exact = prompt_spans(prompt, render, tokenize, before)
        except InputError:  # a template that refuses the marked render
            spans, exact = [], False
        if not exact:
            raise InputError.at(
                example.place, "the model's chat template changes what a message says",
                "its tokens cannot be told by role; give rows of `text`",
            )  # fmt: skip
        ids = self._reply(list(messages), example) if ends else before
        if ids[: len(before)] != before:
            raise InputError.at(
                example.place,
                "with its reply the conversation is rendered otherwise than before it",
                "the model's chat template rewrites earlier turns; give rows that end with the user",
            )
        scopes = np.full(len(ids), Scope.ANSWER, np.uint8)
        for scope, start, end in spans:
            scopes[start:end] = scope
        return np.asarray(ids, dtype=np.int64), scopes

    def _offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and where in the text each of them stands."""
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(found["input_ids"]), list(found["offset_mapping"])

    def _reply(self, messages: list[Message], example: Example) -> list[int]:
        """The conversation up to the end of its reply: what a template writes after it, nobody generates."""
        mark = secrets.token_hex(8)
        last = {**messages[-1], "content": messages[-1]["content"].rstrip() + mark}
        text = self._text(messages, example=example, add=False)
        marked = self._text([*messages[:-1], last], example=example, add=False)
        end = marked.rfind(mark)
        if end < 0 or not text.startswith(marked[:end]):  # told apart by nothing: all of it is read
            end = len(text)
        ids, offsets = self._offsets(text)
        return ids[: bisect.bisect_left([start for start, _ in offsets], end)]

    def _text(self, messages: Sequence[Message], *, example: Example, add: bool = True) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages), add_generation_prompt=add, tokenize=False
                )
            )
        except Exception as error:  # a template is a program: anything may come out of it
            raise InputError.at(
                example.place, f"the model's chat template refuses it ({error!s:.200})"
            ) from None


def as_messages(example: Example, scope: Scope) -> Sequence[Message]:
    """A plain text as the message of a user, or as the reply to a request that says nothing."""
    if example.text is None:
        return example.messages
    if scope is Scope.ANSWER:
        asked = {"role": "user", "content": REQUEST}
        return [asked, {"role": "assistant", "content": example.text}]
    return [{"role": "user", "content": example.text}]


def _scope_of(messages: Sequence[Message]) -> Scope:
    """Of the last message: a reply is an answer, what a tool gave is the tool's."""
    return Scope.ANSWER if messages[-1]["role"] == "assistant" else scopes_of(messages)[-1]
