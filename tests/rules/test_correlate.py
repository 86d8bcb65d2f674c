"""A count fires at the hit that is one too many, whatever is forgotten on the way and after any restart.

The Correlator keeps N + 1 a group; `plain` below keeps every hit and counts all of them anew at each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.rules.correlate import Correlator, CountStats, Exceeded
from dosimeter.rules.language.counting import Count, What
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import Exemption, Policy, Whose

S = 10**9
MINUTE, HOUR = 60 * S, 3600 * S
START = 20_000 * 24 * HOUR
DAY = date(2027, 1, 1)


def count(
    what: What = "hits",
    more_than: int = 2,
    within_s: int = 3600,
    *,
    of: tuple[str, ...] = ("scam",),
    status: str = "live",
    rule: str = "burst",
    policy: Policy | None = None,
    by: tuple[str, ...] = ("tenant",),
) -> SecondRule:
    form = Count(what, of, more_than, within_s)
    policy = Policy(group_by=by) if policy is None else policy
    return SecondRule(rule, form, status, "high", "x", "sre", "", policy)


def hit(
    at: int = 0,
    request: str = "q1",
    rule: str = "scam",
    status: str = "live",
    exempt: bool = False,
    model: str = "m",
    **labels: str,
) -> Occurrence:
    return Occurrence(rule, status, START + at, request, labels, model, exempt)


def correlator(*rules: SecondRule, most: int = 1000) -> Correlator:
    found = Correlator(most)
    found.expect(rules, DAY)
    return found


def fired(c: Correlator, hits: Sequence[Occurrence], first: int = 0) -> list[int]:
    """Which of the hits made a count too many. Their ids are their numbers, from `first` on."""
    return [i for i, o in enumerate(hits, first) if c.add(o, f"{i:032x}")]


def test_it_fires_at_the_hit_that_is_one_too_many_and_names_all_that_counted() -> None:
    c = correlator(count())
    hits = [hit(i * MINUTE, f"q{i}", tenant="t9") for i in range(3)]
    assert c.add(hits[0], "a") == c.add(hits[1], "b") == []
    (found,) = c.add(hits[2], "c")
    group = (("tenant", "t9"),)
    assert found == Exceeded(count(), group, START, START + 2 * MINUTE, ("a", "b", "c"))
    assert found.count == 3


def test_it_fires_again_only_after_the_count_has_fallen_to_the_limit() -> None:
    """More than 2 an hour, by hand: at 0, 20, 40 minutes, then each hit meets two others still in the window."""
    c = correlator(count())
    at = [0, 20, 40, 59, 60, 140, 150, 160]
    hits = [hit(m * MINUTE, f"q{m}", tenant="t") for m in at]
    # 59: 3 before it. 60: 0 has left, 20, 40 and 59 are there. 140: alone. 150: two. 160: three.
    assert fired(c, hits) == [2, 7]


def test_a_window_leaves_out_its_far_end() -> None:
    c = correlator(count(more_than=1))
    assert fired(c, [hit(0, tenant="t"), hit(HOUR, tenant="t")]) == []
    c = correlator(count(more_than=1))
    assert fired(c, [hit(1, tenant="t"), hit(HOUR, tenant="t")]) == [1]


def test_groups_are_counted_apart_and_none_is_everything() -> None:
    hits = [hit(i, f"q{i}", tenant=t) for i, t in enumerate("aabbab")]
    assert fired(correlator(count()), hits) == [4, 5]
    assert fired(correlator(count(by=())), hits) == [2]
    assert fired(correlator(count(by=("tenant", "model"))), hits) == [4, 5]


def test_only_the_named_rules_count_and_exempt_hits_do_not() -> None:
    c = correlator(count(of=("deception", "scam"), more_than=1))
    hits = [
        hit(0, rule="flattery", tenant="t"),
        hit(1, exempt=True, tenant="t"),
        hit(2, tenant="t"),
        hit(3, rule="deception", tenant="t"),
    ]
    assert fired(c, hits) == [3]


def test_a_live_count_leaves_shadow_hits_aside_and_one_in_shadow_counts_both() -> None:
    hits = [hit(i, f"q{i}", status=s, tenant="t") for i, s in enumerate(("live", "shadow", "live"))]
    assert fired(correlator(count(more_than=1)), hits) == [2]
    assert fired(correlator(count(more_than=1, status="shadow")), hits) == [1]


def test_its_own_only_and_unless_say_whose_hits_count() -> None:
    exemption = Exemption(Whose.of({"route": ["training"]}), "why", "who", date(2027, 1, 1))
    only = Whose.of({"tenant": ["a"]})
    c = correlator(count(more_than=1, policy=Policy(only, (exemption,), ("tenant",))))
    hits = [
        hit(0, tenant="b"),
        hit(1, tenant="b"),
        hit(2, tenant="a", route="training"),
        hit(3, tenant="a"),
        hit(4, tenant="a"),
    ]
    assert fired(c, hits) == [4]


def test_an_exemption_that_is_over_holds_no_longer_for_the_hits_from_then_on() -> None:
    exemption = Exemption(Whose.of({"tenant": ["t"]}), "why", "who", DAY)
    rule = count(more_than=1, policy=Policy(unless=(exemption,), group_by=("tenant",)))
    c = correlator(rule)
    hits = [hit(i, f"q{i}", tenant="t") for i in range(4)]
    assert fired(c, hits[:2]) == []
    c.expect([rule], DAY + timedelta(1))
    assert fired(c, hits[2:], first=2) == [3]


def test_conversations_are_told_apart_by_a_trusted_label_within_a_tenant_else_by_request() -> None:
    hits = [
        hit(0, "q0", tenant="a", conversation="c"),
        hit(1, "q1", tenant="a", conversation="c"),  # the same
        hit(2, "q2", tenant="b", conversation="c"),  # another tenant's: second
        hit(3, "q3", tenant="a"),  # a conversation of its own: third
        hit(4, "q3", tenant="a"),
    ]
    c = correlator(count("conversations", by=()))
    assert fired(c, hits) == [3]


def test_a_hit_without_a_trusted_user_or_group_is_counted_as_unattributed() -> None:
    c = correlator(count("users", more_than=1))
    hits = [
        hit(0, tenant="a"),
        hit(1, user="u"),
        hit(2, tenant="a", user="u"),
        hit(3, tenant="a", user="u"),
        hit(4, tenant="a", user="v"),
    ]
    assert fired(c, hits) == [4]
    assert c.stats == {"burst": CountStats(1, 2, 0, 0, 2)}


def test_a_late_hit_counts_in_its_place_and_one_that_missed_its_window_does_not() -> None:
    c = correlator(count())
    hits = [
        hit(HOUR, tenant="t"),
        hit(HOUR - MINUTE, tenant="t"),  # late, and within the window that ends at the first
        hit(0, tenant="t"),  # its window ended before the first
        hit(1, tenant="t"),  # the oldest that counts
    ]
    assert fired(c, hits) == [3]
    assert c.stats["burst"].late == 1


def test_the_same_hit_again_counts_once() -> None:
    c = correlator(count())
    o = hit(0, tenant="t")
    assert [c.add(o, "a") for _ in range(5)] == [[]] * 5
    assert c.stats["burst"].entries == 1


def test_beyond_its_room_it_forgets_the_group_hit_longest_ago_and_says_so() -> None:
    c = correlator(count(), most=4)
    fired(c, [hit(i, f"q{i}", tenant=f"t{i}") for i in range(4)])
    assert c.stats["burst"] == CountStats(4, 4, 0, 0, 0)
    fired(c, [hit(5, "q9", tenant="t9")], first=9)
    assert c.stats["burst"] == CountStats(4, 4, 1, 0, 0)
    fired(c, [hit(3 * HOUR, "q10", tenant="t10")], first=10)  # what it forgets is over
    assert c.stats["burst"].evicted == 1


def test_a_rule_that_counts_as_before_keeps_its_windows_over_a_reload() -> None:
    hits = [hit(i, f"q{i}", tenant="t") for i in range(3)]
    for later, goes_on in (
        (replace(count(), severity="low", summary="y"), True),
        (count(policy=Policy(group_by=("tenant",), repeat_after_s=60)), True),
        (count(more_than=3), False),
        (count(by=()), False),
        (count(status="shadow"), False),
    ):
        c = correlator(count())
        fired(c, hits[:2])
        c.expect([later, count(rule="other")], DAY)
        found = c.add(hits[2], "c")
        assert [e.rule for e in found] == ([later] if goes_on else [])


def test_a_rule_that_is_gone_counts_no_more() -> None:
    c = correlator(count(more_than=1))
    c.expect([], DAY)
    assert fired(c, [hit(i, f"q{i}", tenant="t") for i in range(3)]) == []
    assert (c.stats, c.within_ns) == ({}, 0)


def test_a_group_that_was_hit_at_a_time_that_cannot_be_begins_anew_and_no_other() -> None:
    c = correlator(count())
    assert fired(c, [hit(24 * HOUR, "q0", tenant="a"), hit(0, "q1", tenant="b")]) == []
    c.forget(START + MINUTE)
    hits = [hit(n * MINUTE, f"q{n}{t}", tenant=t) for n in (1, 2, 3) for t in "ab"]
    assert fired(c, hits, 2) == [5, 6]  # the second of b, the third of a
    assert c.stats["burst"] == CountStats(2, 6, 0, 0, 0)


def test_it_says_how_far_back_hits_matter() -> None:
    rules = count(), count(rule="longer", within_s=7200)
    assert correlator(*rules).within_ns == 2 * HOUR


def test_no_room_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Correlator(0)


def plain(rule: SecondRule, hits: Sequence[Occurrence]) -> list[int]:
    """Which hits fire: the count of everything before, and with it, over the window of its group."""
    found: list[int] = []
    assert isinstance(rule.when, Count)
    span = rule.when.within_s * S
    groups: dict[tuple[str, ...], list[tuple[int, str]]] = {}
    for i, o in enumerate(hits):
        group = tuple(o.labels.get(name, "?") for name in rule.policy.group_by)
        if "?" in group or (rule.when.what == "users" and "user" not in o.labels):
            continue
        if o.exempt or (rule.status == "live" and o.status == "shadow"):
            continue
        tenant = o.labels.get("tenant", "")
        key = {
            "hits": f"{i}",
            "users": f"{tenant}/{o.labels.get('user')}",
            "conversations": f"{tenant}/{o.labels['conversation']}"
            if "conversation" in o.labels
            else o.request,
        }[rule.when.what]
        kept = groups.setdefault(group, [])
        end = max([o.time_ns, *(t for t, _ in kept)])
        before = {k for t, k in kept if end - span < t <= end}
        kept.append((o.time_ns, key))
        after = {k for t, k in kept if end - span < t <= end}
        if len(before) <= rule.when.more_than < len(after):
            found.append(i)
    return found


LABELS = st.fixed_dictionaries(
    {},
    optional={
        "tenant": st.sampled_from("ab"),
        "user": st.sampled_from("uvw"),
        "conversation": st.sampled_from("cdefg"),
    },
)
RULES = st.builds(
    count,
    st.sampled_from(("hits", "conversations", "users")),
    st.integers(1, 5),
    st.sampled_from((30, 60)),
    status=st.sampled_from(("live", "shadow")),
    by=st.sampled_from(((), ("tenant",), ("tenant", "user"))),
)


@st.composite
def streams(draw: st.DrawFn) -> list[Occurrence]:
    """Time goes on by 0 to 30 s, and back now and then by as much."""
    at, hits = 0, []
    for _ in range(draw(st.integers(0, 60))):
        at = max(0, at + draw(st.integers(-30, 30)) * S // draw(st.sampled_from((1, 2, 15))))
        labels = draw(LABELS)
        status = draw(st.sampled_from(("live", "live", "shadow")))
        request = f"q{draw(st.integers(0, 20))}"
        exempt = draw(st.integers(0, 9)) == 0
        hits.append(hit(at, request, status=status, exempt=exempt, **labels))
        at += draw(st.integers(0, 20)) * S
    return hits


@settings(max_examples=30, deadline=None)
@given(RULES, streams())
def test_it_fires_where_counting_everything_anew_fires(
    rule: SecondRule, hits: list[Occurrence]
) -> None:
    assert fired(correlator(rule), hits) == plain(rule, hits)


@settings(max_examples=25, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=3), streams(), st.data())
def test_a_restart_that_is_fed_the_stored_hits_again_changes_nothing(
    rules: list[SecondRule], hits: list[Occurrence], data: st.DataObject
) -> None:
    """Fed are the hits of the last window and some before it, in any order, some of them twice."""
    rules = [replace(rule, id=f"r{i}") for i, rule in enumerate(rules)]
    cut = data.draw(st.integers(0, len(hits)))
    one, other = correlator(*rules), correlator(*rules)
    fired(one, hits[:cut])
    since = max((o.time_ns for o in hits[:cut]), default=0) - one.within_ns
    # a group's own clock may stand: its last window may lie before everybody's
    last = {tuple(sorted(o.labels.items())): o.time_ns for o in hits[:cut]}
    since = min([since, *(t - one.within_ns for t in last.values())])
    stored = [(o, f"{i:032x}") for i, o in enumerate(hits[:cut]) if o.time_ns > since]
    for o, event_id in data.draw(st.permutations(stored)) + stored[::3]:
        other.add(o, event_id)
    for i, o in enumerate(hits[cut:], cut):
        assert one.add(o, f"{i:032x}") == other.add(o, f"{i:032x}")


@given(RULES, streams())
def test_it_remembers_no_more_than_one_too_many_of_each_group(
    rule: SecondRule, hits: list[Occurrence]
) -> None:
    c = correlator(rule)
    fired(c, hits)
    assert isinstance(rule.when, Count)
    stats = c.stats["burst"]
    assert stats.entries <= stats.groups * (rule.when.more_than + 1)
