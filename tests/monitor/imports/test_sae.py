"""A latent scores as SAELens' published equation says, and what is no dot product is refused with the reason."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.imports.direction import as_probe
from dosimeter.monitor.imports.sae import label_of, read_latent

WIDTH, LATENTS = 6, 10
Tensors = dict[str, np.ndarray]


def tensors(seed: int = 0) -> Tensors:
    rng = np.random.default_rng(seed)
    return {
        "W_enc": rng.standard_normal((WIDTH, LATENTS)),
        "b_enc": rng.standard_normal(LATENTS),
        "W_dec": rng.standard_normal((LATENTS, WIDTH)),
        "b_dec": rng.standard_normal(WIDTH),
        "threshold": np.abs(rng.standard_normal(LATENTS)),
    }


def config(**changes: Any) -> dict[str, Any]:
    """`cfg.json` as SAELens 6 writes it."""
    metadata = {
        "hook_name": "blocks.4.hook_resid_post",
        "model_name": "toy",
        "sae_lens_version": "6.12.1",
    }
    found = {
        "architecture": "standard",
        "d_in": WIDTH,
        "d_sae": LATENTS,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
    }
    for name, value in changes.items():
        (metadata if name in metadata else found)[name] = value
    return found


def write(
    folder: Path, cfg: Any, held: Tensors | None = None, dtype: torch.dtype = torch.float64
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(cfg if isinstance(cfg, str) else json.dumps(cfg))
    torches = {k: torch.from_numpy(v).to(dtype) for k, v in (held or tensors()).items()}
    safetensors.torch.save_file(torches, folder / "sae_weights.safetensors")
    return folder


def encode(cfg: dict[str, Any], p: Tensors, x: np.ndarray) -> np.ndarray:
    """SAELens 6: relu(sae_in @ W_enc + b_enc), zero where jumprelu's threshold is not exceeded."""
    sae_in = x - p["b_dec"] * cfg["apply_b_dec_to_input"]
    hidden_pre = sae_in @ p["W_enc"] + p["b_enc"]
    acts = np.maximum(hidden_pre, 0)
    return acts * (hidden_pre > p["threshold"]) if cfg["architecture"] == "jumprelu" else acts


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 999),
    st.sampled_from(["standard", "jumprelu"]),
    st.booleans(),
    st.integers(0, LATENTS - 1),
)
def test_a_latent_above_its_floor_is_the_published_equation(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str, centred: bool, latent: int
) -> None:
    held, cfg = tensors(seed), config(architecture=kind, apply_b_dec_to_input=centred)
    if seed % 3 == 0:
        held["threshold"] = -held["threshold"]  # then relu decides
    folder = write(tmp_path_factory.mktemp("sae"), cfg, held)
    x = np.random.default_rng(seed + 1).standard_normal((200, WIDTH)) * 3
    expected = encode(cfg, held, x)[:, latent]
    found = read_latent(folder, latent, "scam")
    assert found.floor is not None
    scores = x @ found.weights[0] + found.bias
    assert ((scores > found.floor) == (expected > 0)).all()
    assert scores[expected > 0] == pytest.approx(expected[expected > 0], rel=1e-9)
    probe, note = as_probe(found, x[:, None, :])
    standardised = x.astype(np.float32) @ probe.weights[0] + probe.bias
    clear = np.abs(standardised - note.metrics["floor_sd"]) > 1e-3
    assert ((standardised > note.metrics["floor_sd"]) == (expected > 0))[clear].all()
    assert any("says nothing" in text for text in note.metrics["notes"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_of_every_width_are_those_of_torch(tmp_path: Path, dtype: torch.dtype) -> None:
    held = tensors()
    folder = write(tmp_path / "s", config(), held, dtype)
    expected = torch.from_numpy(held["W_enc"]).to(dtype).double().numpy()[:, 7]
    assert (read_latent(folder, 7, "scam").weights[0] == expected).all()


def test_older_keys_mean_the_same(tmp_path: Path) -> None:
    older = {
        "hook_point": "blocks.4.hook_resid_post",
        "hook_point_layer": 4,
        "hook_point_head_index": None,
        "activation_fn_str": "relu",
        "d_in": WIDTH,
        "d_sae": LATENTS,
        "normalize_activations": False,
        "model_name": "toy",
    }
    new, old = write(tmp_path / "s", config()), write(tmp_path / "t", older)
    a, b = read_latent(new, 3, "scam"), read_latent(old, 3, "scam")
    assert (a.weights == b.weights).all()
    assert (a.bias, a.layers, a.floor) == (b.bias, b.layers, b.floor)
    assert a.source == "s: latent 3 of 10, blocks.4.hook_resid_post of toy"


@pytest.mark.parametrize(
    ("hook", "block"),
    [
        ("blocks.4.hook_resid_post", 4),
        ("blocks.4.hook_resid_pre", 3),
        ("blocks.0.hook_resid_post", 0),
    ],
)
def test_what_enters_a_block_left_the_one_before(tmp_path: Path, hook: str, block: int) -> None:
    assert read_latent(write(tmp_path / "s", config(hook_name=hook)), 0, "scam").layers == (block,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"architecture": "topk"},
            "`topk` is not read: the latent depends on the other latents of",
        ),
        ({"architecture": "batchtopk"}, "other latents and tokens of its batch"),
        ({"architecture": "gated"}, "two thresholds on one direction"),
        ({"architecture": "transcoder"}, "not known that a single dot product"),
        ({"architecture": "\x1b[31m"}, r"`\\x1b\[31m` is not read"),
        ({"architecture": 7}, "`architecture` is not text"),
        ({"activation_fn_str": "topk"}, "`topk` is not read"),
        ({"activation_fn": "tanh-relu"}, "`tanh-relu` is not read"),
        ({"normalize_activations": "layer_norm"}, "`layer_norm`: it scales every token"),
        ({"normalize_activations": "expected_average_only_in"}, "it scales every token"),
        ({"normalize_activations": True}, "it scales every token"),
        ({"reshape_activations": "hook_z"}, "not the residual stream"),
        ({"hook_head_index": 0}, "one attention head"),
        ({"model_from_pretrained_kwargs": {"center_writing_weights": True}}, "mean had been taken"),
        ({"apply_b_dec_to_input": "yes"}, "neither true nor false"),
        ({"hook_name": "blocks.0.hook_resid_pre"}, "not the output of a block"),
        ({"hook_name": "blocks.4.hook_mlp_out"}, "not the output of a block"),
        ({"hook_name": "blocks.4.attn.hook_z"}, "not the output of a block"),
        ({"hook_name": "blocks.-4.hook_resid_post"}, "not the output of a block"),
        ({"hook_name": "blocks.4.hook_resid_post\n"}, "not the output of a block"),
        ({"hook_name": "blocks.9999.hook_resid_post"}, "not the output of a block"),
        ({"hook_name": None}, "not the output of a block"),
        ({"hook_point": "blocks.5.hook_resid_post"}, "stands twice with two values"),
        ({"d_in": 0}, "`d_in` is `0`"),
        ({"d_in": 10**12}, "`d_in` is"),
        ({"d_in": True}, "`d_in` is `True`"),
        ({"d_sae": -1}, "`d_sae` is"),
        ({"d_in": WIDTH + 1}, r"`W_enc` is F64 \[6, 10\], not \[7, 10\]"),
        ({"d_sae": LATENTS + 1}, r"`W_enc` is F64 \[6, 10\], not \[6, 11\]"),
        ({"d_in": LATENTS, "d_sae": WIDTH}, r"`W_enc` is F64 \[6, 10\], not \[10, 6\]"),
    ],
)
def test_what_a_probe_cannot_carry_is_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        read_latent(write(tmp_path / "s", config(**changes)), 2, "scam")


