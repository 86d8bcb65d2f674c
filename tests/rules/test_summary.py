"""A summary is read by people in terminals, mails and tables, and holds other people's text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.rules.summary import FIELDS, printable, problems, render


def test_fields_are_filled_and_braces_can_be_written() -> None:
    text = "{feature} in {{{scope}}}: {value} sd"
    values = {"feature": "scam", "scope": "answer", "value": "2.50"}
    assert render(text, values) == "scam in {answer}: 2.50 sd"
    assert list(problems(text)) == []


def test_a_field_without_a_value_is_shown_as_unknown() -> None:
    assert render("for {tenant}", {"tenant": ""}) == "for ?"
    assert render("for {tenant}", {}) == "for ?"


@pytest.mark.parametrize(
    "template",
    ["{user}", "{conversation}", "{request_id}", "{0}", "{value.__class__}", "{a b}", "{"],
)
def test_only_fields_of_the_closed_list_are_accepted(template: str) -> None:
    """Among those that are not: whatever could lead to a person, and Python's own formatting."""
    assert len(list(problems(template))) == 1


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("acme\x1b[2J\r\nINJECTED", "acme[2JINJECTED"),
        ("a\u202eb\u2066c\u200b", "abc"),
        ("x\x00y\x85\u2028z", "xyz"),
        ("{feature}", "{feature}"),  # a label is never a template
        ("<script>", "<script>"),  # escaped where it becomes HTML, not here
    ],
)
def test_a_label_cannot_act_on_what_shows_it(label: str, shown: str) -> None:
    assert render("{tenant}", {"tenant": label, "feature": "scam"}) == shown


@given(st.text(max_size=2000))
def test_any_label_comes_out_printable_and_short(label: str) -> None:
    shown = render("{tenant}", {"tenant": label})
    assert shown.isprintable()
    assert len(shown) <= 120
    assert len(printable(label, 10)) <= 10


def test_every_field_of_the_list_is_accepted() -> None:
    assert list(problems(" ".join(f"{{{name}}}" for name in FIELDS))) == []
