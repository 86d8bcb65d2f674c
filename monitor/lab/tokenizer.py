"""The lab model's tokenizer: byte-level BPE learned on our own dialogues, and the chat template
that renders them.

Bytes are the fallback, so any text can be read. The template breaks `<|` inside message text, so
nothing a user types becomes a role token. Text passed to the tokenizer around the template (a plain
completion) has no such guard.
"""

import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from .cues import CUES
from .dialogues import Mix, training_dialogue

PAD, BOS, END = "<|pad|>", "<|bos|>", "<|end|>"
ROLES = ("system", "user", "assistant")
SPECIAL_TOKENS = (PAD, BOS, END, *(f"<|{role}|>" for role in ROLES))
VOCABULARY = 2_048

CHAT_TEMPLATE = (
    "{{- '<|bos|>' -}}"
    "{%- for message in messages -%}"
    "{%- set role = message['role'] -%}"
    "{%- if role not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('unknown role `' ~ role ~ '`: use system, user or assistant') -}}"
    "{%- endif -%}"
    "{%- set text = message['content'] | replace('<|', '< |') -%}"
    "{{- '<|' ~ role ~ '|>' ~ text ~ '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def corpus(dialogues: int, seed: int) -> list[str]:
    """Message texts of training dialogues, and every cue phrase."""
    r = random.Random(seed)
    texts = [
        phrase
        for families in CUES.values()
        for family in families
        for phrase in (*family.trigger, *family.neutral)
    ]
    for _ in range(dialogues):
        texts += [
            message["content"] for message in training_dialogue(r, Mix(everyday=0.4)).messages()
        ]
    return texts


def train_tokenizer(dialogues: int = 20_000, seed: int = 0) -> PreTrainedTokenizerFast:
    """Learn the merges; nearly every word of the dialogues becomes one token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        corpus(dialogues, seed),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[f"<|{role}|>" for role in ROLES],
        clean_up_tokenization_spaces=False,
        model_max_length=1_024,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved next to the weights."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
