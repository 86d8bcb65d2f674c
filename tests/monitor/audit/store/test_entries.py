"""A sidecar's record taken apart: what is constant, what may lead to a person, and the leaf."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.audit.store.entries import KINDS, encoded, from_record, leaf_of
from dosimeter.rules.canonical import canonical, digest

PEOPLE = {
    "user": "ada.lovelace@example.org",
    "conversation": "chat-77",
    "request_id": "req-9",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tenant": "north-bank",
    "route": "chat",
}


def record(**changes: Any) -> dict[str, Any]:
    return {
        "v": 2,
        "kind": "alert",
        "event_id": "0123456789abcdef0123456789abcdef",
        "time_ns": 1_700_000_000_000_000_000,
        "epoch": "00000000000000aa",
        "key": "00000000000000bb",
        "clause": 1,
        "start": 4,
        "end": 8,
        "position": 7,
        "value_sum": 900,
        "value_n": 4,
        "tokens_scored": 8,
        "tokens_unscored": 0,
        "decision": "notified",
        "reason": "",
        "would_act": True,
        "rule": "scam-written",
        "rule_sha256": "11" * 32,
        "program_sha256": "22" * 32,
        "pack_sha256": "33" * 32,
        "calibration_sha256": "44" * 32,
        "feature": "scam",
        "level": "z 2",
        "scope": "answer",
        "shape": "average",
        "threshold_code": 512,
        "status": "live",
        "severity": "high",
        "owner": "team",
        "runbook": "",
        "rule_labels": {},
        "model": {"name": "m", "digest": "55" * 32},
        "also": [{"clause": 0, "feature": "warning", "level": "z 1", "value_sum": 3, "value_n": 1}],
        "trusted": ["route", "user"],
        "summary": "ada wrote to north-bank",
        "coverage": "8 of 8 tokens were scored",
        "labels": PEOPLE,
    } | changes


def taken(**changes: Any) -> Any:
    return from_record(json.dumps(record(**changes)).encode(), "source", 3)


def test_nothing_that_leads_to_a_person_gets_into_the_leaf_or_its_terms() -> None:
    found = taken()
    leaf = canonical(leaf_of(found.entry, 1, {})) + (found.entry.terms or b"")
    for name, value in PEOPLE.items():
        assert name == "route" or value.encode() not in leaf, name
    assert b"ada wrote" not in leaf
    assert found.labels == PEOPLE
    assert found.words["summary"] == "ada wrote to north-bank"


def test_what_is_constant_for_a_rule_is_the_same_for_every_alert_of_it() -> None:
    one, other = taken(), taken(event_id="ff" * 16, start=0, value_sum=-4, labels={"user": "bob"})
    assert one.entry.terms == other.entry.terms
    terms = json.loads(one.entry.terms)
    assert (terms["rule"], terms["threshold_code"], terms["clause"]) == ("scam-written", 512, 1)
    assert terms["also"] == [{"clause": 0, "feature": "warning", "level": "z 1"}]
    assert taken(clause=0).entry.terms != one.entry.terms


def test_the_leaf_has_what_differs_and_names_its_terms_by_hash() -> None:
    found = taken()
    leaf = leaf_of(found.entry, 9, {"subject": "ab" * 16})
    assert leaf["also"] == [{"clause": 0, "value_sum": 3, "value_n": 1}]
    assert (leaf["value_sum"], leaf["position"], leaf["seq"], leaf["ingested_ns"]) == (900, 7, 3, 9)
    assert leaf["terms"] == digest(found.entry.terms)
    assert leaf["route"] == "chat"
    assert leaf["subject"] == "ab" * 16


def test_a_route_that_nobody_vouches_for_is_a_clients_text_and_not_in_the_leaf() -> None:
    assert taken(trusted=["route"]).entry.fields["route"] == "chat"
    assert "route" not in taken(trusted=["user"]).entry.fields


def test_a_request_stands_for_the_person_only_where_nothing_else_does() -> None:
    assert "request" not in taken().entry.names
    lone = taken(labels={"request_id": "req-9", "tenant": "t"})
    assert dict(lone.entry.names) == {"tenant": "t", "request": "req-9"}


def test_a_digest_keeps_its_numbers() -> None:
    core = {
        "v": 1,
        "kind": "digest",
        "event_id": "ab" * 16,
        "time_ns": 5,
        "rule": "r",
        "limited": 12,
        "summary": "12 more",
    }
    found = from_record(json.dumps(core).encode(), "s", 1)
    assert found.entry.terms is None
    assert dict(found.entry.fields) == {"rule": "r", "limited": 12}
    assert found.words == {"summary": "12 more"}


@pytest.mark.parametrize(
    "core",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"\xff",
        b"{}",
        b'{"kind":"sermon"}',
        b"[" * 100_000,
        json.dumps(record(event_id="short")).encode(),
        json.dumps(record(event_id="G" * 32)).encode(),
        json.dumps(record(time_ns="now")).encode(),
        json.dumps(record(time_ns=True)).encode(),
        json.dumps(record(time_ns=-1)).encode(),
        json.dumps(record(time_ns=2**62)).encode(),
        json.dumps(record(value_sum=1.5)).encode(),
        json.dumps(record(value_sum=2**63)).encode(),
        json.dumps(record(value_sum=10**40)).encode(),
        json.dumps(record(also=[3])).encode(),
        json.dumps({k: v for k, v in record().items() if k != "clause"}).encode(),
    ],
)
def test_what_is_no_record_is_refused_in_words(core: bytes) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        from_record(core, "s", 1)
    assert len(str(error.value)) < 400


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_the_quick_encoding_is_the_canonical_one(value: dict[str, Any]) -> None:
    assert encoded(value) == canonical(value)


def test_every_kind_is_named_once() -> None:
    assert len(set(KINDS)) == len(KINDS)


@pytest.mark.parametrize("kind", ["alert", "digest", "count", "absent", "shift"])
def test_a_field_that_this_release_does_not_know_is_kept_and_not_in_the_leaf(kind: str) -> None:
    """2026-11-30: whatever a later sidecar would say of somebody stood in the leaf for good."""
    found = taken(kind=kind, nickname="Ada", speaker={"mail": ["ada@example.org"]})
    leaf = canonical(leaf_of(found.entry, 1, {})) + (found.entry.terms or b"")
    assert b"Ada" not in leaf
    assert b"ada@" not in leaf
    assert b"nickname" not in leaf
    assert found.labels["record.nickname"] == '"Ada"'
    assert found.labels["record.speaker"] == '{"mail":["ada@example.org"]}'
    if kind == "alert":
        assert found.entry.fields["unread"] == 2


def test_within_a_further_condition_too() -> None:
    found = taken(also=[{"clause": 0, "feature": "warning", "said": "by Ada"}])
    leaf = canonical(leaf_of(found.entry, 1, {})) + (found.entry.terms or b"")
    assert b"Ada" not in leaf
    assert found.labels["record.also[0].said"] == '"by Ada"'


def test_a_record_of_this_release_leaves_nothing_unread() -> None:
    found = taken()
    assert "unread" not in found.entry.fields
    assert found.labels == PEOPLE


@pytest.mark.parametrize(
    ("said", "leaf"),
    [
        (
            {"kind": "pause", "state": "ended", "reason": "INC-441", "by_uid": 7, "tokens": 9, "why": "resumed"},
            {"state": "ended", "reason": "INC-441", "by_uid": 7, "tokens": 9, "why": "resumed"},
        ),
        (
            {"kind": "canary", "rule": "dosimeter.canary", "severity": "low", "tokens": 11},
            {"tokens": 11},
        ),
    ],
)  # fmt: skip
def test_what_a_sidecar_says_of_itself_is_an_entry_and_names_no_rule(
    said: dict[str, Any], leaf: dict[str, Any]
) -> None:
    """A canary's rule is nobody's: it may be in no list of the rules that were seen."""
    about = {"v": 1, "event_id": "ab" * 16, "time_ns": 5, "summary": "words"}
    found = from_record(json.dumps(about | said).encode(), "source", 3)
    assert (found.entry.kind, dict(found.entry.fields), found.labels) == (said["kind"], leaf, {})
