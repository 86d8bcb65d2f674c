"""Recorded tokens beside a rule: read as they were, refused where they are not what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dosimeter.detectors.artefact import dump_tensors
from dosimeter.detectors.findings import InputError
from dosimeter.rules.testing.fixture import read_fixture

SCOPES = np.array([2, 3, 3], np.uint8)
SCAM = np.array([1, 2, -32768], np.int16)
OTHER = np.array([7, 8, 9], np.int16)


def file(folder: Path, **tensors: npt.NDArray[np.generic]) -> Path:
    path = folder / "f.safetensors"
    path.write_bytes(dump_tensors({k.replace("__", "."): v for k, v in tensors.items()}))
    return path


def test_columns_come_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    path = file(tmp_path, scopes=SCOPES, codes__scam=SCAM, codes__a=OTHER, codes__unread=OTHER)
    codes, scopes = read_fixture(path, ("a", "scam"))
    assert codes.tolist() == [[7, 1], [8, 2], [9, -32768]]
    assert scopes.tolist() == [2, 3, 3]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"codes__scam": SCAM}, "the fixture has no `scopes`"),
        ({"scopes": SCOPES}, "the fixture has no `codes.scam`"),
        ({"scopes": SCOPES, "codes__scam": SCAM[:2]}, "`codes.scam` has 2 tokens, `scopes` has 3"),
        ({"scopes": SCOPES, "codes__scam": SCAM.astype(np.int32)}, "`codes.scam` is int32"),
        ({"scopes": SCOPES, "codes__scam": SCAM[:, None]}, "`codes.scam` is int16 [3, 1]"),
        ({"scopes": SCOPES + np.uint8(3), "codes__scam": SCAM}, "scope 6 is not known"),
    ],
)
def test_a_file_that_is_something_else_is_refused(
    tmp_path: Path, tensors: dict[str, npt.NDArray[np.generic]], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_fixture(file(tmp_path, **tensors), ("scam",))
    assert message in str(caught.value)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x80\x04not a pickle that anybody loads")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        read_fixture(tmp_path / "x", ("scam",))
    with pytest.raises(InputError, match="cannot be read"):
        read_fixture(tmp_path / "missing", ("scam",))
