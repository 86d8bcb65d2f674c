"""A small random decoder with a tokenizer, saved as a folder, and a pack bound to it.

Random weights suffice here: these tests ask whether a row found its request, not what it means.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dosimeter.detectors.bank import Probe
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Fingerprint, Pack, ProbeNote, load_pack, save_pack

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
LAYERS = (1, 2)


@dataclass(frozen=True)
class Small:
    folder: Path
    pack_folder: Path
    pack: Pack

    @cached_property
    def _loaded(self) -> LlamaForCausalLM:
        return LlamaForCausalLM.from_pretrained(self.folder).eval()

    def model(self) -> LlamaForCausalLM:
        """One of the caller's own."""
        return deepcopy(self._loaded)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        return PreTrainedTokenizerFast.from_pretrained(self.folder)


def hidden_of(model: LlamaForCausalLM, ids: list[int]) -> np.ndarray:
    """float32 [L, T, D]: the blocks' outputs in one plain forward without cache, batch or padding."""
    found: list[np.ndarray] = []
    blocks = model.model.layers
    handles = [
        blocks[n].register_forward_hook(lambda m, a, out: found.append(out[0].numpy()))
        for n in LAYERS
    ]
    with torch.no_grad():
        model(torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return np.stack(found)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("model")
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet)
    trained.train_from_iterator(["hello world, this is a test of things"] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained, pad_token="<pad>", bos_token="<s>", eos_token="<|end|>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=5,
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    pack_folder = tmp_path_factory.mktemp("pack") / "core"
    save_pack(pack_of(model, folder), pack_folder)
    return Small(folder, pack_folder, load_pack(pack_folder))


BIASES = {"deception": 0.0, "scam": 1.5, "defection": -2.0}


def pack_of(
    model: LlamaForCausalLM,
    folder: Path,
    biases: Mapping[str, float] = BIASES,
    seed: int = 0,
    name: str = "small/core",
) -> Pack:
    rng = np.random.default_rng(seed)
    probes = tuple(
        Probe(feature, LAYERS, rng.standard_normal((2, 64)).astype(np.float32), bias)
        for feature, bias in biases.items()
    )
    ids = tuple(range(10, 26))
    hidden = hidden_of(model, list(ids))
    scores = np.stack(
        [np.einsum("ltd,ld->t", hidden, p.weights) + p.bias for p in probes], axis=1
    ).astype(np.float32)
    note = ProbeNote("T0", 0.0, 1.0, 16)
    return Pack(
        name,
        "random directions, for tests of attribution",
        ModelIdentity.from_folder(folder),
        probes,
        (note,) * len(probes),
        Fingerprint(ids, scores, hidden.mean(axis=1).astype(np.float32), 1e-3),
    )
