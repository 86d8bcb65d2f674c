"""Evidence bodies: exact for what we write, refused for anything else."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.history.evidence import (
    Evidence,
    EvidenceError,
    decode_evidence,
    encode_evidence,
)


@given(
    first=st.integers(0, 2**31),
    rows=st.lists(st.tuples(st.integers(-32768, 32767), st.integers(-32768, 32767)), max_size=40),
    text=st.booleans(),
)
def test_what_is_encoded_comes_back(first: int, rows: list[tuple[int, int]], text: bool) -> None:
    codes = np.array(rows, dtype=np.int16).reshape(-1, 2)
    tokens = tuple(f"t{i}" for i in range(len(rows))) if text else None
    found = decode_evidence(encode_evidence(Evidence(first, ("a", "b"), codes, tokens)))
    assert (found.first, found.columns, found.tokens) == (first, ("a", "b"), tokens)
    assert np.array_equal(found.codes, codes)


def test_the_bytes_are_these() -> None:
    """Worked by hand: 1 and -2 as little-endian int16 are 01 00 fe ff, in base64 AQD+/w==."""
    codes = np.array([[1], [-2]], dtype=np.int16)
    body = encode_evidence(Evidence(7, ("scam",), codes))
    assert body == b'{"codes":"AQD+/w==","columns":["scam"],"first":7,"v":1}'


@pytest.mark.parametrize(
    "change",
    [
        {"codes": "AQD+"},  # three bytes: not whole rows
        {"codes": "!!!!"},
        {"columns": []},
        {"columns": "scam"},
        {"first": -1},
        {"first": "7"},
        {"tokens": ["one"]},
        {"codes": None},
    ],
)
def test_a_body_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    body = {"codes": "AQD+/w==", "columns": ["scam"], "first": 7, "v": 1, **change}
    with pytest.raises(EvidenceError):
        decode_evidence(json.dumps(body).encode())


@given(st.binary(max_size=60))
def test_no_bytes_at_all_raise_anything_else(body: bytes) -> None:
    with pytest.raises(EvidenceError):
        decode_evidence(body)
