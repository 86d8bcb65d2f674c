"""A folder that holds data and never code: `card.yaml` beside one safetensors file, and its digest.

Packs and calibrations are both artefacts. Whoever wrote the folder is not trusted: files are opened
without following links and sizes are capped before anything is read. It never learns what the card
says or what the tensors mean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from dosimeter.detectors.files import read_file
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.strict_yaml import MAX_BYTES, Node, dump, load

CARD = "card.yaml"
MAX_HEADER_BYTES = 4 << 20
"""Of a tensors file. A pack of 4096 probes has a third of it; as objects it may take thirty times as much memory."""

Tensor = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Artefact:
    """What a folder held. path: of the tensors, for messages."""

    card: Node
    tensors: Mapping[str, Tensor]
    path: Path


def canonical(data: Any) -> bytes:
    """Plain data as bytes that do not depend on key order, spacing or comments."""
    return json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_of(card: Any, tensors: Mapping[str, Tensor]) -> str:
    """sha256, hex, over the canonical card and every tensor: name, dtype, shape, bytes."""
    sha = hashlib.sha256(b"dosimeter artefact 1\n")
    body = canonical(card)
    sha.update(len(body).to_bytes(8, "little") + body)
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        head = canonical([name, value.dtype.str, list(value.shape)])
        sha.update(len(head).to_bytes(8, "little") + head)
        sha.update(value.data)
    return sha.hexdigest()


def read_artefact(folder: Path, tensors_name: str, most_bytes: int) -> Artefact:
    """Load `card.yaml` and `tensors_name` from a folder. Raises InputError; follows no link."""
    card = load(read_file(folder / CARD, MAX_BYTES), str(folder / CARD))
    path = folder / tensors_name
    return Artefact(card, load_tensors(read_file(path, most_bytes), path), path)


def write_artefact(
    folder: Path, card: Any, tensors_name: str, tensors: Mapping[str, Tensor]
) -> None:
    """Write both files. The card must be plain data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / tensors_name).write_bytes(dump_tensors(tensors))
    (folder / CARD).write_bytes(dump(card))


def dump_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """safetensors bytes; the same tensors give the same bytes."""
    return safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in tensors.items()})


def load_tensors(raw: bytes, path: Path) -> dict[str, Tensor]:
    """safetensors bytes to arrays; NaN, infinity and a name that stands twice are refused."""
    try:
        _refuse_twins(raw, path)
        tensors: dict[str, Tensor] = safetensors.numpy.load(raw)
    except InputError:
        raise
    except (
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InputError.at(path, f"not a readable safetensors file ({error!s:.200})") from None
    for name, tensor in tensors.items():
        if tensor.dtype.kind in "fc" and not np.isfinite(tensor).all():
            raise InputError.at(path, f"tensor `{name}` holds NaN or infinity")
    return tensors


def _refuse_twins(raw: bytes, path: Path) -> None:
    """Of two tensors with one name readers take different ones: what was reviewed is not what runs."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise InputError.at(path, "its header names something twice")
        return dict(pairs)

    length = int.from_bytes(raw[:8], "little")
    if MAX_HEADER_BYTES < length <= len(raw) - 8:
        raise InputError.at(
            path, f"safetensors header of {length} bytes, at most {MAX_HEADER_BYTES} are read", code="too-large"
        )  # fmt: skip
    if length <= len(raw) - 8:  # else the reader says what is wrong
        json.loads(raw[8 : 8 + length], object_pairs_hook=once)


def tensor(
    artefact: Artefact, name: str, dtype: npt.DTypeLike, shape: tuple[int | None, ...]
) -> Tensor:
    """One tensor of a stated dtype and shape (None: any length). Raises InputError."""
    want = f"{np.dtype(dtype)} [{', '.join('*' if n is None else str(n) for n in shape)}]"
    if name not in artefact.tensors:
        raise InputError.at(artefact.path, f"tensor `{name}` is missing, {want} expected")
    value = artefact.tensors[name]
    fits = len(value.shape) == len(shape) and all(
        want_n is None or n == want_n for n, want_n in zip(value.shape, shape, strict=True)
    )
    if value.dtype != np.dtype(dtype) or not fits:
        found = f"{value.dtype} {list(value.shape)}"
        raise InputError.at(artefact.path, f"tensor `{name}` is {found}, not {want}")
    return value
