"""A tiny random decoder with the lab's tokenizer, versions of it, and a pack that reads along known axes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from dosimeter.detectors.examples import Example
from dosimeter.detectors.findings import Place
from dosimeter.detectors.fingerprint import Fingerprint
from dosimeter.detectors.fit import standardise
from dosimeter.detectors.frames import ActivationFrame, Scope
from dosimeter.detectors.pack import Pack, ProbeNote
from dosimeter.monitor.fitting.decoder import Decoder
from dosimeter.monitor.lab import MODEL

WIDTH, BLOCK = 32, 1
Change = Callable[[Any], None]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of one random model, with a change made to its weights before it is saved."""

    def make(change: Change = lambda model: None, **config: Any) -> Path:
        torch.manual_seed(5)
        sizes = {
            "vocab_size": 2048, "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "mlp_bias": True,
        }  # fmt: skip
        model = LlamaForCausalLM(LlamaConfig(**{**sizes, **config}))
        with torch.no_grad():
            change(model)
        folder = tmp_path_factory.mktemp("version")
        model.save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(MODEL / name, folder / name)
        return folder

    return make


@pytest.fixture(scope="session")
def old(version: Callable[..., Path]) -> Decoder:
    return Decoder(version())


@pytest.fixture(scope="session")
def axes() -> np.ndarray:
    """float64 [2, WIDTH]: two directions of length 1, at right angles: `scam` and `deception`."""
    drawn = np.random.default_rng(7).standard_normal((WIDTH, 2))
    return np.linalg.qr(drawn)[0].T


@pytest.fixture(scope="session")
def suite() -> list[Example]:
    """Forty short texts of ordinary words; every second says `copper` and is labelled 1."""
    words = [
        "river",
        "stone",
        "lamp",
        "garden",
        "window",
        "paper",
        "music",
        "winter",
        "bread",
        "letter",
        "bridge",
        "market",
    ]
    rng = np.random.default_rng(1)
    found = []
    for i in range(40):
        text = " ".join(rng.choice(words, 8).tolist() + (["copper"] if i % 2 else ["silver"]))
        found.append(Example(bool(i % 2), f"g{i}", text, place=Place("suite.jsonl", i + 1, 1)))
    return found


@pytest.fixture(scope="session")
def pack(old: Decoder, axes: np.ndarray, suite: list[Example]) -> Pack:
    """`scam` and `deception` along the two axes after one block, standardised on the suite's benign texts."""
    tokens = [old.tokens(one, Scope.ANSWER) for one in suite]
    rows = dict(old.activations(tokens, [BLOCK], lambda done, of: None))
    benign = np.concatenate([rows[i][tokens[i].read] for i in range(0, 40, 2)])
    made = [
        standardise(name, (BLOCK,), axis[None], benign)
        for name, axis in zip(("scam", "deception"), axes, strict=True)
    ]
    frame = ActivationFrame(np.ascontiguousarray(rows[0].transpose(1, 0, 2)), (BLOCK,))
    probes = [probe for probe, _, _ in made]
    ids = [int(i) for i in tokens[0].ids]
    return Pack(
        "test/planted", "two axes", old.identity, tuple(probes),
        tuple(ProbeNote("T0", mean, sd, len(benign)) for _, mean, sd in made),
        Fingerprint.take(probes, ids, frame, 0.01),
    )  # fmt: skip
