"""A model's identity: what changes it, what does not, and how little of a large file it reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.identity import (
    BLOCK_BYTES,
    BLOCKS_PER_FILE,
    ModelIdentity,
    sampled_offsets,
)


def changed(before: ModelIdentity, folder: Path) -> set[str]:
    """Names of the fields that differ now."""
    return {text.split()[0] for text in before.differences(ModelIdentity.from_folder(folder))}


def test_the_same_folder_has_the_same_identity(model_folder: Path, model: ModelIdentity) -> None:
    assert ModelIdentity.from_folder(model_folder) == model
    assert (model.architecture, model.hidden_size, model.dtype) == (
        "LlamaForCausalLM",
        8,
        "float32",
    )


def test_a_renamed_folder_is_the_same_model(model_folder: Path, model: ModelIdentity) -> None:
    other = ModelIdentity.from_folder(model_folder.rename(model_folder.parent / "renamed"))
    assert other.name == "renamed"
    assert not model.differences(other)
    assert other.digest == model.digest


def test_one_changed_weight_changes_the_blocks_alone(
    model_folder: Path, model: ModelIdentity
) -> None:
    path = model_folder / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert changed(model, model_folder) == {"blocks"}


def test_a_renamed_parameter_changes_the_header(model_folder: Path, model: ModelIdentity) -> None:
    weights = {"z.weight": np.zeros((8, 8), np.float32), "b": np.ones(3, np.float32)}
    safetensors.numpy.save_file(weights, model_folder / "model.safetensors")
    assert changed(model, model_folder) == {"header", "blocks"}


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("tokenizer.json", "{}", "tokenizer"),
        ("chat_template.jinja", "{{ other }}", "template"),
        ("config.json", '{"hidden_size": 9, "architectures": ["LlamaForCausalLM"]}', "hidden_size"),
        ("config.json", '{"hidden_size": 8, "architectures": ["Other"]}', "architecture"),
        (
            "config.json",
            '{"hidden_size": 8, "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}',
            "dtype",
        ),
    ],
)
def test_each_part_is_bound(
    model_folder: Path, model: ModelIdentity, name: str, text: str, field: str
) -> None:
    (model_folder / name).write_text(text)
    assert changed(model, model_folder) == {field}


def test_a_template_inside_the_tokenizer_config_is_the_same_template(
    model_folder: Path, model: ModelIdentity
) -> None:
    text = (model_folder / "chat_template.jinja").read_text()
    (model_folder / "chat_template.jinja").unlink()
    (model_folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": text}))
    assert changed(model, model_folder) == set()


def test_dtype_is_that_of_the_weights_where_the_config_is_silent(model_folder: Path) -> None:
    (model_folder / "config.json").write_text('{"hidden_size": 8}')
    identity = ModelIdentity.from_folder(model_folder)
    assert (identity.dtype, identity.architecture) == ("float32", "unknown")


@pytest.mark.parametrize(
    "config", ['{"n_embd": 8}', '{"text_config": {"hidden_size": 8, "dtype": "float32"}}']
)
def test_the_width_is_found_under_the_names_that_configs_use(
    model_folder: Path, config: str
) -> None:
    (model_folder / "config.json").write_text(config)
    assert ModelIdentity.from_folder(model_folder).hidden_size == 8


def test_the_digest_covers_every_compared_field(model: ModelIdentity) -> None:
    for name in ("architecture", "dtype", "header", "blocks", "tokenizer", "template"):
        assert replace(model, **{name: "x"}).digest != model.digest
    assert replace(model, hidden_size=9).digest != model.digest


def test_a_large_file_is_sampled_within_bounds_and_repeatably() -> None:
    """140 GB in 5 GB files: 28 times 4 MiB are read."""
    size = 5_000_000_123
    offsets = sampled_offsets("model-00001.safetensors", size)
    assert len(offsets) == len(set(offsets)) == BLOCKS_PER_FILE
    assert offsets == sampled_offsets("model-00001.safetensors", size)
    assert offsets != sampled_offsets("model-00002.safetensors", size)
    assert all(0 <= o < size and o % BLOCK_BYTES == 0 for o in offsets)
    assert offsets[0] == 0
    assert (
        offsets[-1] == size // BLOCK_BYTES * BLOCK_BYTES
    )  # the first and the last are always read


def test_a_small_file_is_read_whole() -> None:
    assert sampled_offsets("x", 2 * BLOCK_BYTES + 1) == [0, BLOCK_BYTES, 2 * BLOCK_BYTES]
    assert sampled_offsets("x", 0) == []


def header(raw: bytes) -> bytes:
    return len(raw).to_bytes(8, "little") + raw


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("config.json", b"[]", "is not a JSON object"),
        ("config.json", b"{", "is not JSON"),
        ("config.json", b"{}", "`hidden_size` is `None`"),
        ("model.safetensors", b"\xff" * 8, "safetensors header of"),
        ("model.safetensors", b"\x02" + b"\0" * 7 + b"[]", "no readable safetensors header"),
        ("model.safetensors", b"", "no readable safetensors header"),
        ("config.json", b'{"hidden_size": 9e9}', "`hidden_size` is"),
        ("config.json", b'{"hidden_size": ' + b"9" * 4000 + b"}", "`hidden_size` is `9999"),
        (
            "config.json",
            b'{"hidden_size": 8, "architectures": [[]]}',
            "`architectures` is not a name",
        ),
        ("config.json", b'{"hidden_size": 8, "dtype": "\\ud800"}', "`dtype` is not a name"),
        ("config.json", b'{"hidden_size": 8, "dtype": "\\u001b[2J"}', "`dtype` is not a name"),
        ("model.safetensors", header(b'{"a": {"dtype": "F32", "shape": [1e999]}}'), "no readable"),
        ("model.safetensors", header(b'{"a": {"dtype": "F32", "shape": [true]}}'), "no readable"),
        (
            "model.safetensors",
            header(b'{"\\ud800": {"dtype": "F32", "shape": [1]}}'),
            "no readable",
        ),
        ("chat_template.jinja", b"\xff", "a template that is not text"),
    ],
)
def test_a_broken_folder_is_refused_in_words(
    model_folder: Path, name: str, raw: bytes, words: str
) -> None:
    """Found 2026-11-20 by fuzzing: an infinite shape, an empty list of architectures and half a character
    each raised an error of another kind, inside the server that loads the model."""
    (model_folder / name).write_bytes(raw)
    with pytest.raises(InputError, match=words):
        ModelIdentity.from_folder(model_folder)


@pytest.mark.parametrize("raw", [b'{"chat_template": "\\ud800"}', b'{"chat_template": [NaN]}'])
def test_a_template_without_a_digest_is_refused(model_folder: Path, raw: bytes) -> None:
    (model_folder / "chat_template.jinja").unlink()
    (model_folder / "tokenizer_config.json").write_bytes(raw)
    with pytest.raises(InputError, match="a template that is not text"):
        ModelIdentity.from_folder(model_folder)


def test_a_model_that_names_no_architecture_is_still_a_model(model_folder: Path) -> None:
    (model_folder / "config.json").write_text('{"hidden_size": 8, "architectures": []}')
    assert ModelIdentity.from_folder(model_folder).architecture == "unknown"


def test_a_folder_without_safetensors_says_what_to_do(model_folder: Path) -> None:
    (model_folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="save the model as safetensors first"):
        ModelIdentity.from_folder(model_folder)
