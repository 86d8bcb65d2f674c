"""Packs, calibrations and models of strangers: no code is run, no path leads out, nothing is read without end."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from targets.artefacts import bases

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.pack import load_pack
from dosimeter.detectors.registry import RegistryError, load_packs

LOADERS: dict[str, Callable[[Path], object]] = {"pack": load_pack, "calibration": Calibration.load}
TENSORS = {"pack": "weights.safetensors", "calibration": "streams.safetensors"}


def folder(kind: str, where: Path) -> Path:
    """A valid one, to be spoilt."""
    where.mkdir(parents=True)
    for name, raw in bases()[kind].items():
        (where / name).write_bytes(raw)
    return where


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (Path.touch, (self.path,))


def as_pickle(bomb: Bomb) -> bytes:
    return pickle.dumps(bomb)


def as_torch_file(bomb: Bomb) -> bytes:
    """A zip with a pickle in it, as `torch.save` writes."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(bomb))
        archive.writestr("archive/version", "3\n")
    return raw.getvalue()


def in_a_name(bomb: Bomb) -> bytes:
    """Right safetensors, with a pickle for a tensor's bytes."""
    body = pickle.dumps(bomb)
    head = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(body), len(body))
    return len(head).to_bytes(8, "little") + head + body


@pytest.mark.parametrize("make", [as_pickle, as_torch_file, in_a_name])
@pytest.mark.parametrize("kind", LOADERS)
def test_a_pickle_under_another_name_is_refused_and_never_run(
    tmp_path: Path, kind: str, make: Callable[[Bomb], bytes]
) -> None:
    made = tmp_path / "made"
    raw = make(Bomb(made))
    where = folder(kind, tmp_path / kind)
    (where / TENSORS[kind]).write_bytes(raw)
    with pytest.raises(InputError):
        LOADERS[kind](where)
    assert not made.exists()
    if make is as_pickle:
        pickle.loads(raw)  # the guard itself: had anyone unpickled it, the file would be there
        assert made.exists()


def test_a_model_of_pickles_is_refused_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    (tmp_path / "model.safetensors").write_bytes(as_torch_file(Bomb(tmp_path / "made")))
    with pytest.raises(InputError, match="safetensors header"):
        ModelIdentity.from_folder(tmp_path)
    assert not (tmp_path / "made").exists()


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_out(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def hard_to_end(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [os.mkfifo, link_to_device, link_out, hard_to_end, a_folder])
@pytest.mark.parametrize("which", [0, 1], ids=["card", "tensors"])
@pytest.mark.parametrize("kind", LOADERS)
def test_what_stands_in_the_place_of_a_file_is_refused_before_it_is_read(
    tmp_path: Path, kind: str, which: int, make: Callable[[Path], None]
) -> None:
    where = folder(kind, tmp_path / kind)
    path = where / ("card.yaml", TENSORS[kind])[which]
    path.unlink()
    make(path)
    with pytest.raises(InputError):
        LOADERS[kind](where)


def test_a_link_in_a_folder_of_packs_leads_nowhere(tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    packs.mkdir()
    folder("pack", tmp_path / "elsewhere" / "a")
    for name, target in (("one", "elsewhere/a"), ("many", "elsewhere")):
        (packs / name).symlink_to(tmp_path / target)
        with pytest.raises(RegistryError, match="is a link"):
            load_packs(packs)
        (packs / name).unlink()
    assert load_packs(packs) == []


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "a/../b", "a\\b", "a//b", ".", "A/b"])
def test_a_pack_that_names_itself_like_a_path_is_refused(tmp_path: Path, name: str) -> None:
    where = folder("pack", tmp_path / "p")
    card = (where / "card.yaml").read_text()
    assert "name: a/b\n" in card
    (where / "card.yaml").write_text(card.replace("name: a/b\n", f"name: '{name}'\n"))
    with pytest.raises(InputError, match="`name` is"):
        load_pack(where)


def test_an_edited_pack_has_another_digest_than_its_calibration_names(tmp_path: Path) -> None:
    """A calibration holds for the digest of one pack: whoever swaps weights under it gets no alerts."""
    where = folder("pack", tmp_path / "p")
    before = load_pack(where).digest
    raw = bytearray((where / "weights.safetensors").read_bytes())
    raw[-1] ^= 1  # the last bit of the last weight
    (where / "weights.safetensors").write_bytes(raw)
    assert load_pack(where).digest != before
