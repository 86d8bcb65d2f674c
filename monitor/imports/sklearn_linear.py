"""A scikit-learn linear model, exported as JSON or npz, with the scaler that stood before it folded in.

Joblib and pickle files are programs and are not read; HOW says how to export. The decision function is what is
imported: positive is the second of `classes_`. It never imports scikit-learn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dosimeter.detectors.files import open_file
from dosimeter.detectors.findings import InputError
from dosimeter.monitor.imports.direction import Doubles, Imported
from dosimeter.monitor.imports.reading import read_json, read_members

KIND = "scikit-learn linear model"
REQUIRED, SCALER = ("coef_", "intercept_"), ("mean_", "scale_")
PROGRAMS = (".joblib", ".pkl", ".pickle")
HOW = (
    "export it: `numpy.savez(path, coef_=model.coef_, intercept_=model.intercept_)`, "
    "with `mean_=scaler.mean_, scale_=scaler.scale_` where a StandardScaler stands before it"
)


def read_sklearn_linear(path: Path, feature: str, layers: Sequence[int]) -> Imported:
    """A binary linear model over the outputs of `layers`, side by side in that order. Raises InputError.

    The file has `coef_` [1, L * D] or [L * D], `intercept_`, and may have `mean_` and `scale_` [L * D].
    """
    with open_file(path, follow=True) as file:
        head = file.read(4)
    if head.startswith(b"PK"):
        given = _npz(path)
    elif head.lstrip()[:1] == b"{":
        given = _json(path)
    else:
        program = head[:1] == b"\x80" or path.suffix in PROGRAMS
        what = "is a pickle, which is a program" if program else "is neither JSON nor npz"
        raise InputError.at(path, what, HOW, "format")
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        raise InputError.at(path, f"`{missing[0]}` is missing", HOW)
    coef = given["coef_"]
    if coef.ndim == 2 and len(coef) != 1:
        raise InputError.at(
            path, f"`coef_` has {len(coef)} rows", "one feature a file: export one row of each"
        )
    weights = coef.reshape(-1)
    for name in SCALER:
        if name in given and given[name].shape != weights.shape:
            raise InputError.at(
                path, f"`{name}` is {list(given[name].shape)}, `coef_` is {list(coef.shape)}"
            )
    if given["intercept_"].size != 1 or coef.ndim not in (1, 2) or not weights.size:
        raise InputError.at(path, "is no binary model", "`coef_` [1, L * D], `intercept_` [1]")
    if not layers or weights.size % len(layers):
        raise InputError.at(
            path, f"{weights.size} coefficients for {len(layers)} layers", "as many a layer"
        )
    scale = given.get("scale_", np.ones_like(weights))
    if not (scale > 0).all():  # what never moved has scale 1 in scikit-learn
        raise InputError.at(path, "`scale_` is not above 0 throughout")
    with np.errstate(over="ignore", invalid="ignore"):
        folded = weights / scale
        bias = float(given["intercept_"].reshape(()))
        bias -= float(folded @ given.get("mean_", np.zeros_like(weights)))
    scaled = [name for name in SCALER if name in given]
    return Imported(
        feature=feature,
        layers=tuple(layers),
        weights=np.ascontiguousarray(folded.reshape(len(layers), -1)),
        bias=bias,
        source=path.name,
        kind=KIND,
        notes=(f"scaler folded in: {', '.join(scaled)}" if scaled else "no scaler in the file",),
    )


def _json(path: Path) -> dict[str, Doubles]:
    data = read_json(path)
    return {
        name: _numbers(path, name, data[name])
        for name in (*REQUIRED, *SCALER)
        if data.get(name) is not None
    }


def _numbers(path: Path, name: str, value: Any) -> Doubles:
    try:
        found = np.asarray(value)
    except (ValueError, OverflowError, RecursionError):  # ragged, or deeper than arrays go
        found = np.empty(0, dtype=object)
    if found.dtype.kind not in "iuf":
        raise InputError.at(path, f"`{name}` is not numbers in rows of one length")
    return found.astype(np.float64)


def _npz(path: Path) -> dict[str, Doubles]:
    members = read_members(path, packed=True)
    return {
        name: _npy(path, name, members[f"{name}.npy"])
        for name in (*REQUIRED, *SCALER)
        if f"{name}.npy" in members
    }


def _npy(path: Path, name: str, raw: bytes) -> Doubles:
    """One array, its header checked against the bytes that are there before there is an array."""
    file = io.BytesIO(raw)
    shape, columns, dtype = _header(path, name, file)
    body = raw[file.tell() :]
    if (
        dtype.kind not in "iuf"
        or min(shape, default=0) < 0
        or math.prod(shape) * dtype.itemsize != len(body)
    ):
        raise InputError.at(
            path, f"`{name}` declares {dtype} {list(shape)[:8]} and has {len(body)} bytes of it"
        )
    order: Any = "F" if columns else "C"
    return np.frombuffer(body, dtype).reshape(shape, order=order).astype(np.float64)


def _header(path: Path, name: str, file: io.BytesIO) -> tuple[Sequence[int], bool, np.dtype[Any]]:
    readers: Mapping[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        found: tuple[Sequence[int], bool, np.dtype[Any]] = readers[np.lib.format.read_magic(file)](
            file
        )
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise InputError.at(path, f"`{name}` is no readable array ({error!s:.100})") from None
    return found
