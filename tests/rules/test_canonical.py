"""One byte string for one value; what plain values take as a short cut gives the same."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.rules.canonical import MAX_INT, canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
LEAF = st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | TEXT
VALUES = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
)


@given(VALUES)
def test_it_is_json_with_keys_in_the_order_of_utf_16_and_nothing_between(value: Any) -> None:
    made = canonical(value)
    assert json.loads(made) == value

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name.encode("utf-16-be") for name, _ in found]
        assert names == sorted(names)
        return dict(found)

    json.loads(made, object_pairs_hook=pairs)
    assert made == json.dumps(json.loads(made), separators=(",", ":"), ensure_ascii=False).encode()


def test_keys_that_sort_otherwise_in_utf_16_do() -> None:
    """U+10000 is D800 DC00 in UTF-16 and stands before U+E000, and behind it as a code point."""
    assert canonical({"\ue000": 1, "\U00010000": 2}) == '{"\U00010000":2,"\ue000":1}'.encode()


def test_another_mapping_is_written_like_a_dict() -> None:
    assert canonical(OrderedDict(b=1, a=(True, 2))) == b'{"a":[true,2],"b":1}'


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, 0.5]}, r"\$\.a\[1\]: float"),
        ({"a": 2**63}, r"\$\.a: 9223372036854775808 is too large"),
        ({"a": ["\ud800"]}, r"\$\.a\[0\]: a lone surrogate"),
        ({"a": {1: 2}}, r"\$\.a: key 1 is not text"),
        ({"a": b"x"}, r"\$\.a: bytes"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(value: Any, where: str) -> None:
    with pytest.raises(ValueError, match=where):
        canonical(value)
