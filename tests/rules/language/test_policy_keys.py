"""The keys of a policy say exactly one thing, or are refused at the character that is wrong, with a next step."""

from __future__ import annotations

from datetime import date

import pytest

from dosimeter.detectors.findings import Finding, Place
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import load
from dosimeter.rules.language.policy_keys import read_lists, read_policy
from dosimeter.rules.policy import POLICY_KEYS, Exemption, Limit, Policy, Whose

LISTS = {"regulated": ("acme-bank", "zeta-credit")}


def read(text: str) -> tuple[Policy | None, list[Finding]]:
    reader = Reader()
    keys = reader.mapping(load(text, "p.yaml"), ("rule", *POLICY_KEYS))
    return read_policy(keys, LISTS, reader), reader.findings


def test_every_key_is_read_as_it_was_written() -> None:
    policy, findings = read("""
rule: scam
only: {tenant: $regulated, route: [chat, "42"]}
unless:
  - {route: fraud-training, reason: "course material quotes scams", by: j.doe, until: 2027-01-31}
  - {tenant: [$regulated, acme], model: m, reason: trial, by: k.lee, until: "2028-02-29"}
group-by: [user, tenant]
repeat-after: 90m
limit: 50 per hour
quiet-when: [worse, sustained-deception]
expires: 2027-03-01
labels: {team: trust & safety, cost_centre: "7"}
confirm: second-look
""")
    assert findings == []
    assert policy == Policy(
        Whose((("tenant", ("acme-bank", "zeta-credit")), ("route", ("42", "chat")))),
        (
            Exemption(
                Whose((("route", ("fraud-training",)),)),
                "course material quotes scams",
                "j.doe",
                date(2027, 1, 31),
            ),
            Exemption(
                Whose((("tenant", ("acme", "acme-bank", "zeta-credit")), ("model", ("m",)))),
                "trial",
                "k.lee",
                date(2028, 2, 29),
            ),
        ),
        ("tenant", "user"),
        5400,
        Limit(50, "hour"),
        ("sustained-deception", "worse"),
        date(2027, 3, 1),
        (("cost_centre", "7"), ("team", "trust & safety")),
        "second-look",
    )


def test_a_rule_that_says_nothing_has_the_policy_that_does_nothing() -> None:
    assert read("rule: scam") == (Policy(), [])


WHO = "reason: r, by: b, until: 2027-01-31"

# The character after ‸ is where the finding must point.
FAULTS = [
    ("unknown-key", "only: {‸tennant: acme}"),
    ("unknown-key", "only: {‸conversation: c}"),
    ("label", "only: ‸{}"),
    ("kind", "only: ‸acme"),
    ("kind", "only: {tenant: ‸42}"),
    ("kind", "only: {tenant: [a, ‸[b]]}"),
    ("value", "only: {tenant: ‸'  '}"),
    ("value", "only: {tenant: ‸" + "x" * 257 + "}"),
    ("list", "only: {tenant: ‸[]}"),
    ("unknown-list", "only: {tenant: ‸$regulatd}"),
    ("unknown-list", "only: {tenant: [acme, ‸$other]}"),
    ("unknown-list", "only: {tenant: ‸$}"),
    ("kind", "unless: ‸{route: x, " + WHO + "}"),
    ("unless", "unless: ‸[]"),
    ("label", "unless: [‸{" + WHO + "}]"),
    ("missing-key", "unless: [‸{route: x, by: b, until: 2027-01-31}]"),
    ("missing-key", "unless: [‸{route: x, reason: r, until: 2027-01-31}]"),
    ("missing-key", "unless: [‸{route: x, reason: r, by: b}]"),
    ("unknown-key", "unless: [{route: x, ‸reson: r, by: b, until: 2027-01-31}]"),
    ("kind", "unless: [‸x]"),
    ("date", "unless: [{route: x, reason: r, by: b, until: ‸2027-02-30}]"),
    ("date", "unless: [{route: x, reason: r, by: b, until: ‸20270131}]"),
    ("date", "unless: [{route: x, reason: r, by: b, until: ‸next year}]"),
    ("date", "unless: [{route: x, reason: r, by: b, until: ‸2027-W01-1}]"),
    ("kind", "group-by: ‸tenant"),
    ("group-by", "group-by: ‸[]"),
    ("group-by", "group-by: [tenant, ‸usr]"),
    ("duplicate", "group-by: [tenant, user, ‸tenant]"),
    ("repeat-after", "repeat-after: ‸60"),
    ("repeat-after", "repeat-after: ‸29s"),
    ("repeat-after", "repeat-after: ‸31d"),
    ("repeat-after", "repeat-after: ‸1 h"),
    ("repeat-after", "repeat-after: ‸1w"),
    ("repeat-after", "repeat-after: ‸1.5h"),
    ("kind", "repeat-after: ‸[1h]"),
    ("limit", "limit: ‸50"),
    ("limit", "limit: ‸50 per week"),
    ("limit", "limit: ‸50/hour"),
    ("limit", "limit: ‸0 per hour"),
    ("limit", "limit: ‸1000001 per day"),
    ("kind", "limit:‸"),
    ("kind", "quiet-when: ‸other"),
    ("quiet", "quiet-when: ‸[]"),
    ("quiet", "quiet-when: [‸scam]"),
    ("rule-id", "quiet-when: [‸Other Rule]"),
    ("duplicate", "quiet-when: [other, ‸other]"),
    ("date", "expires: ‸2027-13-01"),
    ("date", "expires: ‸[2027-03-01]"),
    ("confirm", "confirm: ‸http://reviewer/confirm"),
    ("confirm", "confirm: ‸Second Look"),
    ("kind", "confirm: ‸[second-look]"),
    ("kind", "labels: ‸[team]"),
    ("label", "labels: ‸{}"),
    ("label", "labels: {‸Team: x}"),
    ("kind", "labels: {team: ‸7}"),
    ("label", 'labels: {team: ‸"a\\nb"}'),
    ("control", 'labels: {team: ‸"a\\u202eb"}'),
    ("value", "labels: {team: ‸" + "x" * 121 + "}"),
    ("label", "labels: ‸{" + ", ".join(f"l{n}: x" for n in range(17)) + "}"),
]