@pytest.mark.parametrize("text", ["", "[]", "7", "{", '{"d_in": 1, "d_in": 2}', "[" * 100_000])
def test_a_config_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"cfg\.json"):
        read_latent(write(tmp_path / "s", text), 2, "scam")


@pytest.mark.parametrize("latent", [-1, LATENTS, 10**20])
def test_a_latent_that_is_not_there_is_refused(tmp_path: Path, latent: int) -> None:
    with pytest.raises(InputError, match="latents 0 to 9 are"):
        read_latent(write(tmp_path / "s", config()), latent, "scam")


@pytest.mark.parametrize(
    ("name", "at"), [("W_enc", (3, 2)), ("b_enc", 2), ("b_dec", 0), ("threshold", 2)]
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_what_is_read_is_refused_and_elsewhere_is_not_looked_at(
    tmp_path: Path, name: str, at: Any, value: float
) -> None:
    held = tensors()
    held[name][at] = value
    folder = write(tmp_path / "s", config(architecture="jumprelu"), held)
    with pytest.raises(InputError, match=f"`{name}` holds NaN"):
        read_latent(folder, 2, "scam")
    if name != "b_dec":
        assert read_latent(folder, 1, "scam").width == WIDTH


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "b_dec", "threshold"])
def test_a_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    held = {k: v for k, v in tensors().items() if k != name}
    with pytest.raises(InputError, match=f"tensor `{name}` is missing"):
        read_latent(write(tmp_path / "s", config(architecture="jumprelu"), held), 2, "scam")


