"""Counted over a fleet, whoever counts and however often it changes hands, hits make the records of one process."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dosimeter.monitor.counts import Counts
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.fleet.hit import FleetHit
from dosimeter.monitor.fleet.partition import SLACK_NS, PartitionCounts, reach_ns
from dosimeter.rules.language.counting import Count, What
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import Limit, Policy

S = 10**9
START = 20_000 * 86_400 * S
DAY = date(2027, 1, 1)


def rule(
    name: str = "burst",
    what: What = "hits",
    more_than: int = 2,
    within_s: int = 3600,
    policy: Policy | None = None,
) -> SecondRule:
    policy = policy or Policy(group_by=("tenant",), repeat_after_s=7200)
    form = Count(what, ("scam",), more_than, within_s)
    return SecondRule(name, form, "live", "high", "x", "sre", "", policy)


def hit(minute: int, n: int, tenant: str = "t", count: str = "burst") -> FleetHit:
    labels = {"tenant": tenant, "conversation": f"c{n}"}
    of = Occurrence("scam", "live", START + minute * 60 * S, f"q{n}", labels, "m")
    return FleetHit(count, f"{n:032x}", of)


def alone(rules: Sequence[SecondRule], hits: Sequence[FleetHit]) -> list[tuple[str, str]]:
    """What one process makes of them: event id and decision."""
    counts = Counts(Decisions("p"))
    counts.expect(rules, DAY)
    return told(found for one in hits for found in counts.add(one.of, one.event_id))


def told(decided: object) -> list[tuple[str, str]]:
    return [(d.record.event_id, d.decision) for d in decided]  # type: ignore[attr-defined]


def started(rules: Sequence[SecondRule]) -> PartitionCounts:
    found = PartitionCounts("p")
    found.expect(rules, DAY)
    return found


@settings(max_examples=150, deadline=None)
@given(
    minutes=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    tenants=st.lists(st.sampled_from("ab"), min_size=60, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    what=st.sampled_from(["hits", "conversations"]),
)
def test_a_partition_that_changes_hands_makes_the_records_of_one_that_did_not(
    minutes: list[int], tenants: list[str], cuts: list[int], what: What
) -> None:
    """Time goes on by each number of minutes; at each cut somebody else reads again from what is needed."""
    rules = [rule(what=what, policy=Policy(group_by=("tenant",)))]
    hits = hits_of(minutes, tenants, what)
    assert handed_on(rules, hits, cuts) == alone(rules, hits)


@settings(max_examples=150, deadline=None)
@given(
    minutes=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    tenants=st.lists(st.sampled_from("ab"), min_size=60, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=1),
)
@example([0] * 17 + [1, 0, 20, 40, 19, 40, 21, 40, 0], ["a"] * 60, [25])  # out of step
def test_after_a_change_of_hands_a_repeat_comes_at_most_one_repeat_after_late(
    minutes: list[int], tenants: list[str], cuts: list[int]
) -> None:
    """When a group was last told hangs on when it was told before that, and so on: no window reaches so far back."""
    rules, hits = [rule()], hits_of(minutes, tenants, "hits")
    found, expected = handed_on(rules, hits, cuts), alone(rules, hits)
    assert [event_id for event_id, _ in found] == [event_id for event_id, _ in expected]
    when = dict(zip((e for e, _ in expected), times_of(rules, hits), strict=True))
    last: dict[str, int] = {}
    for event_id, decision in found:
        tenant, time_ns = when[event_id]
        if decision == "notified":
            last[tenant] = time_ns
        else:
            assert time_ns - last[tenant] < 2 * 7200 * S


def hits_of(minutes: Sequence[int], tenants: Sequence[str], what: What) -> list[FleetHit]:
    now, hits = 0, []
    for n, step in enumerate(minutes):
        now += step
        hits.append(hit(now, n % 17 if what == "conversations" else n, tenants[n]))
    return hits


def handed_on(
    rules: Sequence[SecondRule], hits: Sequence[FleetHit], cuts: Sequence[int]
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    counts = started(rules)
    for offset, one in enumerate(hits):
        if offset in cuts:
            needed, counts = counts.needed(), started(rules)
            for again in range(offset if needed is None else needed, offset):
                counts.take(again, hits[again])
            counts.told_before()
        found += told(counts.take(offset, one))
    return found


def times_of(rules: Sequence[SecondRule], hits: Sequence[FleetHit]) -> list[tuple[str, int]]:
    """Tenant and time of each record that one process makes."""
    counts = Counts(Decisions("p"))
    counts.expect(rules, DAY)
    return [
        (one.of.labels["tenant"], one.of.time_ns)
        for one in hits
        for _ in counts.add(one.of, one.event_id)
    ]


def test_what_lies_before_every_window_is_not_needed_again() -> None:
    """An hour's window, two of `repeat-after`, a minute of slack: after ten hours, at most a 64th part more."""
    rules = [rule()]
    counts = started(rules)
    for n in range(600):
        counts.take(n, hit(n, n))
    needed = counts.needed()
    assert reach_ns(rules) == (3600 + 7200) * S + SLACK_NS == 181 * 60 * S
    assert needed is not None
    assert 599 - 181 - 4 <= needed <= 599 - 181


