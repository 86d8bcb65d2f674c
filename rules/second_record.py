"""What a rule of the second stage found becomes its record: of kind `count`, `absent` or `shift`.

Owns the fields of these records, their event ids and the values of their summaries. Like those of alerts they stand by
themselves, and a count names every hit that it counted. It never learns where a record goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dosimeter.detectors.drift import DriftState
from dosimeter.rules import summary
from dosimeter.rules.alert import Alert, record_id
from dosimeter.rules.canonical import canonical
from dosimeter.rules.correlate import Exceeded
from dosimeter.rules.decide import Decision
from dosimeter.rules.language.counting import GROUP_FIELDS, Count
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.language.watching import Absent, Shift, Silent
from dosimeter.rules.policy import span_text

VERSION = 1
KINDS = ("count", "absent", "shift")


@dataclass(frozen=True, slots=True)
class Watched:
    """The server process that `absent` or `shift` is about, and when it was looked at. epoch: as text."""

    epoch: str
    model: str
    model_digest: str
    time_ns: int


def build_count(found: Exceeded, decision: Decision) -> Alert:
    """The count that was exceeded, with the event ids of what it counted."""
    rule, group = found.rule, dict(found.group)
    form = rule.when
    assert isinstance(form, Count)  # nothing else is counted
    said = {
        "count": found.count,
        "counted": form.what,
        "of": list(form.of),
        "more_than": form.more_than,
        "within_s": form.within_s,
        "from_ns": found.from_ns,
        "hits": list(found.hits),
        "labels": {n: summary.printable(v, 256) for n, v in group.items() if n != "model"},
        "trusted": sorted(name for name in group if name != "model"),
    }
    said |= {"model": {"name": summary.printable(group["model"])}} if "model" in group else {}
    words = {name: group[name] for name in GROUP_FIELDS if name in group} | {
        "count": str(found.count),
        "counted": form.what,
        "within": span_text(form.within_s),
    }
    # Its hits tell it from every other; the group's values may name somebody, and an id is kept for good.
    about = [rule.sha256, list(found.hits)]
    return _record("count", rule, decision, found.time_ns, about, said, words)


def build_absent(rule: SecondRule, silent: Silent, at: Watched, decision: Decision) -> Alert:
    """A silence that has lasted long enough."""
    form = rule.when
    assert isinstance(form, Absent)  # as above
    said = {"feature": form.feature, "for_s": form.for_s, "lasted_ns": silent.for_ns}
    said |= {"tokens_served": silent.served} | _watched(at)
    words = {
        "feature": form.feature,
        "for": span_text(form.for_s),
        "tokens": str(silent.served),
        "model": at.model,
    }
    about = [rule.sha256, at.epoch, at.time_ns]
    return _record("absent", rule, decision, at.time_ns, about, said, words)


def build_shift(
    rule: SecondRule, drift: DriftState, calibration: str, at: Watched, decision: Decision
) -> Alert:
    """Scores that are no longer those of the calibration of this digest."""
    form = rule.when
    assert isinstance(form, Shift)  # as above
    scope = form.scope.name.lower()
    said = {
        "feature": form.feature,
        "scope": scope,
        "calibration_sha256": calibration,
        "requests": drift.requests,
        "requests_unscored": drift.unscored,
        "since_request": drift.since,
        "direction": drift.direction,
        "sentence": summary.printable(drift.sentence, 600),
    } | _watched(at)
    words = {
        "feature": form.feature,
        "scope": scope,
        "requests": str(drift.requests),
        "direction": drift.direction or "",
        "model": at.model,
    }
    about = [rule.sha256, at.epoch, calibration, drift.requests]
    return _record("shift", rule, decision, at.time_ns, about, said, words)


def _watched(at: Watched) -> dict[str, Any]:
    name, digest = summary.printable(at.model), summary.printable(at.model_digest)
    return {"epoch": at.epoch, "model": {"name": name, "digest": digest}}


def _record(
    kind: str,
    rule: SecondRule,
    decision: Decision,
    time_ns: int,
    about: list[Any],
    said: Mapping[str, Any],
    words: Mapping[str, str],
) -> Alert:
    """about: what tells this finding from any other."""
    identity = record_id(time_ns, canonical([kind, *about]))
    core = {
        "v": VERSION,
        "event_id": identity,
        "kind": kind,
        "decision": decision.decision,
        "reason": summary.printable(decision.reason, 400),
        "would_act": decision.would_act,
        "time_ns": time_ns,
        "rule": rule.id,
        "rule_sha256": rule.sha256,
        "status": rule.status,
        "severity": rule.severity,
        "owner": rule.owner,
        "runbook": rule.runbook,
        "rule_labels": dict(rule.policy.labels),
        **({"confirm": rule.policy.confirm} if rule.policy.confirm else {}),
        "summary": summary.render(
            rule.summary, {"rule": rule.id, "severity": rule.severity, **words}
        ),
        **said,
    }
    return Alert(identity, canonical(core), deliverable=decision.decision == "notified")
