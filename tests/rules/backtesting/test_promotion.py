"""A rule's next status: which conditions hold, and what is missing where one does not."""

from __future__ import annotations

from typing import Any

import pytest

from dosimeter.rules.backtesting.promotion import (
    DAY_NS,
    Condition,
    Needs,
    Shadowed,
    fires_alike,
    rewritten,
    watched_well,
    written_well,
)
from dosimeter.rules.language.schema import Rule, parse_rules
from dosimeter.rules.linting.lint import lint
from dosimeter.rules.testing.tested import run_tests

TEXT = """\
version: 1   # ours
rules:
  - rule: hot
    status: "shadow"  # since the spring
    when: {feature: scam, in: answer, above: z 2, for: 3 tokens}
    severity: low
    owner: us
    summary: "hot"
    tests:
      - name: fires
        stream: [{answer: {scam: "3*3"}}]
        expect: [{at: answer 3}]
      - name: does not
        stream: [{answer: {scam: "3*2 1"}}]
        expect: []
  - {rule: other, status: shadow, when: {feature: scam, in: answer, above: z 9}, severity: low, summary: x}
"""
NOW = 1000 * DAY_NS


def hot(text: str = TEXT) -> Rule:
    return parse_rules(text).rule("hot")


def by_name(conditions: list[Condition]) -> dict[str, Condition]:
    return {one.name: one for one in conditions}


def sent(n: int, days: float = 8, of: Rule | None = None, **more: Any) -> list[dict[str, Any]]:
    """So many records of notifications, the first so many days ago."""
    first, span = NOW - int(days * DAY_NS), int(days * DAY_NS)
    return [
        {
            "event_id": f"{i:032x}",
            "kind": "alert",
            "status": "shadow",
            "would_act": True,
            "time_ns": first + span * i // n,
            "rule_sha256": (of or hot()).sha256,
        }
        | more
        for i in range(n)
    ]


def seen(records: list[dict[str, Any]], since_ns: int | None = None) -> Shadowed:
    return Shadowed.of(hot(), records, {hot().sha256: hot().as_json()}, since_ns, NOW)


def labels(right: int, wrong: int) -> dict[str, bool]:
    return {f"{i:032x}": i < right for i in range(right + wrong)}


def judged(right: int, wrong: int, of: int = 30, **needs: Any) -> dict[str, Condition]:
    found = watched_well(hot(), seen(sent(of)), labels(right, wrong), Needs(**needs))
    return by_name(found)


def test_with_all_the_evidence_every_condition_is_met() -> None:
    found = judged(18, 4)
    assert {name for name, one in found.items() if one.met is False} == set()
    assert found["shadow"].found == "8.0 of 7 days, since 1972-09-19"
    assert found["labels"].found == "22 of 20, from 30 notifications"


def test_missing_labels_are_counted() -> None:
    found = judged(8, 0)["labels"]
    assert (found.met, found.todo) == (False, "label 12 more")


@pytest.mark.parametrize(("right", "met"), [(14, False), (15, True)])
def test_precision_is_judged_by_its_lower_bound(right: int, met: bool) -> None:
    """Wilson's 95 % interval of 14 in 20 is 0.481 to 0.855, of 15 in 20 0.531 to 0.888."""
    found = judged(right, 20 - right)["precision"]
    assert found.met is met
    interval = "0.53 to 0.89" if met else "0.48 to 0.85"
    assert found.found == f"{right} of 20 right: {interval}"


def test_how_many_labels_would_do_is_said() -> None:
    """The bound is at 0.5 where n = 1.96^2 x 0.25 / (0.7 - 0.5)^2 = 24.01: 25 labels, 5 more than 20."""
    assert judged(14, 6)["precision"].todo == "label 5 more, if as many of them are right"
    assert judged(9, 11)["precision"].todo == "raise its level: at least 0.5 is wanted"
    assert judged(0, 0)["precision"].todo == "label what it would have sent"


def test_labels_of_other_alerts_are_no_evidence_and_said_to_be() -> None:
    found = by_name(
        watched_well(hot(), seen(sent(3)), {f"{i:032x}": True for i in range(2, 40)}, Needs())
    )
    assert found["labels"].found == "1 of 20, from 3 notifications (37 labels are of other alerts)"


def test_what_would_not_have_been_sent_is_not_counted() -> None:
    held_back = sent(5, would_act=False, event_id="f" * 32)
    live = sent(5, status="live", event_id="e" * 32)
    digest = sent(5, kind="digest", event_id="d" * 32)
    assert len(seen([*sent(4), *held_back, *live, *digest]).sent) == 4


