"""Every hit gets one decision, a digest is exact, and a restart changes neither.

The Decider keeps a little and forgets in time; `plain` below keeps every hit and looks through all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.rules.decide import Decider, Decision, Stats
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import Exemption, Limit, Policy, Whose
from dosimeter.rules.remembered import Digest

S = 10**9
MINUTE, HOUR, DAY = 60 * S, 3600 * S, 86_400 * S
START = 20_000 * DAY + 10 * HOUR  # on the hour


def hit(
    at: int = 0,
    rule: str = "scam",
    request: str = "q1",
    status: str = "live",
    exempt: bool = False,
    model: str = "m",
    **labels: str,
) -> Occurrence:
    return Occurrence(rule, status, START + at, request, labels, model, exempt)


def words(decider: Decider, policy: Policy, hits: Sequence[Occurrence]) -> list[str]:
    return [decider.decide(o, policy).decision for o in hits]


def test_without_a_policy_every_live_hit_notifies_and_no_shadow_hit_does() -> None:
    decider = Decider()
    assert decider.decide(hit(), Policy()) == Decision("notified", True, "")
    assert decider.decide(hit(), Policy()) == Decision("notified", True, "")
    shadow = decider.decide(hit(status="shadow"), Policy())
    assert shadow == Decision("shadow", True, "the rule is in shadow")


def test_an_exempt_hit_says_why_and_who_says_so() -> None:
    whose = Whose.of({"route": ["fraud-training"]})
    exemption = Exemption(whose, "course material quotes scams", "j.doe", date(2027, 1, 31))
    policy = Policy(unless=(exemption,), repeat_after_s=3600)
    decider = Decider()
    reason = "course material quotes scams (j.doe)"
    o = hit(exempt=True, route="fraud-training")
    assert decider.decide(o, policy) == Decision("exempt", False, reason)
    assert decider.decide(replace(o, status="shadow"), policy) == Decision("shadow", False, reason)
    assert decider.decide(hit(1), policy).decision == "notified"  # exempt hits leave no trace


def test_a_group_notifies_once_in_its_time_and_again_when_it_is_over() -> None:
    policy = Policy(group_by=("tenant", "user"), repeat_after_s=3600)
    decider = Decider()
    hits = [
        hit(0, request="q1", tenant="acme", user="u"),
        hit(1, request="q2", tenant="acme", user="u"),
        hit(2, request="q3", tenant="acme", user="v"),
        hit(HOUR - 1, request="q4", tenant="acme", user="u"),
        hit(HOUR, request="q5", tenant="acme", user="u"),
        hit(HOUR + 1, request="q6", tenant="acme", user="u"),
    ]
    decided = [decider.decide(o, policy) for o in hits]
    assert [d.decision for d in decided] == [
        "notified",
        "deduped",
        "notified",
        "deduped",
        "notified",
        "deduped",
    ]
    reason = "notified for this tenant and user less than 1h ago"
    assert decided[1] == Decision("deduped", False, reason)


def test_without_a_vouched_label_the_group_is_the_request() -> None:
    policy = Policy(group_by=("tenant", "user"), repeat_after_s=3600)
    decider = Decider()
    hits = [
        hit(0, request="q1", tenant="acme"),
        hit(1, request="q2", tenant="acme"),
        hit(2, request="q2", tenant="acme"),
    ]
    assert words(decider, policy, hits) == ["notified", "notified", "deduped"]
    reason = decider.decide(hits[2], policy).reason
    assert reason == "notified for this request less than 1h ago"


def test_a_model_is_a_group_though_it_is_no_label() -> None:
    policy = Policy(group_by=("model",), repeat_after_s=3600)
    hits = [hit(request="q1"), hit(request="q2"), hit(request="q3", model="other")]
    assert words(Decider(), policy, hits) == ["notified", "deduped", "notified"]


def test_a_limit_counts_in_windows_from_the_epoch_and_its_digest_is_exact() -> None:
    policy = Policy(limit=Limit(2, "hour"))
    decider = Decider()
    times = [30 * MINUTE, 40 * MINUTE, 50 * MINUTE, 55 * MINUTE, 59 * MINUTE, HOUR]
    hits = [hit(at, request=f"q{at % (50 * MINUTE)}") for at in times]
    assert words(decider, policy, hits) == ["notified"] * 2 + ["limited"] * 3 + ["notified"]
    assert decider.decide(hit(HOUR), policy).reason == ""
    assert decider.decide(hit(HOUR), policy).reason == "beyond 2 per hour"
    digest = Digest("scam", START, START + HOUR, 2, 3, 3, False)
    assert decider.due(START + HOUR) == [digest]
    assert decider.due(START + 2 * HOUR - 1) == []
    assert decider.due(START + 2 * HOUR) == [
        Digest("scam", START + HOUR, START + 2 * HOUR, 2, 1, 1, False)
    ]


def test_a_window_in_which_nothing_was_limited_has_no_digest() -> None:
    decider = Decider()
    assert words(decider, Policy(limit=Limit(1, "minute")), [hit(0), hit(MINUTE)]) == [
        "notified",
        "notified",
    ]
    assert decider.due(START + DAY) == []


@pytest.mark.parametrize("first", ["hourly", "every-minute"])
def test_a_digest_comes_as_soon_as_its_own_window_has_ended(first: str) -> None:
    policies = {
        "hourly": Policy(limit=Limit(1, "hour")),
        "every-minute": Policy(limit=Limit(1, "minute")),
    }
    decider = Decider()
    for rule in sorted(policies, reverse=first != "every-minute"):
        assert words(decider, policies[rule], [hit(rule=rule)] * 2) == ["notified", "limited"]
    assert decider.due(START + MINUTE - 1) == []
    assert [d.rule for d in decider.due(START + MINUTE)] == ["every-minute"]
    assert decider.due(START + HOUR - 1) == []
    assert [d.rule for d in decider.due(START + HOUR)] == ["hourly"]


def test_a_hit_that_comes_late_counts_as_if_it_were_new() -> None:
    policy = Policy(limit=Limit(1, "hour"))
    decider = Decider()
    assert words(decider, policy, [hit(HOUR), hit(HOUR - 1)]) == ["notified", "limited"]
    assert decider.due(START + 2 * HOUR)[0].from_ns == START + HOUR
    assert decider.decide(hit(HOUR), policy).decision == "notified"  # due closed its hour


@pytest.mark.parametrize(
    ("at", "request_", "tenant", "decision"),
    [
        (1, "q1", "acme", "silenced"),
        (DAY - 1, "q1", "acme", "silenced"),
        (DAY, "q1", "acme", "notified"),
        (1, "q2", "acme", "notified"),
    ],
)
def test_the_notification_of_a_worse_rule_about_the_request_is_enough_for_a_day(
    at: int, request_: str, tenant: str, decision: str
) -> None:
    policy = Policy(quiet_when=("worse",))
    decider = Decider()
    decider.expect([policy])
    decider.decide(hit(rule="worse", tenant=tenant), Policy())
    assert decider.decide(hit(at, request=request_, tenant=tenant), policy).decision == decision


def test_quiet_when_goes_by_the_group_of_the_rule_that_is_silenced() -> None:
    policy = Policy(group_by=("tenant",), quiet_when=("worse",))
    decider = Decider()
    decider.expect([policy])
    decider.decide(hit(rule="worse", request="q1", tenant="acme"), Policy())
    decider.decide(hit(rule="worse", request="q9"), Policy())
    decided = decider.decide(hit(1, request="q2", tenant="acme"), policy)
    assert decided == Decision("silenced", False, "`worse` notified for this tenant")
    assert decider.decide(hit(1, request="q2", tenant="zeta"), policy).decision == "notified"
    decided = decider.decide(hit(1, request="q9"), policy)
    assert decided.reason == "`worse` notified for this request"


def test_only_what_was_sent_silences_what_is_live() -> None:
    policy = Policy(quiet_when=("worse",))
    decider = Decider()
    decider.expect([policy])
    decider.decide(hit(rule="worse", status="shadow"), Policy())
    assert decider.decide(hit(1), policy).decision == "notified"
    shadow = decider.decide(hit(1, status="shadow"), policy)
    assert shadow == Decision("shadow", False, "`worse` notified for this request")


def test_what_a_silencing_rule_was_kept_from_sending_silences_nobody() -> None:
    policy = Policy(quiet_when=("worse",))
    worse = Policy(limit=Limit(1, "day"))
    decider = Decider()
    decider.expect([policy])
    assert words(decider, worse, [hit(rule="worse"), hit(rule="worse", request="q2")]) == [
        "notified",
        "limited",
    ]
    assert decider.decide(hit(1, request="q2"), policy).decision == "notified"


def test_what_was_only_shadow_holds_nothing_back_once_the_rule_is_live() -> None:
    policy = Policy(repeat_after_s=3600, limit=Limit(1, "day"))
    decider = Decider()
    shadow = [decider.decide(hit(at, status="shadow"), policy) for at in (0, 1)]
    assert [(d.decision, d.would_act) for d in shadow] == [("shadow", True), ("shadow", False)]
    assert words(decider, policy, [hit(2), hit(3)]) == ["notified", "deduped"]
    assert decider.due(START + 2 * DAY) == []  # a digest tells what live rules kept back


def test_the_first_stage_that_holds_a_hit_back_is_its_decision() -> None:
    policy = Policy(quiet_when=("worse",), repeat_after_s=60, limit=Limit(1, "day"))
    decider = Decider()
    decider.expect([policy])
    assert words(decider, policy, [hit(0), hit(1), hit(MINUTE)]) == [
        "notified",
        "deduped",
        "limited",
    ]
    decider.decide(hit(rule="worse"), Policy())
    assert decider.decide(hit(MINUTE), policy).decision == "silenced"
    assert decider.decide(hit(MINUTE, exempt=True), policy).decision == "exempt"
    assert decider.due(START + DAY)[0].limited == 1


def test_an_evicted_group_notifies_again_and_is_counted() -> None:
    policy = Policy(repeat_after_s=3600)
    decider = Decider(max_groups=2)
    hits = [hit(at, request=f"q{n}") for at, n in enumerate((1, 2, 3, 3, 1))]
    assert words(decider, policy, hits) == ["notified"] * 3 + ["deduped", "notified"]
    assert decider.stats == Stats(groups=2, evicted=2)


def test_a_changed_policy_keeps_what_was_counted_and_never_mixes_groupings() -> None:
    decider = Decider()
    o = hit(tenant="x", user="x")
    assert decider.decide(o, Policy(group_by=("tenant",), repeat_after_s=60)).would_act
    assert decider.decide(o, Policy(group_by=("user",), repeat_after_s=60)).would_act
    longer = Policy(group_by=("tenant",), repeat_after_s=3600)
    assert decider.decide(replace(o, time_ns=o.time_ns + 2 * MINUTE), longer).decision == "deduped"
    decider = Decider()
    assert words(decider, Policy(limit=Limit(2, "hour")), [hit(), hit()]) == ["notified"] * 2
    assert words(decider, Policy(limit=Limit(3, "hour")), [hit(), hit()]) == ["notified", "limited"]
    assert decider.due(START + HOUR)[0].notified == 3


def test_a_changed_window_leaves_the_count_of_the_old_one_for_its_digest() -> None:
    decider = Decider()
    assert words(decider, Policy(limit=Limit(1, "hour")), [hit(), hit()]) == ["notified", "limited"]
    assert words(decider, Policy(limit=Limit(1, "day")), [hit(), hit()]) == ["notified", "limited"]
    assert [(d.to_ns, d.limited) for d in decider.due(START + DAY)] == [
        (START + HOUR, 1),
        (START + 14 * HOUR, 1),
    ]


def test_a_digest_that_went_out_before_the_restart_does_not_go_out_again() -> None:
    policy = Policy(limit=Limit(1, "hour"))
    before, after = Decider(), Decider()
    for o in (hit(0), hit(1)):
        after.restore(o, policy, before.decide(o, policy))
    (digest,) = before.due(START + HOUR)
    after.restore_digest(digest)
    assert after.due(START + DAY) == []
    assert after.decide(hit(2), policy).decision == "notified"  # late, and its hour is closed


def test_a_digest_that_came_within_its_window_leaves_the_rest_of_it_for_another() -> None:
    policy = Policy(limit=Limit(1, "hour"))
    decider = Decider()
    assert words(decider, policy, [hit(), hit(1), hit(2)]) == ["notified", "limited", "limited"]
    told = Digest("scam", START, START + HOUR, 1, 2, 1, False)
    decider.restore_digest(told, early=True)
    assert words(decider, policy, [hit(3), hit(4)]) == ["notified", "limited"]
    assert decider.due(START + HOUR) == [replace(told, limited=1)]


def test_rules_that_are_gone_are_forgotten_at_a_reload_once_nothing_of_them_matters() -> None:
    decider, by = Decider(), ("tenant",)
    once, quiet = Policy(group_by=by, repeat_after_s=60), Policy(group_by=by, quiet_when=("r0",))
    decider.expect([quiet])
    for n in range(50):
        policy = Policy(limit=Limit(1, "minute")) if n == 7 else once
        for status in ("live", "shadow"):
            hits = [hit(n, f"r{n}", status=status, tenant=f"t{k}") for k in range(3)]
            words(decider, policy, hits)
    decider.expect([quiet])
    assert words(decider, once, [hit(99, "r3", tenant="t1")]) == ["deduped"]
    words(decider, once, [hit(2 * DAY, "now", tenant="t1")])
    decider.expect([quiet])
    assert decider.stats.groups == 1
    assert (set(decider._live), set(decider._shadow)) == ({"r7", "now"}, set())
    assert [digest.rule for digest in decider.due(2 * DAY)] == ["r7"]  # it was still owed
    words(decider, once, [hit(2 * DAY, "r0", tenant="t1")])
    assert words(decider, quiet, [hit(2 * DAY, tenant="t1")]) == ["silenced"]


def test_what_was_evicted_is_still_said_of_a_rule_that_is_forgotten() -> None:
    decider = Decider(max_groups=1)
    policy = Policy(group_by=("tenant",), repeat_after_s=60)
    words(decider, policy, [hit(n, tenant=f"t{n}") for n in range(3)])
    decider.due(START + 2 * DAY)
    decider.expect([])
    assert (decider.stats.groups, decider.stats.evicted) == (0, 2)


def test_a_decider_that_remembers_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_groups is 0"):
        Decider(max_groups=0)


# Random streams: few rules, requests and tenants, and times about the lengths that policies name.

RULES = ("a", "b", "c")
BY = st.sampled_from([(), ("tenant",), ("user",), ("tenant", "model")])
POLICY = st.builds(
    Policy,
    group_by=BY,
    repeat_after_s=st.sampled_from((0, 60, 3600, 2 * 86_400)),
    limit=st.none() | st.builds(Limit, st.integers(1, 3), st.sampled_from(("minute", "hour"))),
    quiet_when=st.sets(st.sampled_from(RULES), max_size=1).map(tuple),
)
POLICIES = st.fixed_dictionaries(dict.fromkeys(RULES, POLICY))
LABELS = st.fixed_dictionaries(
    {}, optional={"tenant": st.sampled_from("xy"), "user": st.sampled_from("xz")}
)
STEP = st.sampled_from((0, 0, 0, 1, S, 31 * S, 20 * MINUTE, HOUR, 13 * HOUR, -1, -MINUTE))


@st.composite
def streams(draw: st.DrawFn) -> list[Occurrence]:
    now, found = START, []
    for _ in range(draw(st.integers(1, 40))):
        now += draw(STEP)
        found.append(
            Occurrence(
                draw(st.sampled_from(RULES)),
                draw(st.sampled_from(("live", "live", "shadow"))),
                now,
                draw(st.sampled_from(("q1", "q2", "q3"))),
                draw(LABELS),
                draw(st.sampled_from(("m", "n"))),
                draw(st.sampled_from((False,) * 9 + (True,))),
            )
        )
    return found


def key(o: Occurrence, by: tuple[str, ...]) -> object:
    """The group under `by`, or the request."""
    values = [o.model if name == "model" else o.labels.get(name) for name in by]
    return o.request if not by or None in values else tuple(values)


def plain(hits: Sequence[Occurrence], policies: Mapping[str, Policy]) -> list[tuple[str, bool]]:
    """(decision, would act), by looking through all that went before."""
    past: list[tuple[int, Occurrence, str]] = []  # when, which, stage
    now = 0
    for o in hits:
        now = max(now, o.time_ns)
        policy = policies[o.rule]
        own = [(t, p, s) for t, p, s in past if (p.rule, p.status) == (o.rule, o.status)]
        acted = [(t, p) for t, p, s in own if s == "notified"]

        def same(p: Occurrence, o: Occurrence = o, by: tuple[str, ...] = policy.group_by) -> bool:
            return key(p, by) == key(o, by)

        quiet = any(
            p.rule in policy.quiet_when
            and stage == "notified"
            and (p.status == "live" or o.status == "shadow")
            and (same(p) or (isinstance(key(o, policy.group_by), str) and p.request == o.request))
            and now - t < DAY
            for t, p, stage in past
        )
        repeat = policy.repeat_after_s * S
        stage = "notified"
        if o.exempt:
            stage = "exempt"
        elif quiet:
            stage = "silenced"
        elif any(same(p) and now - t < repeat for t, p in acted):
            stage = "deduped"
        elif policy.limit is not None:
            window = {"minute": MINUTE, "hour": HOUR}[policy.limit.per]
            if sum(t // window == now // window for t, _ in acted) >= policy.limit.count:
                stage = "limited"
        past.append((now, o, stage))
    return [(s if o.status == "live" else "shadow", s == "notified") for _, o, s in past]


@settings(max_examples=30, deadline=None)
@given(streams(), POLICIES)
def test_decisions_are_those_of_looking_through_every_earlier_hit(
    hits: list[Occurrence], policies: dict[str, Policy]
) -> None:
    decider = Decider()
    decider.expect(policies.values())
    decided = [decider.decide(o, policies[o.rule]) for o in hits]
    assert [(d.decision, d.would_act) for d in decided] == plain(hits, policies)
    assert all(d.reason for d in decided if d.decision != "notified")


@settings(max_examples=25, deadline=None)
@given(streams(), POLICIES, st.sets(st.integers(0, 40)))
def test_digests_count_each_limited_hit_once_and_no_window_exceeds_its_limit(
    hits: list[Occurrence], policies: dict[str, Policy], asked: set[int]
) -> None:
    decider = Decider()
    decider.expect(policies.values())
    now, digests = 0, []
    expected: dict[tuple[str, int], list[object]] = {}
    sent: dict[tuple[str, int], int] = {}
    for n, o in enumerate(hits):
        now = max(now, o.time_ns)
        policy = policies[o.rule]
        decision = decider.decide(o, policy).decision
        if policy.limit is not None:
            window = {"minute": MINUTE, "hour": HOUR}[policy.limit.per]
            place = (o.rule, now - now % window)
            if decision == "limited":
                expected.setdefault(place, []).append(key(o, policy.group_by))
            elif decision == "notified":
                sent[place] = sent.get(place, 0) + 1
                assert sent[place] <= policy.limit.count
        if n in asked:
            digests += decider.due(now)
    digests += decider.due(now + DAY)
    assert len({(d.rule, d.from_ns) for d in digests}) == len(digests)
    assert {(d.rule, d.from_ns): (d.notified, d.limited, d.groups) for d in digests} == {
        place: (sent[place], len(keys), len(set(keys))) for place, keys in expected.items()
    }


@settings(max_examples=25, deadline=None)
@given(
    streams(),
    st.lists(POLICIES, min_size=1, max_size=2),
    st.sets(st.integers(0, 40)),
    st.integers(0, 40),
)
def test_a_restart_at_any_hit_changes_no_later_decision_and_no_digest(
    hits: list[Occurrence], programs: list[dict[str, Policy]], asked: set[int], cut: int
) -> None:
    """Two programs run by turns, as while conversations keep the one they began with."""
    first, second = Decider(), Decider()
    for decider in (first, second):
        decider.expect(p for policies in programs for p in policies.values())
    now = 0
    for n, o in enumerate(hits):
        now = max(now, o.time_ns)
        policy = programs[n % len(programs)][o.rule]
        decided = first.decide(o, policy)
        due = first.due(now) if n in asked else []
        if n < cut:
            second.restore(o, policy, decided)
            for digest in due:
                second.restore_digest(digest)
        else:
            assert second.decide(o, policy) == decided
            if n in asked:
                assert second.due(now) == due
    assert first.due(now + DAY) == second.due(now + DAY)
    assert first.stats == second.stats
