"""Counts and digests come out again from the hits that are stored, and from no others."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from datetime import date
from hashlib import sha256
from typing import Any

import pytest

from dosimeter.monitor.audit.evidence.reproduce import Reproducer
from dosimeter.monitor.audit.evidence.reproduce_second import BY_HITS, occurrence
from dosimeter.rules.correlate import Correlator
from dosimeter.rules.decide import Decider, Decision
from dosimeter.rules.digest import RuleFacts, build_digest
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.policy import Limit, Policy, Whose
from dosimeter.rules.second_record import build_count

NOON_NS = 1_796_040_000_000_000_000  # a whole hour
S = 10**9
LEDGER = "12" * 16
TEXT = {
    "rule": "a",
    "when": {"feature": "scam", "in": "answer", "above": "1 in 1000 answers"},
    "status": "live",
    "severity": "high",
    "summary": "it fired",
}
"""Of the rule that is hit, as far as it matters."""


class Hits:
    """A store of records. blobs: by any name."""

    def __init__(self, records: Iterable[Mapping[str, Any]], blobs: Mapping[str, bytes]) -> None:
        self.records = {one["event_id"]: dict(one) for one in records}
        self.blobs = blobs

    def record(self, event_id: str) -> Mapping[str, Any] | None:
        return self.records.get(event_id)

    def hits_of(self, rule: str, from_ns: int, to_ns: int) -> list[Mapping[str, Any]]:
        of = [one for one in self.records.values() if one["rule"] == rule]
        return [one for one in of if from_ns <= one["time_ns"] < to_ns]

    def body(self, core: Mapping[str, Any]) -> None:
        raise AssertionError(core)

    def blob(self, sha256: str) -> bytes | None:
        return self.blobs.get(sha256)


def hit(number: int, at_ns: int, **labels: str) -> dict[str, Any]:
    return {
        "event_id": f"{number:032x}",
        "rule": "a",
        "status": "live",
        "decision": "notified",
        "time_ns": at_ns,
        "epoch": "00000000000000ab",
        "key": f"{number:016x}",
        "model": {"name": "lab", "digest": "ab" * 32},
        "labels": labels,
        "trusted": sorted(labels),
    }


def counting(what: str = "users", policy: Policy = Policy(group_by=("tenant",))) -> SecondRule:  # noqa: B008
    form = Count(what, ("a",), 3, 600)  # type: ignore[arg-type]
    summary = "{count} {counted} within {within}"
    return SecondRule("many", form, "live", "high", summary, "owner", "", policy)


def counted(rule: SecondRule, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Hits, and the records of what they exceeded."""
    rng = random.Random(seed)
    correlator = Correlator()
    correlator.expect([rule], date(2026, 11, 30))
    hits, found = [], []
    now = NOON_NS
    for number in range(1, 200):
        now += rng.randrange(120) * S
        tenant, user = f"t{rng.randrange(2)}", f"u{rng.randrange(9)}"
        at = now - rng.choice([0, 0, 0, 3 * S])
        hits.append(hit(number, at, tenant=tenant, user=user, conversation=f"c{number // 3}"))
        for exceeded in correlator.add(occurrence(hits[-1]), hits[-1]["event_id"]):
            found.append(build_count(exceeded, Decision("notified", True, "")).core)
    assert found
    return hits, found


@pytest.mark.parametrize("what", ["hits", "users", "conversations"])
def test_a_count_comes_out_of_the_hits_that_it_names(what: str) -> None:
    rule = counting(what)
    hits, found = counted(rule, 1)
    again = Reproducer(Hits(hits, {rule.sha256: rule.canonical}), None)
    for core in found:
        result = again(core)
        assert (result.status, result.by, result.because) == ("same", BY_HITS, "")
        assert {"count", "hits", "from_ns", "event_id", "more_than"} <= set(result.compared)


def test_a_count_that_its_hits_do_not_make_is_found() -> None:
    rule = counting()
    hits, found = counted(rule, 2)
    core = found[0]
    for change, because in [
        ({"from_ns": core["from_ns"] - 1}, "from_ns: stored is"),
        ({"time_ns": core["time_ns"] + 1}, "event_id: stored is|time_ns: stored is"),
        ({"more_than": 2}, "more_than: stored is"),
        ({"count": 9}, "count: stored is"),
        ({"hits": core["hits"][1:]}, "count: the 3 stored hits are not more than 3 users"),
        ({"hits": [*core["hits"][1:], core["hits"][1]]}, "count: the 4 stored hits are not"),
    ]:
        result = Reproducer(Hits(hits, {rule.sha256: rule.canonical}), None)(core | change)
        assert result.status == "differs", change
        assert any(one in result.because for one in because.split("|")), result.because


