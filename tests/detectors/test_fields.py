"""Reading fields: place, value and next step in every refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dosimeter.detectors.fields import NAME, Fields, suggestion
from dosimeter.detectors.strictyaml import DataError, parse

CARD = b"""\
name: scam
count: 3
flag: true
inner:
  layers: [1, 2]
  empty: null
rows:
  - tier: T1
  - tier: T9
"""


def card() -> Fields:
    return Fields(parse(CARD, "card.yaml"), "card.yaml")


def test_values_come_back_by_type() -> None:
    fields = card()
    assert fields.text("name", pattern=NAME) == "scam"
    assert fields.integer("count", 0, 9) == 3
    inner = fields.section("inner")
    assert inner.integers("layers", 0, 9, 4) == (1, 2)
    assert not inner.optional("empty")
    inner.done()


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda c: c.integer("name", 0, 9), "card.yaml:1:7: `name` is `'scam'`"),
        (lambda c: c.integer("flag", 0, 9), "card.yaml:3:7: `flag` is `True`"),
        (lambda c: c.integer("count", 4, 9), "card.yaml:2:8: `count` is 3, not within 4 to 9"),
        (lambda c: c.text("missing"), "card.yaml:1:1: key `missing` is missing"),
        (lambda c: c.text("name", most=3), "card.yaml:1:7: `name` has 4 characters, 1 to 3"),
        (lambda c: c.section("name"), "card.yaml:1:7: `name` is `'scam'`"),
        (
            lambda c: c.section("inner").integers("layers", 0, 1, 4),
            "card.yaml:5:11: `layers` must be 1 to 4 whole numbers from 0 to 1",
        ),
        (
            lambda c: c.sections("rows")[1].one_of("tier", ("T0", "T1")),
            "card.yaml:9:11: `tier` is `T9`",
        ),
    ],
)
def test_a_refusal_names_place_and_value(read: Callable[[Fields], Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(card())
    assert str(caught.value).startswith(message)


def test_an_unknown_key_is_answered_with_the_one_that_was_meant() -> None:
    fields = Fields(parse(b"naem: scam\n", "card.yaml"), "card.yaml")
    fields.optional("name")
    with pytest.raises(DataError, match=r"unknown key `naem`\n.*mean `name`"):
        fields.done()


def test_a_card_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(DataError, match="expected a mapping"):
        Fields(parse(b"[1]", "card.yaml"), "card.yaml")


def test_suggestions_list_what_exists_even_when_nothing_is_near() -> None:
    assert suggestion("zzz", ["scam", "deception"]) == "known: `deception`, `scam`"
    assert suggestion("x", []) == "known: none"
