"""A hold stands from its entry to that of its release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.audit.people.access import AccessRefused
from dosimeter.monitor.audit.people.holds import CannotHold, On, put_hold, release_hold
from tests.monitor.audit.people_scene import AUDITOR, REVIEWER, Small, small


@pytest.fixture
def one(tmp_path: Path) -> Small:
    return small(tmp_path)


def subject_of(one: Small, id_: str) -> str:
    row = one.hot.db.execute("SELECT subject FROM entry WHERE id = ?", (bytes.fromhex(id_),))
    found: bytes = row.fetchone()[0]
    return found.hex()


WAYS: dict[str, Any] = {"actor": AUDITOR, "reason": "case 5", "now_ns": 7}


@pytest.mark.parametrize("on", ["alert", "subject"])
def test_put_and_released_with_who_and_why_in_the_log(one: Small, on: On) -> None:
    id_ = one.alert(1, tenant="acme", user="bob")
    about = id_ if on == "alert" else subject_of(one, id_)
    put = put_hold(one.appender, on, about, **WAYS)
    assert one.hot.holds() == {bytes.fromhex(about): bytes.fromhex(put)}
    out = release_hold(one.appender, on, about, **(WAYS | {"reason": "case 5 closed"}))
    assert one.hot.holds() == {}
    held, released = (json.loads(one.leaves(kind)[0]) for kind in ("hold", "release"))
    field = "about" if on == "alert" else "subject"
    assert (held["id"], held[field], held["reason"]) == (put, about, "case 5")
    assert (released["id"], released[field], released["released"]) == (out, about, put)
    assert held["actor"] == released["actor"]
    assert held["actor"].startswith("auditor:")


def test_a_second_hold_names_the_first_and_changes_nothing(one: Small) -> None:
    id_ = one.alert(1, tenant="acme", user="bob")
    first = put_hold(one.appender, "alert", id_, **WAYS)
    with pytest.raises(CannotHold, match=first):
        put_hold(one.appender, "alert", id_, **WAYS)
    assert one.hot.holds() == {bytes.fromhex(id_): bytes.fromhex(first)}


def test_what_is_not_held_cannot_be_released(one: Small) -> None:
    with pytest.raises(CannotHold, match="not on hold"):
        release_hold(one.appender, "alert", one.alert(1, tenant="acme"), **WAYS)


def test_it_takes_the_role_a_reason_and_an_id(one: Small) -> None:
    id_ = one.alert(1, tenant="acme", user="bob")
    with pytest.raises(AccessRefused, match="may not hold"):
        put_hold(one.appender, "alert", id_, **(WAYS | {"actor": REVIEWER}))
    with pytest.raises(AccessRefused, match="no reason"):
        put_hold(one.appender, "alert", id_, **(WAYS | {"reason": " "}))
    about = subject_of(one, id_)
    with pytest.raises(AccessRefused, match="names whom"):
        put_hold(one.appender, "subject", about, **(WAYS | {"reason": "police asks for bob"}))
    with pytest.raises(CannotHold, match="is no id"):
        put_hold(one.appender, "alert", "12345678", **WAYS)
    assert one.hot.holds() == {}


@pytest.mark.parametrize("name", ["bob", "acme", "chat-7"])
@pytest.mark.parametrize("sealed", [False, True])
def test_the_reason_may_name_nobody_whom_the_alert_is_about(
    one: Small, name: str, *, sealed: bool
) -> None:
    """2026-11-30: only the hold of a user was looked at; that of an alert kept the user's name for good."""
    id_ = one.alert(1, tenant="acme", user="bob", conversation="chat-7")
    if sealed:
        one.seal(1)
    with pytest.raises(AccessRefused, match="names whom"):
        put_hold(one.appender, "alert", id_, **(WAYS | {"reason": f"the case of {name.upper()}"}))
    assert one.leaves("hold") == []


def test_a_reason_has_no_address_of_anybody(one: Small) -> None:
    id_ = one.alert(1, tenant="acme", user="bob")
    with pytest.raises(AccessRefused, match="names whom"):
        put_hold(one.appender, "alert", id_, **(WAYS | {"reason": "ada@example.org asked"}))
