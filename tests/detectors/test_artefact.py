"""Folders from strangers: links, pipes, sizes and broken tensors are refused before use."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.artefact import (
    digest_of,
    dump_tensors,
    load_tensors,
    read_artefact,
    tensor,
    write_artefact,
)
from dosimeter.detectors.findings import InputError

NAME = "t.safetensors"


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.int16).reshape(2, 3)
    write_artefact(tmp_path / "x", {"a": 1}, NAME, {"v": values})
    artefact = read_artefact(tmp_path / "x", NAME, 10_000)
    assert artefact.card.plain() == {"a": 1}
    assert tensor(artefact, "v", np.int16, (2, None)).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    write_artefact(tmp_path, {"a": 1}, NAME, {"v": np.zeros(1, np.float32)})
    (tmp_path / "card.yaml").rename(tmp_path / "secret")
    (tmp_path / "card.yaml").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="is a link"):
        read_artefact(tmp_path, NAME, 10_000)


def header(entries: dict[str, object], data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_a_header_that_would_fill_the_memory_is_not_parsed() -> None:
    """Empty lists take twenty times their letters."""
    text = b'{"a":[' + b"[]," * (2 << 20) + b"[]]}"
    with pytest.raises(InputError, match="header of 6291466 bytes, at most 4194304"):
        load_tensors(len(text).to_bytes(8, "little") + text, Path(NAME))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x80\x04\x95pickle",
        (1 << 60).to_bytes(8, "little") + b"{}",
        header({"v": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}, b"\0" * 4),
        header({"v": {"dtype": "F32", "shape": [1], "data_offsets": [0, 400]}}, b"\0" * 4),
        header({"v": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"\0" * 4),
        header({"v": {"dtype": "O", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        header({"v": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4),
    ],
)
def test_bytes_that_are_no_tensors_are_refused(raw: bytes) -> None:
    with pytest.raises(InputError, match="safetensors"):
        load_tensors(raw, Path("w"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="tensor `v` holds NaN or infinity"):
        load_tensors(dump_tensors({"v": np.array([1, value], np.float32)}), Path("w"))


@pytest.mark.parametrize(
    "names",
    [
        '"v": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}',
        '"__metadata__": {"a": "b", "a": "c"}',
    ],
)
def test_a_name_that_stands_twice_in_a_header_is_refused(names: str) -> None:
    """Of two tensors with one name readers take different ones: a reviewer may have seen the other."""
    text = f'{{"v": {{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, {names}}}'.encode()
    raw = len(text).to_bytes(8, "little") + text + b"\0" * 4
    with pytest.raises(InputError, match="names something twice"):
        load_tensors(raw, Path("w"))


def test_dtype_and_shape_are_checked_with_both_in_words(tmp_path: Path) -> None:
    write_artefact(tmp_path, {"a": 1}, NAME, {"v": np.zeros((2, 3), np.float64)})
    artefact = read_artefact(tmp_path, NAME, 10_000)
    with pytest.raises(InputError, match=r"`v` is float64 \[2, 3\], not float32 \[\*, 3\]"):
        tensor(artefact, "v", np.float32, (None, 3))
    with pytest.raises(InputError, match="`w` is missing"):
        tensor(artefact, "w", np.float32, (1,))


def test_the_digest_depends_on_content_and_not_on_order() -> None:
    one, two = np.zeros(2, np.int16), np.ones(2, np.int16)
    digest = digest_of({"a": 1, "b": 2}, {"x": one, "y": two})
    assert digest == digest_of({"b": 2, "a": 1}, {"y": two, "x": one})
    assert digest != digest_of({"a": 1, "b": 2}, {"x": two, "y": one})
    assert digest != digest_of({"a": 1, "b": 3}, {"x": one, "y": two})
    assert digest != digest_of({"a": 1, "b": 2}, {"x": one.reshape(1, 2), "y": two})
    assert digest != digest_of({"a": 1, "b": 2}, {"x": one.view(np.uint16), "y": two})


def test_the_digest_format_does_not_change_by_accident() -> None:
    """Records of last year name packs by this digest: a new value here is a new format."""
    card, head, data = b'{"a":1}', b'["x","<i2",[3]]', b"\0\0\1\0\2\0"
    sized = b"".join(len(part).to_bytes(8, "little") + part for part in (card, head))
    expected = hashlib.sha256(b"dosimeter artefact 1\n" + sized + data).hexdigest()
    assert digest_of({"a": 1}, {"x": np.arange(3, dtype=np.int16)}) == expected
