"""Recorded tokens that a test of a rule reads: one safetensors file beside the rule.

    scopes        uint8 [T]    `Scope` of each token
    codes.scam    int16 [T]    scores of the feature `scam` in codes, -32768 where a token was not scored; one a feature

The file may have features that the rule does not read. Whoever wrote it is not trusted (`detectors/artefact.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.artefact import load_tensors
from dosimeter.detectors.files import read_file
from dosimeter.detectors.findings import InputError, hint_for
from dosimeter.detectors.frames import Codes, Scope

MAX_BYTES = 64 << 20
SCOPES, CODES = "scopes", "codes."


def read_fixture(path: Path, features: tuple[str, ...]) -> tuple[Codes, npt.NDArray[np.uint8]]:
    """codes int16 [T, F] of these features, scopes uint8 [T]. Raises InputError."""
    tensors = load_tensors(read_file(path, MAX_BYTES, follow=True), path)
    scopes = _tensor(path, tensors, SCOPES, np.dtype(np.uint8))
    if len(scopes) and int(scopes.max()) > max(Scope):
        raise InputError.at(path, f"scope {int(scopes.max())} is not known")
    columns = [_tensor(path, tensors, CODES + name, np.dtype(np.int16)) for name in features]
    for name, column in zip(features, columns, strict=True):
        if len(column) != len(scopes):
            raise InputError.at(
                path, f"`{CODES}{name}` has {len(column)} tokens, `{SCOPES}` has {len(scopes)}"
            )
    return np.stack(columns, axis=1), scopes


def _tensor(
    path: Path, tensors: dict[str, npt.NDArray[Any]], name: str, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    found = tensors.get(name)
    if found is None:
        raise InputError.at(path, f"the fixture has no `{name}`", hint_for(name, tensors))
    if found.dtype != dtype or found.ndim != 1:
        raise InputError.at(path, f"`{name}` is {found.dtype} {list(found.shape)}, not {dtype} [*]")
    return found
