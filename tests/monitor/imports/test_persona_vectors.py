"""Persona vectors are read as `torch.load` would read them, at the row that was asked for; programs never run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.imports.persona_vectors import read_persona_vector


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evil_response_avg_diff.pt"


def rezipped(path: Path, change: Callable[[dict[str, bytes]], None], kind: int = 0) -> None:
    """The same file with its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", ["whole", "slice", "transposed", "every second"])
def test_the_same_numbers_as_torch(path: Path, dtype: torch.dtype, make: str) -> None:
    whole = torch.randn(6, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
    stack = {
        "whole": whole,
        "slice": whole[1:5],
        "transposed": whole.T.contiguous().T,
        "every second": whole[::2, ::3],
    }[make]
    torch.save(stack, path)
    rows = torch.load(path, weights_only=True).double().numpy()
    for block in range(len(rows)):
        found = read_persona_vector(path, "evil", block, row_0_is_embeddings=False)
        assert (found.weights[0] == rows[block]).all()
        assert found.layers == (block,)
        assert found.floor is None


def test_the_row_is_the_output_of_the_block(path: Path) -> None:
    """With the embeddings in row 0 (as `hidden_states` has them) block N is row N + 1."""
    torch.save(torch.arange(5.0)[:, None] + torch.zeros(5, 4) + 1, path)
    assert read_persona_vector(path, "evil", 2, blocks=4).weights[0, 0] == 4
    assert read_persona_vector(path, "evil", 2, blocks=5).weights[0, 0] == 3
    assert read_persona_vector(path, "evil", 2, row_0_is_embeddings=True).weights[0, 0] == 4
    assert read_persona_vector(path, "evil", 2, blocks=4, negate=True).weights[0, 0] == -4


@pytest.mark.parametrize(
    ("block", "said", "words"),
    [
        (2, {}, "block 2 is row 3 if row 0 is the embeddings, else row 2"),
        (2, {"blocks": 9}, "5 rows for a model of 9 blocks"),
        (2, {"blocks": 4, "row_0_is_embeddings": False}, "row 0 is the embeddings"),
        (2, {"blocks": 5, "row_0_is_embeddings": True}, "row 0 is not the embeddings"),
        (4, {"blocks": 4}, "block 4 is not there\n  hint: blocks 0 to 3 are"),
        (5, {"blocks": 5}, "blocks 0 to 4 are"),
        (-1, {"blocks": 4}, "block -1 is not there"),
    ],
)
def test_an_index_that_may_be_one_off_is_refused(
    path: Path, block: int, said: dict[str, Any], words: str
) -> None:
    torch.save(torch.ones(5, 4), path)
    with pytest.raises(InputError) as caught:
        read_persona_vector(path, "evil", block, **said)
    assert words.split("\n")[0] in str(caught.value)


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_a_command_leaves_no_trace(path: Path, legacy: bool) -> None:
    trace = path.with_name("trace")
    torch.save(Hostile(trace), path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError):
        read_persona_vector(path, "evil", 0, blocks=4)
    path.write_bytes(pickle.dumps(Hostile(trace)))
    with pytest.raises(InputError, match=r"not what `torch\.save` writes"):
        read_persona_vector(path, "evil", 0, blocks=4)
    assert not trace.exists()
    pickle.loads(path.read_bytes())  # the attack is a real one
    assert trace.exists()


def test_a_command_spliced_into_a_real_tensor_is_refused(path: Path) -> None:
    """Every single opcode of the program is compared, so a call before or after it is seen."""
    trace = path.with_name("trace")
    torch.save(torch.ones(5, 4), path)
    call = pickle.dumps(Hostile(trace), protocol=2)[2:-1]
    for splice in (
        lambda p: p[:2] + call + b"0" + p[2:],
        lambda p: p[:-1] + b"0" + call + b".",
    ):
        original = path.read_bytes()
        rezipped(path, lambda m, s=splice: m.update({k: s(m[k]) for k in m if k.endswith(".pkl")}))  # type: ignore[misc]
        with pytest.raises(InputError, match="one bare tensor"):
            read_persona_vector(path, "evil", 0, blocks=4)
        path.write_bytes(original)
    assert not trace.exists()


@pytest.mark.parametrize(
    "value",
    [
        {"evil": torch.ones(5, 4)},
        [torch.ones(5, 4)],
        torch.nn.Parameter(torch.ones(5, 4)),
        torch.ones(5),
        torch.ones(5, 4, 3),
        torch.ones(5, 4, dtype=torch.int64),
        torch.ones(5, 4).to_sparse(),
        torch.ones(0, 4),
        torch.ones(5, 0),
        3.5,
        None,
    ],
)
def test_anything_but_one_bare_tensor_is_refused(path: Path, value: object) -> None:
    torch.save(value, path)
    with pytest.raises(InputError):
        read_persona_vector(path, "evil", 0, row_0_is_embeddings=False)


INT = {"rows": b"K\x05", "numel": b"K\x14", "width": b"K\x04"}


@pytest.mark.parametrize(
    ("what", "value", "words"),
    [
        ("rows", 1 << 30, "a row a block"),
        ("width", 1 << 30, "a row a block"),
        ("rows", -5, "a row a block"),
        ("width", 60_000, "reaches beyond"),
        ("rows", 900, "reaches beyond"),
        ("numel", 1 << 30, "numbers of F32 are declared, their data is 80 bytes"),
        ("numel", 19, "are declared"),
        ("numel", -20, "are declared"),
    ],
)
def test_declared_shapes_are_held_against_the_bytes_that_are_there(
    path: Path, what: str, value: int, words: str
) -> None:
    """Nothing is allocated for them: a reader that believed them would read foreign memory."""
    torch.save(torch.ones(5, 4), path)
    rezipped(
        path,
        lambda m: m.update(
            {
                k: m[k].replace(INT[what], b"J" + struct.pack("<i", value), 1)
                for k in m
                if ".pkl" in k
            }
        ),
    )
    with pytest.raises(InputError, match=words):
        read_persona_vector(path, "evil", 899 if value == 900 else 0, row_0_is_embeddings=False)


def test_nan_in_the_row_is_refused(path: Path) -> None:
    stack = torch.ones(5, 4)
    stack[3, 1] = float("nan")
    torch.save(stack, path)
    with pytest.raises(InputError, match="NaN"):
        read_persona_vector(path, "evil", 3, blocks=5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update({"../../etc/passwd": b"x"}), "has a member"),
        (lambda m: m.update({"/etc/passwd": b"x"}), "has a member"),
        (lambda m: m.update({"a\\..\\b": b"x"}), "has a member"),
        (lambda m: m.update({"a/\x1b[2J": b"x"}), r"has a member `a/\\x1b"),
        (lambda m: m.update({"other/data/0": b"x"}), "without one folder"),
        (lambda m: m.update({f"evil/{i}": b"" for i in range(99)}), "more than 32 members"),
        (lambda m: [m.pop(k) for k in list(m) if "data/0" in k], "not there"),
        (lambda m: [m.pop(k) for k in list(m) if ".pkl" in k], "one bare tensor"),
        (lambda m: m.clear(), "not what `torch.save` writes"),
        (
            lambda m: m.update({k: b"big" for k in m if k.endswith("byteorder")}),
            "not little-endian",
        ),
    ],
)
def test_a_listing_that_torch_would_not_write_is_refused(
    path: Path, change: Callable[[dict[str, bytes]], None], words: str
) -> None:
    torch.save(torch.ones(5, 4), path)
    rezipped(path, change)
    with pytest.raises(InputError, match=words):
        read_persona_vector(path, "evil", 0, blocks=5)
    assert not path.parent.joinpath("etc").exists()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("evil/data.pkl", b"\0" * (80 << 20))
    started = time.perf_counter()
    with pytest.raises(InputError, match="compressed"):
        read_persona_vector(path, "evil", 0, blocks=5)
    assert time.perf_counter() - started < 0.5