@pytest.mark.parametrize(("code", "line"), FAULTS)
def test_each_fault_is_found_where_it_stands_and_is_the_only_one(code: str, line: str) -> None:
    column = line.index("‸") + 1
    policy, findings = read("rule: scam\n" + line.replace("‸", ""))
    assert policy is None
    assert [(f.code, f.severity, f.place) for f in findings] == [
        (code, "error", Place("p.yaml", 2, column))
    ]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("only: {tennant: acme}", "did you mean `tenant`?"),
        ("only: {tenant: $regulatd}", "did you mean `regulated`?"),
        ("unless: [{route: x, by: b, until: 2027-01-31}]", "say why"),
        ("unless: [{route: x, reason: r, until: 2027-01-31}]", "by: j.doe"),
        ("unless: [{route: x, reason: r, by: b}]", "until: 2027-01-31"),
        ("group-by: [usr]", "did you mean `user`?"),
        ("limit: 50", "50 per hour"),
        ("repeat-after: 60", "`1h`"),
        ("expires: 31.12.2027", "`2027-01-31`"),
        ("quiet-when: [scam]", "repeat-after: 24h"),
    ],
)
def test_the_hint_says_what_to_write(line: str, hint: str) -> None:
    (finding,) = read("rule: scam\n" + line)[1]
    assert finding.hint is not None
    assert hint in finding.hint


def test_an_exemption_without_anything_gets_one_complaint_for_each_thing_it_lacks() -> None:
    _, findings = read("unless: [{}]")
    assert [f.message for f in findings] == [
        "`reason` is missing",
        "`by` is missing",
        "`until` is missing",
        "no label",
    ]


def lists(text: str) -> tuple[dict[str, tuple[str, ...]], list[Finding]]:
    reader = Reader()
    return read_lists(load(text, "p.yaml"), reader), reader.findings


def test_lists_are_read_in_their_order() -> None:
    found, findings = lists("{regulated: [zeta, acme], one: ['7']}")
    assert findings == []
    assert found == {"regulated": ("zeta", "acme"), "one": ("7",)}


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("kind", "‸[a]"),
        ("kind", "{regulated: ‸acme}"),
        ("list", "{regulated: ‸[]}"),
        ("list", "{‸Regulated: [acme]}"),
        ("list", "{regulated: [‸$other]}"),
        ("duplicate", "{regulated: [acme, zeta, ‸acme]}"),
        ("kind", "{regulated: [acme, ‸7]}"),
        ("value", "{regulated: [‸" + "x" * 257 + "]}"),
        ("list", "{regulated: ‸[" + ", ".join(f"t{n}" for n in range(10_001)) + "]}"),
    ],
)
def test_each_fault_of_a_list_is_found_where_it_stands(code: str, text: str) -> None:
    found, findings = lists(text.replace("‸", ""))
    place = Place("p.yaml", 1, text.index("‸") + 1)
    assert (found, [(f.code, f.place) for f in findings]) == ({}, [(code, place)])


def test_a_list_that_is_wrong_does_not_take_the_others_with_it() -> None:
    found, findings = lists("{bad: [], good: [acme]}")
    assert found == {"good": ("acme",)}
    assert len(findings) == 1
