"""Records over hits, found again from the hits that are stored: a count from those it names, a digest from its window.

Owns how both are worked out anew. Where records come from it never learns: `Hits` says what it asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from dosimeter.monitor.audit.evidence.reproduced import Reproduced, cannot, compared, said
from dosimeter.rules.correlate import Correlator, Exceeded
from dosimeter.rules.decide import Decision
from dosimeter.rules.digest import digest_id, read_digest
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import Policy, span_seconds
from dosimeter.rules.remembered import MOST_COUNTED
from dosimeter.rules.second_record import build_count

BY_HITS = "by the stored hits"
EDGE_NS = 10 * 10**9
"""Hits so close to an end of a window may have come after it was over."""
MOST_BEFORE = 8
"""Digests that one window may have had, where a clock was set back."""


class Hits(Protocol):
    """The records that others are about, as a ledger has them; without `labels` where they were erased."""

    def record(self, event_id: str) -> Mapping[str, Any] | None: ...

    def hits_of(self, rule: str, from_ns: int, to_ns: int) -> Iterable[Mapping[str, Any]]:
        """Those dated from then (inclusive) until then, in the order of acceptance."""


def reproduce_count(core: Mapping[str, Any], text: Mapping[str, Any], hits: Hits) -> Reproduced:
    """text: of the rule, canonical."""
    rule, form = _count_rule(text)
    policy, found = rule.policy, list[Mapping[str, Any]]()
    about_labels = form.what != "hits" or policy.group_by or policy.only.labels or policy.unless
    for event_id in core["hits"]:
        record = hits.record(event_id)
        if record is None:
            return cannot(f"the hit {event_id} is not kept any more")
        if about_labels and "labels" not in record:
            return cannot(f"the labels of the hit {event_id} were erased")
        found.append(record)
    correlator, exceeded = Correlator(), list[Exceeded]()
    correlator.expect([rule], datetime.fromtimestamp(core["time_ns"] // 10**9, UTC).date())
    for record in sorted(found, key=lambda one: (one["time_ns"], one["event_id"])):
        exceeded += correlator.add(occurrence(record), record["event_id"])
    if not exceeded:
        most = f"are not more than {form.more_than} {form.what} within its time"
        return Reproduced("differs", BY_HITS, f"count: the {len(found)} stored hits {most}")
    given = Decision(core["decision"], core["would_act"], core["reason"])
    again = build_count(exceeded[-1], given).core
    result = compared(core, again, BY_HITS)
    if result.status == "same" and again["time_ns"] != core["time_ns"]:
        return Reproduced("differs", BY_HITS, said("time_ns", core["time_ns"], again["time_ns"]))
    return result


def reproduce_digest(core: Mapping[str, Any], text: Mapping[str, Any], hits: Hits) -> Reproduced:
    """text: as above. core: its `source` is the ledger it came from, where that is known."""
    stored, by = read_digest(core), Policy.from_json(text).group_by
    near = list(hits.hits_of(stored.rule, stored.from_ns - EDGE_NS, stored.to_ns + EDGE_NS))
    decided = [
        (one, one["decision"])
        for one, at in _moments(near)
        if stored.from_ns <= at < stored.to_ns and one["status"] == "live"
    ]
    limited = [occurrence(one) for one, word in decided if word == "limited"]
    again: dict[str, Any] = {
        "notified": sum(word == "notified" for _, word in decided),
        "limited": len(limited),
    }
    if not by or all("labels" in one for one, word in decided if word == "limited"):
        groups = len({(by and o.group(by)) or o.request for o in limited})
        again |= {"groups": min(groups, MOST_COUNTED), "groups_floor": groups > MOST_COUNTED}
    if "source" in core:
        ids = [digest_id(stored, core["source"], before) for before in range(MOST_BEFORE)]
        again["event_id"] = core["event_id"] if core["event_id"] in ids else ids[0]
    result = compared(core, again, BY_HITS)
    inside = range(stored.from_ns + EDGE_NS, stored.to_ns - EDGE_NS)
    edge = sum(one["time_ns"] not in inside for one in near)
    if result.status == "differs" and edge:
        return cannot(f"{edge} hits lie at the edges of its window; {result.because}")
    return result


def occurrence(record: Mapping[str, Any]) -> Occurrence:
    """A stored hit as those saw it who counted it."""
    trusted, labels = record.get("trusted", ()), record.get("labels", {})
    return Occurrence(
        record["rule"],
        record["status"],
        record["time_ns"],
        f"{record.get('epoch', 'count')}/{record.get('key', record['rule'])}",
        {name: labels[name] for name in trusted if name in labels},
        record.get("model", {}).get("name", ""),
        record["decision"] == "exempt",
    )


def _moments(hits: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Each with the time at which it counts: never before that of one that was accepted earlier."""
    now = 0
    for one in hits:
        now = max(now, one["time_ns"])
        yield one, now


def _count_rule(text: Mapping[str, Any]) -> tuple[SecondRule, Count]:
    """The rule that this is the canonical form of."""
    when = text["when"]
    form = Count(when["count"], tuple(when["of"]), when["more-than"], span_seconds(when["within"]))
    rule = SecondRule(
        text["rule"],
        form,
        text["status"],
        text["severity"],
        text["summary"],
        text.get("owner", ""),
        text.get("runbook", ""),
        Policy.from_json(text),
    )
    if rule.as_json() != text:
        raise ValueError(f"not a rule that counts: `{str(when)[:80]}`")
    return rule, form
