"""A form that is filled is the canonical JSON of the record, whatever stands in its places."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dosimeter.rules.canonical import canonical
from dosimeter.rules.form import Form, json_list, json_object, json_text, place

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LABEL = st.sampled_from(["conversation", "route", "tenant", "user"])


@given(TEXT, st.integers(-(2**63) + 1, 2**63 - 1), st.lists(TEXT, max_size=3), TEXT)
def test_a_filled_form_is_the_canonical_record(
    text: str, number: int, texts: list[str], beside: str
) -> None:
    form = Form({"z": place("a"), "b": {"%s": place("n"), "x": "100 %"}, "l": place("l")})
    made = form.fill({"a": json_text(text), "n": number, "l": json_list([*map(json_text, texts)])})
    whole = {"z": text, "b": {"%s": number, "x": "100 %"}, "l": texts}
    assert made.encode() == canonical(whole)
    assert Form({"a": place("a"), "b": beside.replace("\0", "")}).fill({"a": 1}).encode() == (
        canonical({"a": 1, "b": beside.replace("\0", "")})
    )


@given(st.dictionaries(LABEL, TEXT))
def test_an_object_of_texts_is_canonical_when_its_names_come_sorted(labels: dict[str, str]) -> None:
    assert json_object(dict(sorted(labels.items()))).encode() == canonical(labels)
