"""A card, value by value: the first that is wrong is refused at its place, leftovers all at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dosimeter.detectors.fields import HEX64, NAME, Fields
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.strict_yaml import load

CARD = """\
name: scam
count: 3
flag: true
inner:
  layers: [1, 2]
  empty: null
rows:
  - tier: T1
  - tier: T9
free: {a: [1, 2.5, no], b: {c: null}}
"""


def card(text: str = CARD) -> Fields:
    return Fields(load(text, "card.yaml"))


def test_values_come_back_by_type() -> None:
    fields = card()
    assert fields.text("name", pattern=NAME) == "scam"
    assert fields.integer("count", 0, 9) == 3
    assert fields.number("count") == 3.0
    assert fields.mapping("free") == {"a": [1, 2.5, "no"], "b": {"c": None}}
    inner = fields.section("inner")
    assert inner.integers("layers", 0, 9, 4) == (1, 2)
    assert not inner.optional("empty")
    inner.done()


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda c: c.integer("name", 0, 9), "1:7: error: expected a whole number, found text"),
        (lambda c: c.integer("flag", 0, 9), "3:7: error: expected a whole number, found true or"),
        (lambda c: c.integer("count", 4, 9), "2:8: error: `3` is out of range"),
        (lambda c: c.number("flag"), "3:7: error: expected a number, found true or false"),
        (lambda c: c.text("missing"), "1:1: error: `missing` is missing [missing-key]"),
        (lambda c: c.text("name", most=3), "1:7: error: text of 4 characters"),
        (lambda c: c.text("name", pattern=HEX64), "1:7: error: `name` is `scam`"),
        (lambda c: c.section("name"), "1:7: error: expected a mapping, found text `scam`"),
        (lambda c: c.section("inner").integers("layers", 0, 1, 4), "5:15: error: `2` is out of"),
        (lambda c: c.section("inner").integers("layers", 0, 9, 1), "5:11: error: `layers` has 2"),
        (lambda c: c.sections("rows")[1].one_of("tier", ("T0", "T1")), "9:11: error: `T9` is not"),
    ],
)
def test_a_refusal_names_place_and_value(read: Callable[[Fields], Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(card())
    assert str(caught.value).startswith(f"card.yaml:{message}")


def test_an_unknown_key_is_answered_with_the_one_that_was_meant() -> None:
    fields = card("naem: scam\nmore: 1\n")
    fields.optional("name")
    with pytest.raises(InputError, match=r"unknown key `naem`.*\n.*mean `name`") as caught:
        fields.done()
    assert len(caught.value.findings) == 2


def test_a_card_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(InputError, match="expected a mapping, found a list"):
        card("[1]")