def test_two_gigabytes_of_nothing_are_refused_at_once(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(2 << 30)
    started = time.perf_counter()
    with pytest.raises(InputError, match="at most 67108864 are read"):
        read_persona_vector(path, "evil", 0, blocks=5)
    assert time.perf_counter() - started < 0.5


def test_what_cannot_be_opened_is_named(path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_persona_vector(path, "evil", 0, blocks=5)
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a regular file"):
        read_persona_vector(path, "evil", 0, blocks=5)


REAL = io.BytesIO()
torch.save(torch.arange(20.0).reshape(5, 4) + 1, REAL)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = bytearray(REAL.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    path = tmp_path_factory.mktemp("fuzz") / "v.pt"
    path.write_bytes(raw)
    try:
        found = read_persona_vector(path, "evil", 0, blocks=5)
    except InputError:
        return
    assert np.isfinite(found.weights).all()


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 153), st.integers(0, 153))
def test_a_damaged_program_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, start: int, end: int
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "v.pt"
    path.write_bytes(REAL.getvalue())

    def damage(members: dict[str, bytes]) -> None:
        for name in members:
            if name.endswith(".pkl"):
                members[name] = members[name][:start] + noise + members[name][end:]

    rezipped(path, damage)
    try:
        assert read_persona_vector(path, "evil", 0, blocks=5).width >= 1
    except InputError:
        return