def test_hits_of_a_version_that_asked_for_something_else_are_no_evidence() -> None:
    other = hot(TEXT.replace("z 2", "z 1"))
    texts = {rule.sha256: rule.as_json() for rule in (hot(), other)}
    found = Shadowed.of(hot(), [*sent(4, 20, other), *sent(3, 2)], texts, None, NOW)
    assert len(found.sent) == 3
    assert found.since_ns == NOW - 2 * DAY_NS


def test_another_owner_or_summary_is_the_same_rule_and_another_level_is_not() -> None:
    text = hot().as_json()
    assert fires_alike(text, hot(TEXT.replace("owner: us", "owner: them")).as_json())
    assert fires_alike(text, hot(TEXT.replace('"hot"', '"hotter"')).as_json())
    assert not fires_alike(text, hot(TEXT.replace("z 2", "z 2.1")).as_json())
    only = TEXT.replace("    owner: us", "    owner: us\n    only: {tenant: [a]}")
    assert not fires_alike(text, hot(only).as_json())


def test_a_week_in_shadow_is_waited_for() -> None:
    found = by_name(watched_well(hot(), seen(sent(30, days=4.5)), labels(20, 0), Needs()))
    assert found["shadow"].met is False
    assert found["shadow"].todo == "wait until 1972-09-29"  # day 1000 is the 27th


def test_a_rule_that_never_fired_needs_to_be_told_since_when_it_ran() -> None:
    found = by_name(watched_well(hot(), seen([]), {}, Needs()))
    assert found["shadow"].met is False
    assert "--since" in found["shadow"].todo
    told = by_name(watched_well(hot(), seen([], NOW - 9 * DAY_NS), {}, Needs()))
    assert told["shadow"].met
    # Nothing in nine days: at most 3.689 were to be expected, by Garwood's interval.
    assert told["notifications"].found == "0 a day (0 to 0.41)"


def test_notifications_a_day_come_with_their_interval() -> None:
    """Garwood's exact interval of 10 events is 4.795 to 18.39."""
    found = by_name(watched_well(hot(), seen(sent(10, days=10)), {}, Needs()))
    assert found["notifications"].found == "1 a day (0.48 to 1.84)"


def test_nobody_goes_live_without_an_owner() -> None:
    rule = hot(TEXT.replace("    owner: us\n", ""))
    found = by_name(watched_well(rule, seen(sent(30)), labels(20, 0), Needs()))
    assert (found["owner"].met, found["owner"].todo) == (False, "say who answers for it: `owner`")


@pytest.mark.parametrize(
    ("before", "after", "found", "todo"),
    [
        ("", "", "1 fire and 1 do not; all pass", ""),
        ('"3*3"', '"3*2"', "1 of 2 fail", "mend `fires`, rules.yaml:10:15"),
        ("expect: [{at: answer 3}]", "expect: []", "1 of 2 fail", "mend `fires`, rules.yaml:10:15"),
        ('"3*2 1"', '"3*4"', "1 of 2 fail", "mend `does not`, rules.yaml:13:15"),
    ],
)
def test_tests_have_to_be_there_and_pass(before: str, after: str, found: str, todo: str) -> None:
    (tested,) = run_tests([hot(TEXT.replace(before, after) if before else TEXT)])
    condition = by_name(written_well(tested, []))["tests"]
    assert (condition.met, condition.found, condition.todo) == (not todo, found, todo)


def test_tests_that_only_fire_show_one_side() -> None:
    text = TEXT.replace('"3*2 1"', '"3*3"').replace("expect: []", "expect: [{at: answer 3}]")
    (tested,) = run_tests([hot(text)])
    condition = by_name(written_well(tested, []))["tests"]
    assert (condition.met, condition.todo) == (False, "write one that does not fire")


def test_what_lint_says_of_the_file_is_in_the_way(tmp_path: Any) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(TEXT.replace("summary: x", 'summary: "{nonsense}"'))
    (tested,) = run_tests([hot()])
    condition = by_name(written_well(tested, lint([file])))["lint"]
    assert condition.met is False
    assert condition.found.startswith(f"{file}:16:")


def test_only_the_status_is_rewritten() -> None:
    changed = rewritten(TEXT, hot(), "live")
    assert changed == TEXT.replace('"shadow"  # since', '"live"  # since')
    flow = rewritten(TEXT, parse_rules(TEXT).rule("other"), "live")
    assert flow == TEXT.replace("other, status: shadow", "other, status: live")


def test_a_file_that_changed_meanwhile_is_left_alone() -> None:
    with pytest.raises(ValueError, match=r"rules\.yaml:4:13: no `shadow` here"):
        rewritten("# new first line\n" + TEXT, hot(), "live")
