"""An answer is one thing exactly; whatever else comes back is none, and says what it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.confirm.answer import Answer, NoAnswer, parse_answer, read_answer


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"confirm": true}', Answer(True, "", 0.0)),
        (b'{"confirm": false, "reason": "course material", "cost": 0.002}',
         Answer(False, "course material", 0.002)),
        (b'{"confirm": true, "reason": null, "cost": 0, "model": "later"}', Answer(True)),
        (b'{"confirm": true, "reason": "a\\u001b[31m\\nb\\u202ec"}', Answer(True, "a[31mbc")),
    ],
)  # fmt: skip
def test_an_answer_is_read(body: bytes, answer: Answer) -> None:
    assert parse_answer(body) == answer


def test_a_reason_is_cut() -> None:
    reason = parse_answer(json.dumps({"confirm": True, "reason": "x" * 9000}).encode()).reason
    assert (len(reason), reason[-1]) == (400, "…")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"true", "a JSON bool"),
        (b"[true]", "a JSON list"),
        (b"{}", "`confirm` is none"),
        (b'{"confirm": "true"}', "`confirm` is a str"),
        (b'{"confirm": 1}', "`confirm` is a int"),
        (b'{"confirm": true, "reason": 3}', "`reason` is a int"),
        (b'{"confirm": true, "cost": "0.1"}', "`cost` is a str"),
        (b'{"confirm": true, "cost": true}', "`cost` is true"),
        (b'{"confirm": true, "cost": NaN}', "`cost` is nan"),
        (b'{"confirm": true, "cost": -0.1}', "`cost` is -0.1"),
        (b'{"confirm": true, "cost": 1e999}', "`cost` is inf"),
        (b'{"confirm": true, "cost": 1' + b"0" * 500 + b"}", "`cost` is a int"),
    ],
)
def test_anything_else_is_no_answer(body: bytes, words: str) -> None:
    with pytest.raises(NoAnswer, match=words):
        parse_answer(body)


@given(st.binary() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(),
       lambda inner: st.dictionaries(st.sampled_from(["confirm", "reason", "cost"]), inner)
       ).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_body_does_anything_but_answer_or_not(body: bytes) -> None:
    try:
        answer = parse_answer(body)
    except NoAnswer:
        return
    assert answer.confirm is json.loads(body)["confirm"]


def test_a_function_may_answer_in_one_word() -> None:
    assert read_answer(True) == Answer(True)
    assert read_answer({"confirm": False}) == Answer(False)
    for other in (None, 1, "yes", object()):
        with pytest.raises(NoAnswer, match="expected True, False or"):
            read_answer(other)
