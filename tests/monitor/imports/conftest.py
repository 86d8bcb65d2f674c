"""The identity of no model in particular: enough to make a pack."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from dosimeter.detectors.identity import ModelIdentity


@pytest.fixture
def model(tmp_path: Path) -> ModelIdentity:
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file({"a": np.ones(3, np.float32)}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    return ModelIdentity.from_folder(folder)