def test_a_count_whose_hits_or_labels_are_gone_is_not_guessed() -> None:
    rule = counting()
    hits, found = counted(rule, 3)
    store = Hits(hits, {rule.sha256: rule.canonical})
    first = found[0]["hits"][0]
    del store.records[first]["labels"]
    assert Reproducer(store, None)(found[0]).because == f"the labels of the hit {first} were erased"
    del store.records[first]
    assert Reproducer(store, None)(found[0]).because == f"the hit {first} is not kept any more"
    assert Reproducer(Hits(hits, {}), None)(found[0]).status == "cannot"
    plain = counting("hits", Policy())
    hits, found = counted(plain, 3)
    for one in hits:
        del one["labels"]
    kept = Hits(hits, {plain.sha256: plain.canonical})
    assert Reproducer(kept, None)(found[0]).status == "same"


def test_a_count_for_some_alone_counts_those() -> None:
    rule = counting(policy=Policy(only=Whose.of({"tenant": ["t0"]})))
    hits, found = counted(rule, 4)
    store = Hits(hits, {rule.sha256: rule.canonical})
    assert Reproducer(store, None)(found[0]).status == "same"
    for one in found[0]["hits"]:
        store.records[one]["labels"]["tenant"] = "t1"
    assert Reproducer(store, None)(found[0]).status == "differs"


def limited(policy: Policy, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Hits with what was decided of them, and the digests of what a limit kept back."""
    rng = random.Random(seed)
    decider = Decider()
    hits: list[dict[str, Any]] = []
    digests = []
    facts = RuleFacts("0" * 64, "high", "", "")
    now = NOON_NS + 60 * S
    for number in range(1, 300):
        now += rng.randrange(1, 60) * S
        if now % (3600 * S) < 30 * S or now % (3600 * S) > 3570 * S:
            now += 60 * S  # none at the edge of a window
        digests += [build_digest(d, facts, LEDGER).core for d in decider.due(now - 2 * S)]
        one = hit(number, now, tenant=f"t{rng.randrange(5)}")
        decided = decider.decide(occurrence(one), policy)
        hits.append(one | {"decision": decided.decision})
    assert len(digests) > 1
    return hits, digests


def text_of(policy: Policy) -> bytes:
    return json.dumps(TEXT | policy.as_json()).encode()


@pytest.mark.parametrize("by", [(), ("tenant",)])
def test_a_digest_comes_out_of_the_hits_of_its_window(by: tuple[str, ...]) -> None:
    policy = Policy(group_by=by, limit=Limit(4, "hour"))
    hits, digests = limited(policy, 1)
    text = text_of(policy)
    sha = sha256(text).hexdigest()
    again = Reproducer(Hits(hits, {sha: text}), None)
    for core in digests:
        result = again(core | {"rule_sha256": sha, "source": LEDGER})
        assert (result.status, result.by, result.because) == ("same", BY_HITS, "")
        assert result.compared == ("event_id", "groups", "groups_floor", "limited", "notified")
        for name in ("notified", "limited", "groups"):
            wrong = again(core | {"rule_sha256": sha, name: core[name] + 1})
            assert wrong.status == "differs"
            assert f"{name}: stored is `{core[name] + 1}`, decided again it is `{core[name]}`" in (
                wrong.because
            )
        another = again(core | {"rule_sha256": sha, "source": "34" * 16})
        assert "event_id: stored is" in another.because


def test_hits_at_the_edge_of_a_window_leave_it_open() -> None:
    policy = Policy(limit=Limit(4, "hour"))
    hits, digests = limited(policy, 1)
    text = text_of(policy)
    sha = sha256(text).hexdigest()
    core = digests[0] | {"rule_sha256": sha}
    late = hit(1000, core["to_ns"] - S) | {"decision": "limited"}  # came when it was over
    after = hit(1001, core["to_ns"] + S)
    again = Reproducer(Hits([*hits, after, late], {sha: text}), None)
    assert again(core).status == "same"  # one of the next window was accepted before
    early = Reproducer(Hits([late, *hits], {sha: text}), None)(core | {"limited": 99})
    assert early.status == "cannot"
    assert early.because.startswith("1 hits lie at the edges of its window")
