"""The quick way of reading a record decides nothing by itself: whatever comes, it says what the slow way says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.audit.store import usual
from dosimeter.monitor.audit.store.entries import from_record
from dosimeter.monitor.audit.store.usual import MAX_USUAL, _usual, read_record
from dosimeter.rules.canonical import canonical
from tests.monitor.audit.audit_scene import SOURCE, core

GOLDEN = Path(__file__).parents[3] / "golden" / "rules"
PLAIN = canonical(core(3))


@pytest.fixture(autouse=True)
def _no_rule_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usual, "_KNOWN", {})


def said(read: Any, data: bytes) -> object:
    """What came out; of an error only that it was refused."""
    try:
        return read(data, SOURCE, 4)
    except ValueError:
        return "refused"


def agree(data: bytes) -> object:
    """Also once the rule of `data` and that of `PLAIN` are known."""
    expected = said(from_record, data)
    read_record(PLAIN, SOURCE, 1)
    assert said(read_record, data) == expected
    assert said(read_record, data) == expected
    return expected


def test_a_record_as_the_engine_writes_it_goes_the_quick_way() -> None:
    """A field more or less in `rules/alert.py` would send every record the slow way without a word."""
    record = json.loads((GOLDEN / "alert.json").read_bytes())
    assert _usual(canonical(record)) is not None
    assert _usual(canonical(record | {"confirm": "twice"})) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"labels": {}},
        {"labels": {"request_id": "r"}},
        {"labels": {"request_id": "r", "user": "u"}},
        {"labels": {"route": "/a", "tenant": "größe"}, "trusted": ["route"]},
        {"labels": {"route": "/a"}, "trusted": ["tenant"]},
        {"labels": {"route": "/a"}, "trusted": None},
        {"labels": {"route": "/a"}, "trusted": "a route"},
        {"labels": None},
        {"confirm": "twice"},
        {"clause": 1},
        {"summary": "", "coverage": ""},
        {"reason": "\0\x1f\x7f\u2028\U0001f600\\\"/"},
        {"also": [core(1)]},
        {"later": 1},
        {"kind": "digest"},
        {"model": {"name": "m", "digest": None, "more": [[["x"]]]}},
        {"value_sum": 2**63 - 1},
        {"value_sum": -(2**63) + 1},
        {"time_ns": 0},
        {"rule": "r" * MAX_USUAL},
    ],
)  # fmt: skip
def test_the_same_is_made_of_a_record_on_both_ways(changes: dict[str, Any]) -> None:
    assert agree(canonical(core(3) | changes)) != "refused"


def changed(old: bytes, new: bytes) -> bytes:
    assert PLAIN.count(old) == 1
    return PLAIN.replace(old, new)


@pytest.mark.parametrize(
    "data",
    [
        changed(b'"value_sum":903', b'"value_sum":903.0'),
        changed(b'"value_sum":903', b'"value_sum":9e2'),
        changed(b'"value_sum":903', b'"value_sum":NaN'),
        changed(b'"value_sum":903', b'"value_sum":-Infinity'),
        changed(b'"value_sum":903', b'"value_sum":9223372036854775808'),
        changed(b'"value_sum":903', b'"value_sum":-9223372036854775808'),
        changed(b'"value_sum":903', b'"value_sum":' + b"9" * 400),
        changed(b'"threshold_code":512', b'"threshold_code":512.5'),
        changed(b'"threshold_code":512', b'"threshold_code":1e400'),
        changed(b'"threshold_code":512', b'"threshold_code":' + b"9" * 30),
        changed(b'"owner":"team"', b'"owner":"\xff"'),
        changed(b'"owner":"team"', b'"owner":' + b"[" * 40 + b"]" * 40),
        changed(b'"owner":"team"', b'"owner":' + b"[" * 7000 + b"]" * 7000),
        changed(b'"summary 3"', b'"\xff"'),
        changed(b'"summary 3"', b'"\xed\xa0\x80"'),
        changed(b'"event_id":"', b'"event_id":"A'),
        changed(b'"time_ns":', b'"time_ns":-'),
        changed(b'"time_ns":', b'"time_ns":9'),
        PLAIN + b"x",
        PLAIN[:-1],
        b"\xef\xbb\xbf" + PLAIN,
        b"",
    ],
)
def test_what_is_refused_is_refused_on_both_ways(data: bytes) -> None:
    assert agree(data) == "refused"


@pytest.mark.parametrize(
    "data",
    [
        changed(b'"rule":"', b'"rule":"another","rule":"'),  # the last one counts
        changed(b'"user":"', b'"user":"another","user":"'),
        changed(b'"clause":0', b'"clause":7,"clause":0'),
        changed(b'"clause":0', b'"clause":[]'),
        changed(b'"value_sum":903', b'"value_sum":null'),
        changed(b'"value_sum":903', b'"value_sum":true'),
        changed(b'"value_sum":903', b'"value_sum":"903"'),
        changed(b'"value_sum":903', b'"value_sum":-0'),
        changed(b'"would_act":true', b'"would_act":1'),
        changed(b'"summary 3"', b'"\\ud800"'),
        changed(b'"summary 3"', b'"\\u0073ummary\\/"'),
        changed(b'"owner":"team"', b'"owner":"\\ud83d\\ude00"'),
        changed(b'"owner":"team"', b'"owner": "team"'),
        b" " + PLAIN + b"\n",
        json.dumps(dict(reversed(core(3).items()))).encode(),
    ],
)
def test_what_no_sidecar_writes_is_taken_as_before(data: bytes) -> None:
    assert agree(data) != "refused"


def test_a_rule_that_differs_in_one_byte_has_terms_of_its_own() -> None:
    for name in re.findall(rb'"([a-z0-9_]+)":"', PLAIN):
        data = PLAIN.replace(b'"%b":"' % name, b'"%b":"0' % name, 1)
        agree(data)


CUTS = st.tuples(
    st.integers(0, len(PLAIN)), st.integers(0, 12), st.integers(0, len(PLAIN)), st.integers(0, 12)
)
PIECES = st.sampled_from(
    [b"", b'"', b",", b":", b"{", b"}", b"[", b"]", b"\\", b"0", b"-", b".", b"e1", b"null", b"\xff", b'"a":1,']
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(cut=CUTS, piece=PIECES)
def test_whatever_is_cut_or_put_in_both_ways_say_the_same(
    cut: tuple[int, int, int, int], piece: bytes
) -> None:
    """A piece of the record and one of JSON take the place of some bytes of it."""
    at, out, begin, length = cut
    agree(PLAIN[:at] + PLAIN[begin : begin + length] + piece + PLAIN[at + out :])
