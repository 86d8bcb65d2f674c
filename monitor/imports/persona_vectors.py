"""Persona vectors: a `.pt` file that holds one bare tensor, a direction a block, as one of ours.

A `.pt` file is a zip around a pickle, and a pickle is a program. Ours is never run: a bare tensor has exactly one
program, the opcodes are compared with it, and the numbers beside it are read as numbers. Theory and files:
Chen et al. 2025, "Persona Vectors"; the format is that of `torch.save`.
"""

from __future__ import annotations

import contextlib
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.imports.direction import MAX_BLOCKS, MAX_WIDTH, Doubles, Imported, printable
from dosimeter.monitor.imports.reading import SIZES, doubles, read_members

KIND = "persona vector"
MAX_PICKLE = 2000  # bytes; the pickle of a bare tensor has about 160

STORAGES = {
    "torch DoubleStorage": "F64",
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
}

PROGRAM = (
    *("PROTO", "GLOBAL", "MARK"),  # _rebuild_tensor_v2(
    *("MARK", "TEXT", "GLOBAL", "TEXT", "TEXT", "INT", "TUPLE", "BINPERSID"),  # storage,
    *("INT", "INT", "INT", "TUPLE2", "INT", "INT", "TUPLE2"),  # offset, shape, strides,
    *("BOOL", "GLOBAL", "EMPTY_TUPLE", "REDUCE", "TUPLE", "REDUCE", "STOP"),  # grad, no hooks)
)
"""What `torch.save` writes of a tensor with two axes, but for notes to itself (memo)."""

_ALIKE = {
    "BINUNICODE": "TEXT", "BININT": "INT", "BININT1": "INT", "BININT2": "INT", "LONG1": "INT",
    "NEWTRUE": "BOOL", "NEWFALSE": "BOOL",
}  # fmt: skip
_MEMO = ("BINPUT", "LONG_BINPUT")


class _Declared(NamedTuple):
    """Number [r, c] of the tensor is at offset + r * step + c * inner of the data under `key`."""

    key: str
    kind: str
    numel: int
    offset: int
    rows: int
    width: int
    step: int
    inner: int


def read_persona_vector(
    path: Path,
    feature: str,
    block: int,
    *,
    blocks: int | None = None,
    row_0_is_embeddings: bool | None = None,
    negate: bool = False,
) -> Imported:
    """The direction after `block`, numbered from 0. Raises InputError.

    blocks               of the model; with one row more than this, row 0 is the embeddings
    row_0_is_embeddings  says so where `blocks` is not known
    negate               where the sign was found inverted (`direction.check_sign`)
    """
    members = _members(path)
    tensor = _declared(path, members.get("data.pkl", b""))
    row = _row(path, tensor.rows, block, blocks, row_0_is_embeddings)
    direction = _row_of(path, members, tensor, row)
    return Imported(
        feature=feature,
        layers=(block,),
        weights=(-direction if negate else direction)[None, :],
        bias=0.0,
        source=f"{path.name}: row {row} of {tensor.rows}",
        kind=KIND,
        notes=(
            f"row {row} is the output of block {block}, counted from 0",
            "made from means over the tokens of answers: read it over answers",
            *(("negated on import",) if negate else ()),
        ),
    )


def _row(path: Path, rows: int, block: int, blocks: int | None, embeddings: bool | None) -> int:
    if blocks is not None:
        if rows not in (blocks, blocks + 1):
            raise InputError.at(
                path,
                f"{rows} rows for a model of {blocks} blocks",
                f"made on another model: {blocks} rows, or {blocks + 1} with the embeddings in row 0",
            )
        if embeddings is not None and embeddings != (rows == blocks + 1):
            raise InputError.at(
                path,
                f"{rows} rows for {blocks} blocks: row 0 is {'not ' if embeddings else ''}the embeddings",
            )
        embeddings = rows == blocks + 1
    if embeddings is None:
        raise InputError.at(
            path,
            f"{rows} rows: block {block} is row {block + 1} if row 0 is the embeddings, else row {block}",
            "say how many blocks the model has: the row that is one off is another block's direction",
            code="ambiguous",
        )
    last = rows - 1 - embeddings
    if not 0 <= block <= last:
        raise InputError.at(path, f"block {block} is not there", f"blocks 0 to {last} are")
    return block + embeddings


def _members(path: Path) -> Mapping[str, bytes]:
    """By name, without the folder that `torch.save` names after the file."""
    try:
        members = read_members(path, packed=False)
    except InputError as error:
        if error.findings[0].code != "format":
            raise
        raise InputError.at(
            path, "is not what `torch.save` writes", "save the bare tensor with torch 1.6 or later"
        ) from None
    folders = {name.partition("/")[0] for name in members}
    if len(folders) != 1:
        raise InputError.at(path, "is not what `torch.save` writes: members without one folder")
    return {name.partition("/")[2]: raw for name, raw in members.items()}


def _row_of(path: Path, members: Mapping[str, bytes], tensor: _Declared, row: int) -> Doubles:
    """float64 [D]"""
    if members.get("byteorder", b"little") != b"little":
        raise InputError.at(path, "is not little-endian", "save it again on another machine")
    raw = members.get(f"data/{tensor.key}")
    if raw is None or len(raw) != tensor.numel * SIZES[tensor.kind]:
        found = "not there" if raw is None else f"{len(raw)} bytes"
        raise InputError.at(
            path, f"{tensor.numel} numbers of {tensor.kind} are declared, their data is {found}"
        )
    first = tensor.offset + row * tensor.step
    at = [first + i * tensor.inner for i in range(tensor.width)]
    if not 0 <= min(at[0], at[-1]) <= max(at[0], at[-1]) < tensor.numel:
        raise InputError.at(path, f"row {row} reaches beyond the tensor's {tensor.numel} numbers")
    return doubles(raw, tensor.kind)[at]


def _declared(path: Path, program: bytes) -> _Declared:
    """The tensor that the program would make, if it is a bare tensor's."""
    names: list[str] = []
    told: list[Any] = []
    with contextlib.suppress(ValueError):  # of bytes that are no pickle: then no program either
        for opcode, value, _ in pickletools.genops(program[:MAX_PICKLE]):
            if opcode.name not in _MEMO:
                names.append(_ALIKE.get(opcode.name, opcode.name))
                told.append(value)
    fixed = (2, "torch._utils _rebuild_tensor_v2", "storage", "collections OrderedDict")
    if tuple(names) != PROGRAM or tuple(told[i] for i in (0, 1, 4, 19)) != fixed:
        raise InputError.at(
            path,
            "does not hold one bare tensor of two axes",
            "a pickle of anything else is not read; save the tensor alone: `torch.save(stack.detach(), path)`",
            code="pickle",
        )
    if told[5] not in STORAGES:
        raise InputError.at(path, f"holds `{printable(told[5])}`", f"one of {', '.join(STORAGES)}")
    integers = [value for name, value in zip(names, told, strict=True) if name == "INT"]
    tensor = _Declared(told[6], STORAGES[told[5]], *integers)
    if not (1 <= tensor.rows <= MAX_BLOCKS + 1 and 1 <= tensor.width <= MAX_WIDTH):
        raise InputError.at(
            path, f"tensor is {[tensor.rows, tensor.width]}, a row a block of up to {MAX_WIDTH}"
        )
    return tensor
