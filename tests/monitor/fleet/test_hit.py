"""A hit on the way to where it is counted says what its count needs and no more, and meets its group there."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from dosimeter.monitor.fleet.hit import FleetHit, HitError, decode, encode, key, record
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import Exemption, Limit, Policy, Whose

OF = Occurrence(
    "scam",
    "live",
    1_800_000_000_123_456_789,
    "00/01",
    {"tenant": "acme", "user": "u-1", "conversation": "c-9", "route": "chat"},
    "lab",
)


def rule(what: Any = "hits", **policy: Any) -> SecondRule:
    form = Count(what, ("scam",), 2, 3600)
    return SecondRule("burst", form, "live", "high", "x", "sre", "", Policy(**policy))


def test_it_reads_back_as_it_was_written() -> None:
    one = FleetHit("burst", "a" * 32, OF)
    assert decode(encode(one)) == one


def test_hits_of_one_group_have_one_key_and_those_of_another_group_or_rule_another() -> None:
    by_tenant = rule(group_by=("tenant",))
    other = Occurrence("x", "live", 5, "q", {"tenant": "acme", "user": "u-2"}, "m")
    elsewhere = Occurrence("x", "live", 5, "q", {"tenant": "umbra"}, "m")
    assert key(by_tenant, OF) == key(by_tenant, other) == b'["burst","acme"]'
    assert key(by_tenant, elsewhere) != key(by_tenant, OF)
    assert key(rule(), OF) == key(rule(), elsewhere) == b'["burst"]'


def test_hits_of_a_rule_with_a_limit_have_one_key_whatever_their_group() -> None:
    """The limit is one for the fleet: who counts it must see all of them."""
    limited = rule(group_by=("tenant",), limit=Limit(20, "day"))
    assert key(limited, OF) == b'["burst"]'


@pytest.mark.parametrize(
    ("of", "labels"),
    [
        (rule(), set()),
        (rule(group_by=("route",)), {"route"}),
        (rule("users", group_by=("tenant",)), {"tenant", "user"}),
        (rule("conversations"), {"tenant", "conversation"}),
        (rule(only=Whose((("route", ("chat",)),))), {"route"}),
        (
            rule(unless=(Exemption(Whose((("user", ("u-1",)),)), "red team", "me", date.max),)),
            {"user"},
        ),
    ],
)
def test_only_the_labels_that_the_count_looks_at_leave(of: SecondRule, labels: set[str]) -> None:
    """Nothing in a topic can be erased."""
    sent = record(of, OF, "a" * 32)
    assert set(json.loads(sent["value"])["labels"]) == labels
    assert sent["timestamp_ms"] == 1_800_000_000_123
    assert ("event_id", b"a" * 32) in sent["headers"]


GOOD = json.loads(encode(FleetHit("burst", "a" * 32, OF)))


@pytest.mark.parametrize(
    "wire",
    [
        None,
        b"",
        b"[]",
        b"[" * 100_000,
        b"x" * 100_000,
        b'{"v":1}',
        *(
            json.dumps(GOOD | change).encode()
            for change in (
                {"v": 2},
                {"v": True},
                {"more": 1},
                {"hit": 3},
                {"status": "draft"},
                {"exempt": 0},
                {"time_ns": -1},
                {"time_ns": 1.5},
                {"time_ns": 1 << 80},
                {"labels": {"email": "x"}},
                {"labels": {"tenant": 1}},
                {"labels": []},
            )
        ),
    ],
)
def test_what_is_no_hit_is_refused_in_words(wire: bytes | None) -> None:
    with pytest.raises(HitError, match=r"\w"):
        decode(wire)
