"""A whole plan: what it changes is listed with the values that decided, and weights stand for requests."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from plan_scene import COLUMNS, calibration, rules

from dosimeter.detectors.frames import CODES_PER_SD
from dosimeter.rules.language.schema import RuleSet
from dosimeter.rules.planning.proposal import LISTED, Proposal, propose
from dosimeter.rules.planning.reach import Requests

CALIBRATION = calibration(900, per_day=2000)
RULES = rules(
    "{feature: deception, in: answer, above: 1 in 60 answers}",
    "{feature: scam, in: answer, above: 1 in 20 answers, average: 3 tokens}",
    severities=("critical", "low"),
)


def plan(traffic: list[Requests] | None = None, **more: object) -> Proposal:
    given = {"budget": 80, "per_day": 2000} | more
    ruleset = RuleSet(given.pop("ruleset", RULES))  # type: ignore[arg-type]
    return propose(
        ruleset, COLUMNS, [CALIBRATION], traffic or [Requests.of(CALIBRATION)],
        **given,  # type: ignore[arg-type]
    )  # fmt: skip


def test_changes_are_those_of_the_unions_with_the_value_that_decided() -> None:
    found = plan()
    was, will = (
        found.evidence.union([dial.now or 0 for dial in found.dials]),
        found.evidence.union(found.positions),
    )
    assert found.added.requests == (will & ~was).sum() > 0
    assert found.removed.requests == (was & ~will).sum() > LISTED
    assert len(found.removed.listed) == LISTED
    assert {int(c.request) for c in found.added.listed} <= set(np.flatnonzero(will & ~was).tolist())
    part = Requests.of(CALIBRATION)
    for change in found.added.listed:
        assert change.rule == "r0"
        begin, end = CALIBRATION.offsets[int(change.request) : int(change.request) + 2]
        answer = part.codes["deception"][begin + 3 : end]
        beyond = found.dials[0].thresholds[found.positions[0]][0]
        assert change.value == pytest.approx(answer[answer > beyond][0] / CODES_PER_SD)


def test_a_request_of_weight_two_is_two_requests() -> None:
    whole = Requests.of(CALIBRATION)
    twice = plan([whole, whole])
    heavy = plan([replace(whole, weights=np.full(900, 2.0))])
    assert heavy.positions == twice.positions
    assert heavy.planned.total.expected == pytest.approx(twice.planned.total.expected)
    now, then = heavy.planned.total, twice.planned.total
    assert now.high - now.low > then.high - then.low


def test_only_and_unless_count_where_traffic_can_answer_and_not_where_it_cannot() -> None:
    route = rules(
        "{feature: deception, in: answer, above: 1 in 20 answers}",
        more="    only: {route: [web]}\n",
    )
    tenant = rules(
        "{feature: deception, in: answer, above: 1 in 20 answers}", more="    only: {tenant: [x]}\n"
    )
    model = rules(
        "{feature: deception, in: answer, above: 1 in 20 answers}", more="    only: {model: [x]}\n"
    )
    of = [(1, route, 3), (2, tenant, 1), (3, model, 1)]
    for _, ruleset, share in of:
        found = plan(ruleset=ruleset)
        alone = plan(ruleset=(replace(ruleset[0], policy=RULES[0].policy),))
        now, all_ = (
            int((p.evidence.first[:, 0] <= (p.dials[0].now or 0)).sum()) for p in (found, alone)
        )
        assert all_ / share * 0.5 < now < all_ / share * 1.6 if share > 1 else now == all_


def test_only_by_model_is_asked_of_traffic_whose_model_is_known() -> None:
    ruleset = rules(
        "{feature: deception, in: answer, above: 1 in 20 answers}", more="    only: {model: [x]}\n"
    )
    fires = [(plan(ruleset=ruleset, model=m).evidence.first == 0).any() for m in ("x", "y")]
    assert fires == [True, False]


def test_what_is_over_on_the_day_of_the_plan_takes_and_spares_nobody_a_review() -> None:
    """A rule that had expired had been given a share, and an exemption that was over had kept reviews away."""
    when, day = "{feature: deception, in: answer, above: 1 in 20 answers}", date(2026, 6, 1)
    until = "    unless: [{route: [app, web], reason: r, by: b, until: 2026-05-31}]\n"
    exempt = rules(when, more=until)
    fires = [(plan(ruleset=exempt, day=d).evidence.first == 0).any() for d in (None, day)]
    assert fires == [False, True]
    found = plan(ruleset=rules(when, more="    expires: 2026-05-31\n"), day=day)
    assert (found.dials, list(found.refused)) == ((), ["r0"])
    assert plan(ruleset=rules(when, more="    expires: 2026-06-01\n"), day=day).dials


def test_shadow_rules_are_left_alone_until_asked_for() -> None:
    ruleset = (RULES[0], replace(RULES[1], status="shadow"))
    assert plan(ruleset=ruleset).left == ("r1",)
    assert [k.rule for k in plan(ruleset=ruleset, shadow=True).knobs] == ["r0", "r1"]


def test_a_rule_that_nothing_can_place_is_named_and_the_others_planned() -> None:
    odd = rules("{feature: defection, in: answer, above: 1 in 20 answers}")
    found = plan(ruleset=(RULES[1], replace(odd[0], id="odd")))
    assert found.refused == {"odd": "no loaded pack scores `defection`"}
    assert [k.rule for k in found.knobs] == ["r1"]


def test_what_is_planned_reads_as_a_rule_of_the_same_id() -> None:
    found = plan()
    assert [rule.id for _, _, rule in found.planned_rules()] == ["r0", "r1"]
    assert found.choice.fits
    assert found.planned.total.expected <= 80
    assert found.bound > found.planned.total.expected


def test_no_live_rule_is_an_empty_plan() -> None:
    found = plan(ruleset=())
    assert found.knobs == ()
    assert found.planned.total.high == 0 or found.planned.total.expected == 0


def test_labels_say_what_is_caught_by_the_names_of_requests() -> None:
    first = plan().evidence.first
    fires = np.flatnonzero(first[:, 0] == 0)[:4]
    labels = {str(i): True for i in fires.tolist()} | {str(i): False for i in range(0, 900, 9)}
    found = plan(labels=labels)
    assert found.catch is not None
    assert found.catch.positives == 4 - sum(i % 9 == 0 for i in fires.tolist())
    assert found.catch.caught == found.catch.positives
