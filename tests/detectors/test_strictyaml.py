"""Cards are plain data of YAML 1.2, every key once; what is not is refused with its place."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.strictyaml import DataError, dump, parse


def test_scalars_are_those_of_yaml_1_2() -> None:
    """YAML 1.1 reads `no` as false, `12:30` as 750, `010` as 8 and `1e-3` as text."""
    text = b"{a: no, b: 12:30, c: 010, d: 1e-3, e: 0x1F, f: 2026-01-02, g: ~, h: true, i: +1.5}"
    assert parse(text, "c").data == {
        "a": "no",
        "b": "12:30",
        "c": 10,
        "d": 0.001,
        "e": 31,
        "f": "2026-01-02",
        "g": None,
        "h": True,
        "i": 1.5,
    }


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "c.yaml:3:1", "key `a` is given twice"),
        ("a: &x [1]\nb: *x\n", "c.yaml:2:4", "aliases are not read here"),
        ("a: !!python/object:os.system {}\n", "c.yaml:1:4", "not plain data"),
        ("a: !!python/name:os.system\n", "c.yaml:1:4", "not a finite plain value"),
        ("a: .nan\n", "c.yaml:1:4", "not a finite plain value"),
        ("a: -.inf\n", "c.yaml:1:4", "not a finite plain value"),
        ("a: 1e999\n", "c.yaml:1:4", "not a finite plain value"),
        ("a: !!int many\n", "c.yaml:1:4", "not a finite plain value"),
        ("a: " + "9" * 5000 + "\n", "c.yaml:1:4", "not a finite plain value"),
        ("1: 2\n", "c.yaml:1:1", "a key must be text"),
        ("? [a]\n: 2\n", "c.yaml:1:3", "a key must be text"),
        ("a: [1,\n", "c.yaml:2:1", "expected the node content"),
        ("a: 1\n---\nb: 2\n", "c.yaml:2:1", "found another document"),
        ("", "c.yaml", "empty document"),
        ("a: " + "[" * 30 + "]" * 30, "c.yaml:1:20", "nested deeper"),
        ("[" * 100_000, "c.yaml", "not readable as YAML (RecursionError)"),
        ("a: \x07", "c.yaml", "not readable as YAML"),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_place(
    text: str, place: str, words: str
) -> None:
    with pytest.raises(DataError) as caught:
        parse(text.encode(), "c.yaml")
    assert caught.value.place == place
    assert words in str(caught.value)


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(DataError, match="not UTF-8 at byte 1"):
        parse(b"a\xff", "c.yaml")


def test_a_document_over_the_cap_is_refused_before_it_is_read() -> None:
    with pytest.raises(DataError, match="at most 1048576"):
        parse(b"#" * (1 << 20) + b"#", "c.yaml")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=30),
    st.sampled_from(
        ["no", "1e-3", "0x1f", "010", "null", "~", "", " a", "a: b", ".nan", "12e4567"]
    ),
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=8), PLAIN, min_size=1, max_size=4))
def test_what_is_written_reads_back_equal(data: dict[str, Any]) -> None:
    again = parse(dump(data), "c").data
    assert again == data
    assert repr(again) == repr(data)  # 1 is not True, and 1.0 is not 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_break_the_parser(raw: bytes) -> None:
    with contextlib.suppress(DataError):
        dump(parse(raw, "c").data)
