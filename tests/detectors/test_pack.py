"""A pack: reads back equal, is bound to its model, and survives whoever wrote it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.bank import Probe, ProbeBank
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import ActivationFrame
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import (
    Fingerprint,
    Pack,
    ProbeNote,
    bind,
    load_pack,
    save_pack,
)
from dosimeter.detectors.strict_yaml import dump, load


def test_a_pack_reads_back_with_its_digest(pack: Pack, tmp_path: Path) -> None:
    digest = save_pack(pack, tmp_path / "p")
    again = load_pack(tmp_path / "p")
    assert again.digest == digest == pack.digest
    assert again.model == pack.model
    assert again.notes == pack.notes
    assert again.fingerprint.token_ids == (5, 6, 7)
    one, two = ProbeBank.from_packs([pack]), ProbeBank.from_packs([again])
    assert one.columns == two.columns
    assert (one.weights == two.weights).all()
    assert (one.bias == two.bias).all()


def test_layout_and_comments_of_the_card_do_not_change_the_digest(
    pack: Pack, tmp_path: Path
) -> None:
    save_pack(pack, tmp_path)
    card = tmp_path / "card.yaml"
    data = load(card.read_bytes(), "card").plain()
    card.write_bytes(b"# edited\n" + dump(dict(reversed(data.items()))))
    assert load_pack(tmp_path).digest == pack.digest


@pytest.mark.parametrize("what", ["weights", "bias", "recipe", "token", "score"])
def test_every_part_enters_the_digest(pack: Pack, what: str) -> None:
    first, *rest = pack.probes
    if what == "weights":
        bumped = first.weights.copy()
        bumped[0, 0] = np.nextafter(bumped[0, 0], np.float32(9))
        other = replace(pack, probes=(replace(first, weights=bumped), *rest))
    elif what == "bias":
        other = replace(pack, probes=(replace(first, bias=0.5), *rest))
    elif what == "recipe":
        other = replace(pack, recipe="another")
    elif what == "token":
        other = replace(pack, fingerprint=replace(pack.fingerprint, token_ids=(5, 6, 8)))
    else:
        known = replace(pack.fingerprint, scores=pack.fingerprint.scores + np.float32(1))
        other = replace(pack, fingerprint=known)
    assert other.digest != pack.digest


def test_a_pack_binds_to_its_own_model(pack: Pack, model: ModelIdentity) -> None:
    assert bind(pack, model) == []
    assert bind(pack, replace(model, name="another folder")) == []


def test_a_mismatch_refuses_in_words(pack: Pack, model: ModelIdentity) -> None:
    other = replace(model, dtype="bfloat16", hidden_size=16, template="")
    assert bind(pack, other) == [
        "hidden_size is `8` in the pack, `16` in the model",
        "dtype is `float32` in the pack, `bfloat16` in the model",
        f"template is `{model.template}` in the pack, `none` in the model",
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"version: 1", b"version: 2", "card.yaml:1:10: error: pack format 2, this build reads 1"),
        (b"name: test/two", b"name: ../../etc", "`name` is `../../etc`"),
        (b"name: test/two", b"name: /abs", "`name` is `/abs`"),
        (b"site: resid_post", b"site: resid_pre", "`resid_pre` is not one of"),
        (
            b"block index from 0",
            b"block index from 1",
            "`block index from 1, output of the block` is not one of",
        ),
        (b"tier: T0", b"tier: T3", "`T3` is not one of"),
        (b"- feature: scam", b"- feature: spam", "tensor `spam.weights` is missing"),
        (b"hidden_size: 8", b"hidden_size: 9", "not float32 [2, 9]"),
        (b"hidden_size: 8", b"hidden_size: 8888888888", "`8888888888` is out of range"),
        (b"  - 3\n", b"  - 1\n", "must ascend"),
        (b"  - 3\n", b"  - 3\n  - 4\n", "not float32 [3, 8]"),
        (b"sd: 2.0", b"sd: 0.0", "sd above 0"),
        (b"sd: 2.0", b"sd: .inf", "`.inf` is not a finite number"),
        (b"tolerance: 0.05", b"tolerance: -1", "tolerance must be above 0"),
        (b"tolerance: 0.05", b"tolerance: 1000000000.0", "up to 1.0 sd"),  # any hook would do
        (b"recipe:", b"code: x\nrecipe:", "unknown key `code`"),
        (b"recipe:", b"name: x\nrecipe:", "key `name` stands twice"),
        (b"recipe: drawn", b"recipe: !!python/name:os.system drawn", "os.system` [tag]"),
    ],
)
def test_an_edited_card_is_refused(
    pack: Pack, tmp_path: Path, old: bytes, new: bytes, words: str
) -> None:
    save_pack(pack, tmp_path)
    card = tmp_path / "card.yaml"
    raw = card.read_bytes()
    assert old in raw
    card.write_bytes(raw.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load_pack(tmp_path)
    assert words in str(caught.value)


def test_a_feature_is_given_once(pack: Pack) -> None:
    with pytest.raises(InputError, match="`deception` is malformed or given twice"):
        replace(pack, probes=(pack.probes[0], pack.probes[0]))


def test_a_fingerprint_has_the_shape_of_the_pack(pack: Pack) -> None:
    with pytest.raises(InputError, match="for 2 tokens"):
        replace(pack, fingerprint=replace(pack.fingerprint, token_ids=(5, 6)))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("scam.weights", np.full((1, 8), np.nan, np.float32), "holds NaN or infinity"),
        ("scam.weights", np.ones((1, 8), np.float64), "is float64 [1, 8], not float32 [1, 8]"),
        ("scam.weights", np.ones((8, 1), np.float32), "is float32 [8, 1], not float32 [1, 8]"),
        ("scam.bias", np.ones((), np.float32), "is float32 [], not float32 [1]"),
        ("fingerprint.scores", np.ones((3, 1), np.float32), "not float32 [3, 2]"),
        ("stowaway", np.ones(1, np.float32), "tensors ['stowaway'] belong to no probe"),
    ],
)
def test_edited_tensors_are_refused(
    pack: Pack, tmp_path: Path, name: str, value: np.ndarray, words: str
) -> None:
    save_pack(pack, tmp_path)
    tensors = {**pack.tensors(), name: value}
    safetensors.numpy.save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(InputError) as caught:
        load_pack(tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["card.yaml", "weights.safetensors"])
def test_a_link_out_of_the_folder_is_refused(pack: Pack, tmp_path: Path, name: str) -> None:
    save_pack(pack, tmp_path / "p")
    (tmp_path / "p" / name).rename(tmp_path / "outside")
    (tmp_path / "p" / name).symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="is a link"):
        load_pack(tmp_path / "p")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_flipped_byte_breaks_the_loader(data: st.DataObject) -> None:
    """Either our own error refuses the pack, or an unchanged digest means unchanged content."""
    rng = np.random.default_rng(0)
    identity = ModelIdentity("m", "Llama", 4, "float32", "0" * 64, "1" * 64, "2" * 64, "")
    probe = Probe("scam", (0,), rng.standard_normal((1, 4)).astype(np.float32), 0.5)
    frame = ActivationFrame(rng.standard_normal((1, 2, 4)).astype(np.float32), (0,))
    known = Fingerprint.take([probe], (1, 2), frame, 0.05)
    note = ProbeNote("T0", 0.0, 1.0, 10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack = Pack("a/b", "none", identity, (probe,), (note,), known)
        save_pack(pack, folder)
        path = folder / data.draw(st.sampled_from(["card.yaml", "weights.safetensors"]))
        raw = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
        path.write_bytes(raw)
        try:
            loaded = load_pack(folder)
        except InputError:
            return
        same = loaded.card() == pack.card() and all(
            np.array_equal(value, loaded.tensors()[name]) for name, value in pack.tensors().items()
        )
        assert (loaded.digest == pack.digest) == same


def test_a_missing_folder_is_an_error_of_the_pack(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_pack(tmp_path / "nowhere")
