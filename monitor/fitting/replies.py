"""A decoder's own replies to prompts, as tokens that can be read again.

What is read is what was generated, token for token: a reply that is decoded and rendered anew may come out
as other tokens. What a reply is compared with is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import Scope
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.fitting.subject import MAX_TOKENS, Tell, Tokens, batches

BATCH_TOKENS, BATCH_ROWS = 1 << 13, 32


@dataclass(frozen=True, slots=True)
class Reply:
    """text: what was said · tokens: prompt and reply, the reply alone read; None where nothing was said."""

    text: str
    tokens: Tokens | None


def replies(
    subject: Decoder,
    prompts: Sequence[Example],
    most: int,
    tell: Tell,
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Reply]:
    """One reply of up to `most` tokens to each prompt, a plain text being what the user says.

    temperature 0 is greedy. Raises InputError for a prompt that leaves no room for a reply.
    """
    asked = [subject.tokens(prompt, Scope.MESSAGE) for prompt in prompts]
    _check_room(subject, prompts, asked, most)
    ends = _as_set(subject.model.generation_config.eos_token_id)
    added = subject.tokenizer.added_tokens_decoder.items()
    special = {*subject.tokenizer.all_special_ids, *(i for i, t in added if t.special)}
    pad = next(
        (i for i in (subject.tokenizer.pad_token_id, subject.tokenizer.eos_token_id) if i is not None), 0
    )  # fmt: skip
    device = next(subject.model.parameters()).device
    how = {"temperature": temperature, "top_p": 1.0, "top_k": 0} if temperature else {}
    found: dict[int, Reply] = {}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for batch in batches(asked, BATCH_TOKENS, BATCH_ROWS):
            width = len(asked[batch[0]].ids)
            ids = [[pad] * (width - len(asked[i].ids)) + [*asked[i].ids] for i in batch]
            mask = [[0] * (width - len(asked[i].ids)) + [1] * len(asked[i].ids) for i in batch]
            output = subject.model.generate(
                torch.tensor(ids, device=device),
                attention_mask=torch.tensor(mask, device=device),
                max_new_tokens=most,
                do_sample=temperature > 0,
                num_beams=1,
                pad_token_id=pad,
                **how,
            )
            for i, said in zip(batch, output[:, width:].tolist(), strict=True):
                stop = next((at for at, token in enumerate(said) if token in ends), len(said))
                text = subject.tokenizer.decode(said[:stop], skip_special_tokens=True)
                found[i] = Reply(str(text), _joined(asked[i], said[:stop], special))
            tell(len(found), len(asked))
    return [found[i] for i in range(len(asked))]


def _joined(asked: Tokens, said: list[int], special: set[int]) -> Tokens | None:
    read = np.array([token not in special for token in said], np.bool_)
    if not read.any():
        return None
    return Tokens(
        tuple(int(token) for token in (*asked.ids, *said)),
        np.concatenate([asked.scopes, np.full(len(said), Scope.ANSWER, np.uint8)]),
        np.concatenate([np.zeros(len(asked.ids), np.bool_), read]),
    )


def _check_room(
    subject: Decoder, prompts: Sequence[Example], asked: Sequence[Tokens], most: int
) -> None:
    known = getattr(subject.model.config, "max_position_embeddings", None) or MAX_TOKENS + most + 1
    for prompt, tokens in zip(prompts, asked, strict=True):
        if tokens.cut or len(tokens.ids) + most + 1 > known:
            raise InputError.at(
                prompt.place,
                f"the prompt leaves no room for a reply of {most} tokens",
                f"prompts of up to {min(MAX_TOKENS, known - most - 1)} tokens are answered",
            )


def _as_set(ends: int | list[int] | None) -> set[int]:
    if ends is None:
        return set()
    return set(ends) if isinstance(ends, list) else {ends}
