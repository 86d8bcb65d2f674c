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


REST = b'"first":7,"v":1}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"codes":"AQD+/w==","columns":["a"],' + REST,
        b'{"codes":"AQD+/w==","columns":["a"],"first":1,' + REST,
        b'{"codes":"AQD+/w==","columns":["a"],"codes":"AAAA",' + REST,
        b'{"codes":"AQD+/w==","columns":["a"],"tokens":["x","y"],' + REST,
        b'{"codes":"AQD+/w==","columns":["a"],"note":"","columns":",' + REST,
        b'{"codes":"AQD+\\/w==","columns":["a"],' + REST,
        b'{"codes":"AQD+/w","columns":["a"],' + REST,
        b'{"codes":"AQD+/w==AQD+/w==","columns":["a"],' + REST,
        b'{"codes":"AQD+\n/w==","columns":["a"],' + REST,
        b'{"codes":"","x":"","columns":["a"],' + REST,
        b'{"codes":"AQD+/w==","columns":["a"],"first":7} ',
        b'{"codes":"AQD+/w==","columns":["a"],"first":7}x',
        b'{"codes":"AQD+/w==","columns":["a"],"v":1}',
        b'{"codes":"AQD+/w==","columns":["' + b"a" * 600 + b'"],' + REST,
        b'{"codes":"AQD+/w==","columns":["\xff"],' + REST,
        b'{"codes":"AQD+/w==","columns":' + b"[" * 100 + b"]" * 100 + b"," + REST,
    ],
)
def test_a_body_as_we_write_it_is_read_quickly_and_as_any_json(body: bytes) -> None:
    """With a blank in front it is no longer as we write it."""

    def said(data: bytes) -> object:
        try:
            found = decode_evidence(data)
        except EvidenceError:
            return "refused"
        return found.first, found.columns, found.tokens, found.codes.tolist()

    assert said(body) == said(b" " + body)


@pytest.mark.parametrize("begin", [b"", b'{"codes":"","columns":'])
def test_brackets_without_end_are_refused_and_stop_nobody(begin: bytes) -> None:
    with pytest.raises(EvidenceError):
        decode_evidence(begin + b"[" * 100_000)


@given(st.binary(max_size=60))
def test_no_bytes_at_all_raise_anything_else(body: bytes) -> None:
    with pytest.raises(EvidenceError):
        decode_evidence(body)
