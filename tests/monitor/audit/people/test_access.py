"""Every read writes an entry first, and is refused where it may not be or cannot be written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.audit.people.access import (
    UNKNOWN,
    Access,
    AccessRefused,
    Actor,
    Kind,
    require,
    resolved,
    who,
)
from dosimeter.monitor.roles import ROLES
from tests.monitor.audit.people_scene import AUDITOR, OPERATOR, REVIEWER, VIEWER, Small, small


@pytest.fixture
def one(tmp_path: Path) -> Small:
    made = small(tmp_path)
    made.alert(1, tenant="acme", user="bob", conversation="talk-1")
    made.alert(2, tenant="zenith", user="bob")
    return made


def asked(one: Small) -> Access:
    return Access(one.appender, one.keys, now_ns=one.clock)


def tenant_of(one: Small, name: str) -> str:
    found = one.keys.find("tenant", b"", name)
    assert found is not None
    return found.hex()


# A hand-made table: role -> what it may, for its own tenant and with a reason.
MAY = {
    "viewer": {"query"},
    "reviewer": {"query", "view", "label"},
    "author": {"query", "edit"},
    "approver": {"query", "hold", "approve", "edit"},
    "auditor": {"query", "view", "export", "hold", "approve", "audit"},
    "operator": {"query", "hold", "erase", "rotate"},
}
RIGHTS = ("query", "view", "export", "label", "hold", "erase", "approve", "edit", "audit", "rotate")


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("right", RIGHTS)
def test_each_role_may_what_the_table_says_and_nothing_else(role: str, right: Any) -> None:
    actor = Actor("someone", role)
    if right in MAY[role]:
        require(actor, right)
    else:
        with pytest.raises(AccessRefused, match=rf"`someone` is `{role}`, who may not {right}"):
            require(actor, right)
    assert set(ROLES) == set(MAY)


def test_a_role_nobody_knows_may_nothing() -> None:
    for right in RIGHTS:
        with pytest.raises(AccessRefused):
            require(Actor("x", "root"), right)  # type: ignore[arg-type]


def test_who_it_was_is_role_and_id_and_a_name_only_for_who_may_see_all(one: Small) -> None:
    asked(one).ask(REVIEWER, "query", {})
    id_ = (one.keys.find("actor", b"", "rita") or b"").hex()
    text = f"reviewer:{id_}"
    for asks in (AUDITOR, OPERATOR, REVIEWER):  # she is rita
        assert who(text, asks, one.keys) == f"reviewer {id_[:12]} (rita)"
    assert who(text, VIEWER, one.keys) == f"reviewer {id_[:12]}"
    one.keys.destroy(bytes.fromhex(id_))
    assert who(text, AUDITOR, one.keys) == f"reviewer {id_[:12]}"
    assert who(None, AUDITOR, one.keys) == "history"


def test_the_entry_is_there_when_it_returns_and_says_who_what_and_why(one: Small) -> None:
    what = resolved({"tenant": "acme", "rule": "lies", "from_ns": 5}, one.keys)
    id_ = asked(one).ask(REVIEWER, "view", what, "ticket 17", about="0a" * 16)
    (leaf,) = one.leaves("view")
    said = json.loads(leaf)
    rita = one.keys.find("actor", b"", "rita")
    assert rita is not None
    assert said["id"] == id_
    assert said["actor"] == f"reviewer:{rita.hex()}"
    assert said["about"] == "0a" * 16
    assert said["reason"] == "ticket 17"
    assert said["what"] == {"tenant": tenant_of(one, "acme"), "rule": "lies", "from_ns": 5}
    assert "break_glass" not in said
    assert b"rita" not in leaf
    assert b"acme" not in leaf


def test_names_become_ids_and_a_name_of_nobody_is_said_to_be_unknown(one: Small) -> None:
    acme = one.keys.find("tenant", b"", "acme")
    assert acme is not None
    bob, talk = one.keys.find("user", acme, "bob"), one.keys.find("conversation", acme, "talk-1")
    assert bob is not None
    assert talk is not None
    found = resolved(
        {"tenant": "acme", "user": "bob", "conversation": "talk-1", "rule": "r"}, one.keys
    )
    assert found == {
        "tenant": acme.hex(),
        "subject": bob.hex(),
        "conversation": talk.hex(),
        "rule": "r",
    }
    assert resolved({"tenant": "acme", "user": "eve"}, one.keys)["subject"] == UNKNOWN
    assert resolved({"tenant": "nobody", "user": "bob"}, one.keys) == {
        "tenant": UNKNOWN,
        "subject": UNKNOWN,
    }
    assert resolved({"user": "bob"}, one.keys) == {"subject": UNKNOWN}  # bob is of a tenant
    assert resolved({"tenant": None, "user": None}, one.keys) == {}


@pytest.mark.parametrize("what", [{"user": "bob"}, {"subject": "bob"}, {"tenant": "acme"}])
def test_a_name_that_was_not_resolved_never_gets_into_the_log(
    one: Small, what: dict[str, str]
) -> None:
    before = one.hot.size
    with pytest.raises(ValueError, match="what was asked"):
        asked(one).ask(AUDITOR, "query", what)
    assert one.hot.size == before


def test_text_takes_a_reason_that_does_not_name_whom_it_is_about(one: Small) -> None:
    what = resolved({"tenant": "acme", "user": "bob"}, one.keys)
    for reason in (None, "", "  \n"):
        with pytest.raises(AccessRefused, match="no reason"):
            asked(one).ask(AUDITOR, "view", what, reason)
    with pytest.raises(AccessRefused, match="names whom it is about"):
        asked(one).ask(AUDITOR, "view", what, "complaint of Bob")
    with pytest.raises(AccessRefused, match="at most 400"):
        asked(one).ask(AUDITOR, "view", what, "x" * 401)
    assert not one.leaves("view")
    asked(one).ask(AUDITOR, "view", what, "complaint\x1b[31m 4711")
    said = json.loads(one.leaves("view")[0])
    assert said["reason"] == "complaint\\x1b[31m 4711"
    assert said["break_glass"] is True


def test_an_export_with_text_asks_for_what_a_view_asks(one: Small) -> None:
    with pytest.raises(AccessRefused, match="no reason"):
        asked(one).ask(AUDITOR, "export", {"text": True})
    asked(one).ask(AUDITOR, "export", {"text": True}, "inquiry 3")
    asked(one).ask(AUDITOR, "export", {})
    assert ["break_glass" in json.loads(leaf) for leaf in one.leaves("export")] == [True, False]


@pytest.mark.parametrize("actor", [VIEWER, REVIEWER])
def test_another_tenant_is_refused_and_the_rows_are_those_of_the_own(
    one: Small, actor: Actor
) -> None:
    access = asked(one)
    other = resolved({"tenant": "zenith"}, one.keys)
    with pytest.raises(AccessRefused, match="of `acme` alone"):
        access.ask(actor, "query", other)
    access.ask(actor, "query", {})
    assert access.tenants(actor) == {tenant_of(one, "acme")}


def test_a_reviewers_view_has_to_name_its_tenant(one: Small) -> None:
    with pytest.raises(AccessRefused, match="alone"):
        asked(one).ask(REVIEWER, "view", {}, "ticket 1")


def test_an_auditor_and_an_operator_see_the_rows_of_all(one: Small) -> None:
    for actor in (AUDITOR, OPERATOR):
        assert asked(one).tenants(Actor(actor.name, actor.role, frozenset({"acme"}))) is None


def test_of_a_tenant_nobody_was_ever_told_of_there_are_no_rows(one: Small) -> None:
    assert asked(one).tenants(Actor("v", "viewer", frozenset({"later"}))) == frozenset()


@pytest.mark.parametrize("kind", ["view", "query", "export"])
def test_where_the_entry_cannot_be_written_nothing_may_be_shown(one: Small, kind: Kind) -> None:
    one.hot.db.execute("PRAGMA query_only = ON")
    with pytest.raises(AccessRefused, match="cannot be written"):
        asked(one).ask(AUDITOR, kind, {}, "ticket")
    one.hot.db.execute("PRAGMA query_only = OFF")
    assert not one.leaves(kind)


def test_where_the_names_of_actors_cannot_be_kept_nothing_may_be_shown(one: Small) -> None:
    one.keys.close()
    with pytest.raises(AccessRefused, match="cannot be written"):
        asked(one).ask(AUDITOR, "query", {})
    assert not one.leaves("query")


def test_what_would_not_fit_a_leaf_is_refused(one: Small) -> None:
    with pytest.raises(AccessRefused, match="more than 16384 bytes"):
        asked(one).ask(AUDITOR, "query", {"sql": "x" * 20_000})


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ({"rule": "bob"}, {"rule": "withheld"}),
        ({"feature": "ada@example.org"}, {"feature": "withheld"}),
        ({"id": "bob"}, {"id": "withheld"}),
        ({"id": "01a2299a"}, {"id": "01a2299a"}),
        ({"rule": "lies", "limit": 3}, {"rule": "lies", "limit": 3}),
    ],
)
def test_a_name_where_none_belongs_does_not_get_into_the_leaf(
    tmp_path: Path, asked: dict[str, Any], written: dict[str, Any]
) -> None:
    """2026-11-30: `audit show bob` and `--rule bob` were written as they came."""
    one = small(tmp_path)
    one.alert(1, tenant="acme", user="bob")
    Access(one.appender, one.keys).ask(AUDITOR, "query", asked)
    (leaf,) = one.leaves("query")
    assert json.loads(leaf)["what"] == written
