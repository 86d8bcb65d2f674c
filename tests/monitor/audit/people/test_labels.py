"""Labels: what is written, what is encrypted, and which of several counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.audit.erasure.known import KnownEntries
from dosimeter.monitor.audit.evidence.evidence_body import decode_body
from dosimeter.monitor.audit.people.access import AccessRefused
from dosimeter.monitor.audit.people.labels import (
    OFFERED,
    About,
    Label,
    Verdict,
    label,
    latest,
    standing,
)
from dosimeter.monitor.audit.store import box
from dosimeter.monitor.pages.asked import REASONS
from tests.monitor.audit.people_scene import AUDITOR, OPERATOR, REVIEWER, Small, small

ALERT = "0a" * 16
REQUEST = f"{7:016x}/{9:016x}"


@pytest.fixture
def one(tmp_path: Path) -> Small:
    made = small(tmp_path)
    made.alert(1, tenant="acme", user="bob")
    return made


def about(one: Small, **changes: Any) -> About:
    acme = one.keys.find("tenant", b"", "acme")
    assert acme is not None
    bob = one.keys.find("user", acme, "bob")
    assert bob is not None
    return About(**({"alert": ALERT, "tenant": acme.hex(), "subject": bob.hex()} | changes))


def put(one: Small, of: About, verdict: Any = "true", **ways: Any) -> str:
    given: dict[str, Any] = {"actor": REVIEWER, "reason_code": "fraud", "now_ns": one.clock()}
    return label(one.appender, of, verdict, **(given | ways))


def test_the_leaf_says_verdict_and_code_and_the_note_is_under_the_subjects_key(one: Small) -> None:
    id_ = put(one, about(one), note="Bob asked for the code word")
    (leaf,) = one.leaves("label")
    said = json.loads(leaf)
    assert (said["verdict"], said["reason_code"], said["about"]) == ("true", "fraud", ALERT)
    assert said["origin"] == "queue"
    assert said["actor"].startswith("reviewer:")
    assert b"Bob" not in leaf
    found = one.hot.evidence(bytes.fromhex(id_))
    assert found is not None
    subject, month, shut = found
    assert subject.hex() == about(one).subject
    key = one.keys.key(subject, month)
    assert key is not None
    body = box.opened(shut, key, bytes.fromhex(id_), said["evidence"])
    assert decode_body(body).summary == "Bob asked for the code word"


def test_without_a_note_nothing_is_encrypted(one: Small) -> None:
    id_ = put(one, about(one))
    assert one.hot.evidence(bytes.fromhex(id_)) is None
    assert "evidence" not in json.loads(one.leaves("label")[0])


def test_a_sampled_request_says_for_how_many_it_stands_and_its_note_is_the_tenants(
    one: Small,
) -> None:
    of = about(one, alert=None, subject=None, request=REQUEST, one_in=40)
    id_ = put(one, of, "false", origin="sample", note="nothing here")
    said = json.loads(one.leaves("label")[0])
    assert (said["request"], said["one_in"], said["origin"]) == (REQUEST, 40, "sample")
    assert "about" not in said
    found = one.hot.evidence(bytes.fromhex(id_))
    assert found is not None
    assert found[0].hex() == of.tenant


def test_a_note_about_nobody_is_the_reviewers_own(one: Small) -> None:
    actor = type(REVIEWER)("rita", "reviewer")
    id_ = put(one, About(alert=ALERT), note="n", actor=actor)
    found, rita = one.hot.evidence(bytes.fromhex(id_)), one.keys.find("actor", b"", "rita")
    assert found is not None
    assert found[0] == rita


def test_it_reads_back_from_either_half_of_the_store(one: Small) -> None:
    put(one, about(one), "unsure", origin="import")
    put(one, about(one, alert=None, request=REQUEST, one_in=3), "false", origin="sample")
    known = KnownEntries(one.hot, one.folder)
    hot = [Label.of_leaf(leaf) for leaf in known.of_kind("label")]
    assert [(x.of, x.verdict, x.origin, x.one_in) for x in hot] == [
        (ALERT, "unsure", "import", 1),
        (REQUEST, "false", "sample", 3),
    ]
    one.seal(2)
    assert [Label.of_leaf(leaf) for leaf in known.of_kind("label")] == hot


@pytest.mark.parametrize(
    ("verdict", "ways", "changes", "said"),
    [
        ("maybe", {}, {}, "`maybe` is none of"),
        ("true", {"reason_code": "Bob did it"}, {}, "is no code"),
        ("true", {"reason_code": ""}, {}, "is no code"),
        ("true", {"note": "x" * 4001}, {}, "at most 4000"),
        ("true", {}, {"request": REQUEST}, "about an alert or about a request"),
        ("true", {}, {"alert": None}, "about an alert or about a request"),
        ("true", {}, {"alert": None, "request": "7/9"}, "is no request"),
    ],
)
def test_what_is_no_label_is_refused(
    one: Small, verdict: str, ways: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        put(one, about(one, **changes), verdict, **ways)
    assert not one.leaves("label")


def test_reviewers_label_their_own_tenants_and_others_nothing(one: Small) -> None:
    for actor in (AUDITOR, OPERATOR):
        with pytest.raises(AccessRefused, match="may not label"):
            put(one, about(one), actor=actor)
    with pytest.raises(AccessRefused, match="own tenants alone"):
        put(one, about(one, tenant="0b" * 16))
    with pytest.raises(AccessRefused, match="own tenants alone"):
        put(one, about(one, tenant=None))
    assert not one.leaves("label")


def said(verdict: Verdict, reviewer: str, time_ns: int, of: str = ALERT) -> Label:
    return Label(of, f"reviewer:{reviewer}", verdict, time_ns)


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ([], None),
        ([said("true", "a", 1)], "true"),
        ([said("false", "a", 1), said("true", "a", 2)], "true"),  # the latest of one counts
        ([said("true", "a", 2), said("false", "a", 1)], "true"),  # in whatever order they come
        ([said("true", "a", 1), said("false", "b", 2)], "disputed"),
        ([said("true", "a", 1), said("unsure", "b", 2)], "true"),
        ([said("unsure", "a", 1), said("unsure", "b", 2)], "unsure"),
        ([said("true", "a", 1), said("false", "b", 2), said("true", "b", 3)], "true"),
        ([said("true", "a", 1), said("true", "b", 2), said("false", "c", 3)], "disputed"),
    ],
)
def test_what_they_say_together(labels: list[Label], wanted: str | None) -> None:
    assert standing(labels) == wanted


def test_one_person_in_two_roles_is_one_reviewer() -> None:
    labels = [Label(ALERT, "reviewer:a", "true", 1), Label(ALERT, "approver:a", "false", 2)]
    assert standing(labels) == "false"


LABELS = st.lists(
    st.builds(
        said,
        st.sampled_from(("true", "false", "unsure")),
        st.sampled_from("abc"),
        st.integers(0, 9),
        st.sampled_from((ALERT, REQUEST)),
    ),
    max_size=12,
    unique_by=lambda x: (x.of, x.reviewer, x.time_ns),
)


@settings(deadline=None)
@given(LABELS, st.randoms())
def test_of_each_reviewer_and_thing_the_last_counts_in_any_order(
    labels: list[Label], r: Any
) -> None:
    last: dict[tuple[str, str], Label] = {}
    for one in sorted(labels, key=lambda x: x.time_ns):
        last[one.of, one.reviewer] = one
    shuffled = list(labels)
    r.shuffle(shuffled)
    found = {(x.of, x.reviewer): x for ones in latest(shuffled).values() for x in ones}
    assert found == last


@pytest.mark.parametrize("code", ["bob", "it-is-bob", "acme"])
def test_a_code_that_names_whom_the_alert_is_about_is_refused(one: Small, code: str) -> None:
    """2026-11-30: a short name fits the form of a code, and stayed in the leaf for good."""
    with pytest.raises(ValueError, match="names whom"):
        put(one, about(one), reason_code=code)
    assert one.leaves("label") == []


def test_a_code_that_everybody_is_offered_names_nobody(one: Small) -> None:
    """`unstated` has `ted` in it, `wrong-speaker` `speaker`: of theirs no alert could be judged."""
    one.alert(2, tenant="acme", user="ted")
    acme = one.keys.find("tenant", b"", "acme")
    assert acme is not None
    ted = one.keys.find("user", acme, "ted")
    assert ted is not None
    for code in sorted(OFFERED):
        put(one, about(one, subject=ted.hex()), reason_code=code)
    said = [json.loads(leaf)["reason_code"] for leaf in one.leaves("label")]
    assert said == sorted(OFFERED)
    assert {code or "unstated" for code in REASONS} | {"seen"} == OFFERED