def header(entries: Any, data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode() if not isinstance(entries, bytes) else entries
    return len(text).to_bytes(8, "little") + text + data


def entry(shape: Any, offsets: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"W_enc": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x80\x04\x95pickle",
        (1 << 60).to_bytes(8, "little") + b"{}",
        header(b"{" * 500),
        header([1]),
        header({"W_enc": 3}),
        header(b'{"W_enc": 1, "W_enc": 2}'),
        header(entry([WIDTH, LATENTS], [0, 240])),  # beyond the file
        header(entry([WIDTH, LATENTS], [-240, 0]), b"\0" * 240),
        header(entry([WIDTH, LATENTS], [0, 4]), b"\0" * 240),
        header(entry([WIDTH, LATENTS], [0]), b"\0" * 240),
        header(entry([WIDTH, LATENTS], None), b"\0" * 240),
        header(entry([WIDTH, LATENTS], [False, 240]), b"\0" * 240),
        header(entry([1 << 62, 1 << 62], [0, 240]), b"\0" * 240),
        header(entry([WIDTH, LATENTS], [0, 240], "O"), b"\0" * 240),
        header(entry([WIDTH, LATENTS], [0, 240], ["F32"]), b"\0" * 240),
        header(entry([WIDTH, LATENTS], [0, 60], "I8"), b"\0" * 240),
    ],
)
def test_weights_that_lie_about_themselves_are_refused(tmp_path: Path, raw: bytes) -> None:
    folder = write(tmp_path / "s", config())
    (folder / "sae_weights.safetensors").write_bytes(raw)
    with pytest.raises(InputError, match=r"sae_weights\.safetensors"):
        read_latent(folder, 2, "scam")


def test_two_gigabytes_of_nothing_cost_nothing(tmp_path: Path) -> None:
    """Nor do 12 GB with a sound header: the header and one column are all that is read."""
    folder = write(tmp_path / "s", config())
    path = folder / "sae_weights.safetensors"
    path.write_bytes(b"")
    started = time.perf_counter()
    with path.open("r+b") as file:
        file.truncate(2 << 30)
    with pytest.raises(InputError, match="header of 0 bytes"):
        read_latent(folder, 2, "scam")
    wide, many = 3072, 1 << 20
    sizes = {"W_enc": [wide, many], "b_enc": [many], "b_dec": [wide]}
    entries, at = {}, 0
    for name, shape in sizes.items():
        end = at + 4 * int(np.prod(shape))
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, end]}
        at = end
    with path.open("wb") as file:
        file.write(header(entries))
        file.truncate(len(header(entries)) + at)
    (folder / "cfg.json").write_text(json.dumps(config(d_in=wide, d_sae=many)))
    with pytest.raises(InputError, match="zero throughout"):
        read_latent(folder, 2, "scam")
    assert time.perf_counter() - started < 0.5


def test_a_label_is_shown_safely_and_only_for_its_latent(tmp_path: Path) -> None:
    folder, labels = write(tmp_path / "s", config()), tmp_path / "labels.json"
    labels.write_text(json.dumps({"2": "urgent\x1b[2J " + "x" * 9999, "3": 7, "4": ""}))
    (note, _) = read_latent(folder, 2, "scam", labels).notes
    assert note.startswith(r"its maker's label: urgent\x1b[2J xxx")
    assert len(note) <= 300
    assert label_of(labels, 4) is None
    assert label_of(labels, 5) is None
    assert len(read_latent(folder, 5, "scam", labels).notes) == 1
    with pytest.raises(InputError, match="label of 3 is not text"):
        label_of(labels, 3)
    labels.write_text("[]")
    with pytest.raises(InputError, match="not an object"):
        label_of(labels, 3)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_weights_are_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = write(tmp_path_factory.mktemp("fuzz"), config())
    path = folder / "sae_weights.safetensors"
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 500))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    path.write_bytes(raw)
    try:
        assert np.isfinite(read_latent(folder, 2, "scam").weights).all()
    except InputError:
        return