def test_nothing_is_needed_of_a_partition_without_hits() -> None:
    assert started([rule()]).needed() is None


def test_a_hit_that_comes_twice_counts_once() -> None:
    counts = started([rule(more_than=2)])
    found = [counts.take(n, hit(0, n // 2)) for n in range(5)]  # ids 0 0 1 1 2
    assert [len(one) for one in found] == [0, 0, 0, 0, 1]


def test_a_hit_of_a_rule_that_is_not_in_force_here_is_counted_as_such() -> None:
    counts = started([rule()])
    assert counts.take(0, hit(0, 1, count="gone")) == []
    assert counts.seen == {"unknown": 1}


def test_a_rule_that_counts_as_before_keeps_its_windows_and_one_that_is_gone_counts_anew() -> None:
    counts = started([rule(more_than=1)])
    counts.take(0, hit(0, 1))
    counts.expect([rule(more_than=1)], DAY)
    assert len(counts.take(1, hit(1, 2))) == 1
    counts.expect([], DAY)
    counts.expect([rule(more_than=1)], DAY)
    assert counts.take(2, hit(2, 3)) == []


def test_a_limit_is_one_over_all_groups_of_the_partition_and_its_digest_is_told_once() -> None:
    policy = Policy(group_by=("tenant",), limit=Limit(1, "hour"))
    rules = [rule(more_than=1, policy=policy)]
    counts = started(rules)
    hits = [hit(n, n, tenant) for n, tenant in enumerate("aabbccdd")]
    found = told(d for n, one in enumerate(hits) for d in counts.take(n, one))
    assert [word for _, word in found] == ["notified", "limited", "limited", "limited"]
    (digest,) = counts.digests(START + 2 * 3600 * S)
    again = started(rules)
    for n, one in enumerate(hits):
        again.take(n, one)
    again.told_before()
    (the_same,) = again.digests(START + 2 * 3600 * S)
    assert digest.record == the_same.record


def test_each_hit_is_tallied_once_by_what_became_of_it() -> None:
    counts = started([rule(within_s=3600)])
    nobody = Occurrence("scam", "live", START + 121 * 60 * S, "q9", {"conversation": "c"}, "m")
    hits = [
        hit(0, 0),
        hit(120, 1),
        hit(10, 2),  # its window was over when it came
        FleetHit("burst", f"{9:032x}", nobody),
        hit(121, 3, count="another"),
    ]
    for offset, one in enumerate(hits):
        counts.take(offset, one)
    assert counts.tally() == {"counted": 2, "late": 1, "unattributed": 1, "unknown": 1}
