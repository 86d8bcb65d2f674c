"""A small model folder and a pack fitted to nothing: enough to exercise formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from dosimeter.detectors.bank import Probe
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import Fingerprint, Pack, ProbeNote

WIDTH = 8


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": WIDTH, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    weights = {"a.weight": np.arange(64, dtype=np.float32).reshape(8, 8), "b": np.ones(3, "f4")}
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture
def model(model_folder: Path) -> ModelIdentity:
    return ModelIdentity.from_folder(model_folder)


@pytest.fixture
def pack(model: ModelIdentity) -> Pack:
    rng = np.random.default_rng(1)
    probes = (
        Probe("deception", (1, 3), rng.standard_normal((2, WIDTH)).astype(np.float32), 0.25),
        Probe("scam", (2,), rng.standard_normal((1, WIDTH)).astype(np.float32), -1.5),
    )
    note = ProbeNote("T0", 0.5, 2.0, 1000, {"auroc": {"value": 0.99, "low": 0.98}}, {"length": 0.5})
    known = Fingerprint(
        (5, 6, 7),
        rng.standard_normal((3, 2)).astype(np.float32),
        rng.standard_normal((3, WIDTH)).astype(np.float32),
        0.05,
    )
    return Pack("test/two", "drawn at random", model, probes, (note, note), known)
