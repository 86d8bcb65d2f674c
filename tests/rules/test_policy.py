"""What a policy says of labels and days, and that its canonical form is the whole of it."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import dump, load
from dosimeter.rules.canonical import canonical
from dosimeter.rules.language.policy_keys import read_policy
from dosimeter.rules.occurrence import GROUPED
from dosimeter.rules.policy import (
    MATCHED,
    POLICY_KEYS,
    Exemption,
    Limit,
    Policy,
    Whose,
    span_seconds,
    span_text,
)

ACME = {"tenant": "acme", "route": "chat"}
COURSE = Exemption(
    Whose.of({"route": ["fraud-training"]}), "quotes scams", "j.doe", date(2027, 1, 31)
)


@pytest.mark.parametrize(
    ("only", "labels", "model", "applies"),
    [
        ({}, {}, "m", True),
        ({"tenant": ["acme"]}, ACME, "m", True),
        ({"tenant": ["acme", "zeta"]}, {"tenant": "zeta"}, "m", True),
        ({"tenant": ["acme"]}, {"tenant": "acme2"}, "m", False),
        ({"tenant": ["acme"]}, {}, "m", False),  # nobody vouches for it
        ({"tenant": ["acme"], "route": ["chat"]}, ACME, "m", True),
        ({"tenant": ["acme"], "route": ["batch"]}, ACME, "m", False),
        ({"tenant": ["acme"], "user": ["u"]}, ACME, "m", False),
        ({"model": ["m"]}, {}, "m", True),
        ({"model": ["m"]}, {"model": "m"}, "other", False),  # the server says which model it is
    ],
)
def test_only_asks_for_every_label_and_takes_none_for_granted(
    only: dict[str, list[str]], labels: dict[str, str], model: str, applies: bool
) -> None:
    assert Policy(only=Whose.of(only)).applies(labels, model) is applies


def test_the_first_exemption_that_holds_is_the_one_that_is_named() -> None:
    second = Exemption(Whose.of({"tenant": ["acme"]}), "a trial", "k.lee", date(2027, 6, 1))
    policy = Policy(unless=(COURSE, second))
    assert policy.exemption({"route": "fraud-training", "tenant": "acme"}, "m") is COURSE
    assert policy.exemption({"tenant": "acme"}, "m") is second
    assert policy.exemption({"tenant": "zeta"}, "m") is None


def test_an_exemption_holds_through_its_last_day_and_not_on_the_next() -> None:
    policy = Policy(unless=(COURSE,))
    assert policy.on(date(2027, 1, 31)) is policy
    assert policy.on(date(2027, 2, 1)) == Policy()


def test_a_rule_runs_through_the_day_on_which_it_expires() -> None:
    policy = Policy(expires=date(2027, 3, 1))
    assert not policy.expired(date(2027, 3, 1))
    assert policy.expired(date(2027, 3, 2))
    assert not Policy().expired(date(9999, 12, 31))


@pytest.mark.parametrize(
    ("text", "seconds", "shortest"),
    [
        ("30s", 30, "30s"),
        ("90s", 90, "90s"),
        ("120s", 120, "2m"),
        ("60m", 3600, "1h"),
        ("24h", 86400, "1d"),
        ("30d", 2592000, "30d"),
    ],
)
def test_equal_lengths_of_time_have_one_text(text: str, seconds: int, shortest: str) -> None:
    assert span_seconds(text) == seconds
    assert span_text(seconds) == shortest


def test_reach_covers_all_that_a_decision_depends_on() -> None:
    hour = 3600 * 10**9
    assert Policy().reach_ns == 0
    assert Policy(repeat_after_s=7200).reach_ns == 2 * hour
    assert Policy(repeat_after_s=60, limit=Limit(5, "hour")).reach_ns == 2 * hour
    assert Policy(quiet_when=("other",)).reach_ns == 24 * hour


TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=8)
WHOSE = st.dictionaries(st.sampled_from(MATCHED), st.sets(TEXT, min_size=1, max_size=3))
SOME = WHOSE.filter(bool).map(Whose.of)
NAME = st.from_regex(r"[a-z0-9][a-z0-9-]{0,9}", fullmatch=True)
POLICIES = st.builds(
    Policy,
    only=WHOSE.map(Whose.of),
    unless=st.lists(st.builds(Exemption, SOME, TEXT, TEXT, st.dates()), max_size=3).map(tuple),
    group_by=st.sets(st.sampled_from(GROUPED)).map(lambda s: tuple(n for n in GROUPED if n in s)),
    repeat_after_s=st.just(0) | st.integers(30, 30 * 86400),
    limit=st.none()
    | st.builds(Limit, st.integers(1, 10**6), st.sampled_from(("minute", "hour", "day"))),
    quiet_when=st.sets(NAME, max_size=3).map(lambda s: tuple(sorted(s))),
    expires=st.none() | st.dates(),
    labels=st.dictionaries(st.from_regex(r"[a-z][a-z0-9_-]{0,9}", fullmatch=True), TEXT).map(
        lambda d: tuple(sorted(d.items())[:16])
    ),
    confirm=st.just("") | NAME,
)


@given(POLICIES)
def test_the_canonical_form_is_read_back_and_is_itself_a_rule_file(policy: Policy) -> None:
    text = policy.as_json()
    assert set(text) <= set(POLICY_KEYS)
    assert canonical(text)  # nothing in it that canonical JSON refuses
    assert Policy.from_json({"rule": "r", "severity": "low", **text}) == policy
    reader = Reader()
    node = load(dump(text), "policy.yaml")
    assert read_policy(reader.mapping(node, POLICY_KEYS), {}, reader) == policy
    assert reader.findings == []
    assert hash(Policy.from_json(text)) == hash(policy)


def test_what_is_not_said_is_not_written() -> None:
    assert Policy().as_json() == {}
    policy = Policy(only=Whose.of({"tenant": ["zeta", "acme"]}), unless=(COURSE,))
    assert policy.as_json() == {
        "only": {"tenant": ["acme", "zeta"]},
        "unless": [
            {
                "route": ["fraud-training"],
                "reason": "quotes scams",
                "by": "j.doe",
                "until": "2027-01-31",
            }
        ],
    }


@pytest.mark.parametrize(
    "text",
    [
        {"only": {"conversation": ["c"]}},  # dropped, the rule would be everyone's
        {"only": {"tenant": ["b", "a"]}},
        {"only": {"tenant": "acme"}},
        {"only": 3},
        {"unless": [{"tenant": ["a"]}]},
        {"unless": [{"tenant": ["a"], "reason": "r", "by": "b", "until": "soon"}]},
        {"unless": "x"},
        {"group-by": ["tenant", "planet"]},
        {"group-by": []},
        {"repeat-after": "60m"},
        {"repeat-after": "1y"},
        {"repeat-after": 60},
        {"limit": "050 per hour"},
        {"limit": "0 per hour"},
        {"quiet-when": "other"},
        {"expires": "20270101"},
        {"labels": []},
        {"confirm": "http://reviewer"},
        {"confirm": ""},
        {"confirm": 3},
    ],
)
def test_a_form_that_no_policy_wrote_is_refused(text: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a policy"):
        Policy.from_json(text)
