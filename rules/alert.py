"""A hit becomes the record of it: everything that is needed to check it next year, in one byte
string.

Owns the fields of an alert's core, its event id and the rendering of its summary. It is pure:
time and identity come in with the context, and it never learns where a record goes or what stood
around the span.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dosimeter.detectors.frames import CODES_PER_SD
from dosimeter.rules import summary
from dosimeter.rules.canonical import canonical
from dosimeter.rules.engine import Hit

VERSION = 1
LABELS = ("tenant", "user", "conversation", "request_id", "traceparent", "route")
"""Labels of a record, in their own object: the only fields that could lead to a person."""

_MAX_MS = 2**48 - 1
_EVENT_ID_HASH = 20  # hex characters after the 12 of the time


@dataclass(frozen=True, slots=True)
class AlertContext:
    """What the engine does not know: when and where a hit happened, and to whom.

    time_ns: wall clock of the step that decided; epoch: of the server process; coverage: what is
    known about the unscored tokens of this request, in words.
    """

    time_ns: int
    epoch: int
    model: str
    model_digest: str
    labels: Mapping[str, str]
    trusted: frozenset[str] = frozenset()
    coverage: str = ""


@dataclass(frozen=True)
class Alert:
    """The immutable record of one hit."""

    event_id: str  # 32 hex characters; the same decision has the same id
    core: Mapping[str, Any]
    deliverable: bool  # False: shadow, stored and never sent

    @cached_property
    def canonical(self) -> bytes:
        """The bytes that are stored, sent and hashed."""
        return canonical(self.core)


def build_alert(hit: Hit, context: AlertContext) -> Alert:
    """The record of `hit`, under the rule of the program that its request ran."""
    rule = hit.compiled
    identity = event_id(context, hit)
    live = rule.status == "live"
    core = {
        "v": VERSION,
        "event_id": identity,
        "kind": "alert",
        "decision": "notified" if live else "shadow",
        "would_act": True,  # nothing limits or silences yet: were it live, it would notify
        "time_ns": context.time_ns,
        "epoch": f"{context.epoch:016x}",
        "key": f"{hit.key:016x}",
        "model": {
            "name": summary.printable(context.model),
            "digest": summary.printable(context.model_digest),
        },
        "feature": hit.feature,
        "pack_sha256": rule.pack,
        "calibration_sha256": rule.calibration,
        "program_sha256": hit.program,
        "rule": hit.rule,
        "rule_sha256": rule.sha256,
        "status": rule.status,
        "severity": rule.severity,
        "owner": rule.owner,
        "runbook": rule.runbook,
        "summary": summary.render(rule.summary, _fields(hit, context)),
        "scope": hit.scope.name.lower(),
        "start": hit.start,
        "end": hit.end,
        "position": hit.position,
        "value_sum": hit.value_sum,
        "value_n": hit.value_n,
        "threshold_code": hit.threshold_code,
        "level": rule.level,
        "tokens_scored": hit.tokens_scored,
        "tokens_unscored": hit.tokens_unscored,
        "coverage": summary.printable(context.coverage, 400),
        "labels": {
            name: summary.printable(context.labels[name], 256)
            for name in LABELS
            if name in context.labels
        },
        "trusted": sorted(name for name in LABELS if name in context.trusted),
    }
    return Alert(identity, core, deliverable=live)


def event_id(context: AlertContext, hit: Hit) -> str:
    """48 bits of event time in ms, then 80 bits of a hash of what was decided.

    Deciding the same thing again at the same event time gives the same id, so a store dedupes on
    it; the time in front lets it find a record without an index.
    """
    decided = [
        f"{context.epoch:016x}",
        f"{hit.key:016x}",
        hit.program,
        hit.rule,
        hit.position,
    ]
    milliseconds = min(max(context.time_ns // 1_000_000, 0), _MAX_MS)
    return f"{milliseconds:012x}" + hashlib.sha256(canonical(decided)).hexdigest()[:_EVENT_ID_HASH]


def in_sd(value: int, n: int = 1) -> str:
    """`value / n` codes as benign standard deviations with two decimals, by integer arithmetic."""
    unit = CODES_PER_SD * n
    hundredths = (abs(value) * 200 + unit) // (2 * unit)
    sign = "-" if value < 0 and hundredths else ""
    return f"{sign}{hundredths // 100}.{hundredths % 100:02d}"


def _fields(hit: Hit, context: AlertContext) -> dict[str, str]:
    rule = hit.compiled
    return {
        "rule": hit.rule,
        "feature": hit.feature,
        "scope": hit.scope.name.lower(),
        "severity": rule.severity,
        "level": rule.level,
        "tokens": str(hit.end - hit.start),
        "value": in_sd(hit.value_sum, hit.value_n),
        "threshold": in_sd(hit.threshold_code),
        "model": context.model,
        "tenant": context.labels.get("tenant", ""),
        "route": context.labels.get("route", ""),
    }
