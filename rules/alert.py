"""A hit becomes the record of it: everything that is needed to check it next year, in one byte
string.

Owns the fields of an alert's core, its event id and the rendering of its summary. It is pure:
time and identity come in with the context, and it never learns where a record goes or what stood
around the span.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dosimeter.detectors.frames import CODES_PER_SD
from dosimeter.rules import summary
from dosimeter.rules.atoms import Atom, CompiledRule, Literal
from dosimeter.rules.decide import Decision
from dosimeter.rules.engine import Condition, Hit
from dosimeter.rules.form import Form, json_list, json_object, json_text, place

VERSION = 2
LABELS = ("tenant", "user", "conversation", "request_id", "traceparent", "route")
"""Labels of a record, in their own object: the only fields that could lead to a person."""

_SORTED_LABELS = tuple(sorted(LABELS))
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


@dataclass(frozen=True, slots=True)
class Alert:
    """The immutable record of one hit, or of one digest."""

    event_id: str  # 32 hex characters; the same decision has the same id
    canonical: bytes  # what is stored, sent and hashed
    deliverable: bool  # False: stored and never sent

    @property
    def core(self) -> dict[str, Any]:
        """Its fields."""
        found: dict[str, Any] = json.loads(self.canonical)
        return found


def build_alert(hit: Hit, context: AlertContext, decision: Decision) -> Alert:
    """The record of `hit`, under the rule of the program that its request ran, with what became of it.

    What is flat in it is of the condition that decided; `also` has the others that the rule asked for.
    """
    identity, labels = event_id(context, hit), context.labels
    found = _found(hit.decided) | {
        "also": json_list([_condition(one) for one in hit.also]),
        "coverage": json_text(summary.printable(context.coverage, 400)),
        "decision": f'"{decision.decision}"',
        "digest": _name(context.model_digest),
        "epoch": f'"{context.epoch:016x}"',
        "event_id": f'"{identity}"',
        "key": f'"{hit.key:016x}"',
        "labels": json_object(
            {n: summary.printable(labels[n], 256) for n in _SORTED_LABELS if n in labels}
        ),
        "name": _name(context.model),
        "program_sha256": json_text(hit.program),
        "reason": json_text(summary.printable(decision.reason, 400)),
        "summary": json_text(summary.render(hit.compiled.summary, _fields(hit, context))),
        "time_ns": context.time_ns,
        "trusted": _trusted(context.trusted),
        "would_act": "true" if decision.would_act else "false",
    }
    text = _form(hit.compiled, hit.decided).fill(found)
    return Alert(identity, text.encode(), deliverable=decision.decision == "notified")


_FOUND = (
    "clause",
    "start",
    "end",
    "position",
    "value_sum",
    "value_n",
    "tokens_scored",
    "tokens_unscored",
)
"""What differs from one time to the next that a condition is met."""


def _found(of: Condition) -> dict[str, str | int]:
    return {
        "clause": of.clause,
        "start": of.start,
        "end": of.end,
        "position": of.end - 1,
        "value_sum": of.value_sum,
        "value_n": of.value_n,
        "tokens_scored": of.tokens_scored,
        "tokens_unscored": of.tokens_unscored,
    }


@lru_cache(maxsize=1024)
def _name(text: str) -> str:
    """Of a model; there are few."""
    return json_text(summary.printable(text))


@lru_cache(maxsize=1024)
def _trusted(names: frozenset[str]) -> str:
    return json_list([f'"{name}"' for name in _SORTED_LABELS if name in names])


def _condition(of: Condition) -> str:
    at = (id(of.literal), id(of.atom))
    known = _also_forms.get(at)
    if known is None:
        if len(_also_forms) >= _MAX_FORMS:
            _also_forms.clear()
        form = Form(_condition_fields(of.literal, of.atom))
        known = _also_forms[at] = (of.literal, of.atom, form)
    return known[2].fill(_found(of))


def _condition_fields(literal: Literal, atom: Atom) -> dict[str, Any]:
    return {name: place(name) for name in _FOUND} | {
        "feature": literal.feature,
        "pack_sha256": literal.pack,
        "calibration_sha256": literal.calibration,
        "level": literal.level,
        "scope": atom.scope.name.lower(),
        "shape": atom.shape,
        "threshold_code": atom.threshold,
    }


_forms: dict[tuple[int, int, int], tuple[CompiledRule, Literal, Atom, Form]] = {}
_also_forms: dict[tuple[int, int], tuple[Literal, Atom, Form]] = {}
"""By the identity of what stays alive in here: comparing rules takes longer than a record."""
_MAX_FORMS = 4096


def _form(rule: CompiledRule, of: Condition) -> Form:
    at = (id(rule), id(of.literal), id(of.atom))
    known = _forms.get(at)
    if known is None:
        if len(_forms) >= _MAX_FORMS:
            _forms.clear()
        known = _forms[at] = (rule, of.literal, of.atom, Form(_fields_of(rule, of)))
    return known[3]


def _fields_of(rule: CompiledRule, of: Condition) -> dict[str, Any]:
    """The record of a hit of `rule` that this condition decided, with places for what differs from hit to hit."""
    return {
        "v": VERSION,
        "event_id": place("event_id"),
        "kind": "alert",
        "decision": place("decision"),
        "reason": place("reason"),
        "would_act": place("would_act"),
        "time_ns": place("time_ns"),
        "epoch": place("epoch"),
        "key": place("key"),
        "model": {"name": place("name"), "digest": place("digest")},
        **_condition_fields(of.literal, of.atom),
        "also": place("also"),
        "program_sha256": place("program_sha256"),
        "rule": rule.rule,
        "rule_sha256": rule.sha256,
        "status": rule.status,
        "severity": rule.severity,
        "owner": rule.owner,
        "runbook": rule.runbook,
        "rule_labels": dict(rule.policy.labels),
        **({"confirm": rule.policy.confirm} if rule.policy.confirm else {}),
        "summary": place("summary"),
        "coverage": place("coverage"),
        "labels": place("labels"),
        "trusted": place("trusted"),
    }


def event_id(context: AlertContext, hit: Hit) -> str:
    """48 bits of event time in ms, then 80 bits of a hash of what was decided.

    Deciding the same thing again at the same event time gives the same id, so a store dedupes on
    it; the time in front lets it find a record without an index.
    """
    names = f"{json_text(hit.program)},{json_text(hit.rule)}"
    decided = f'["{context.epoch:016x}","{hit.key:016x}",{names},{hit.position}]'
    return record_id(context.time_ns, decided.encode())


def record_id(time_ns: int, about: bytes) -> str:
    """32 hex characters: the time of the event, then a hash of what it is about."""
    milliseconds = min(max(time_ns // 1_000_000, 0), _MAX_MS)
    return f"{milliseconds:012x}{hashlib.sha256(about).hexdigest()[:_EVENT_ID_HASH]}"


def in_sd(value: int, n: int = 1) -> str:
    """`value / n` codes as benign standard deviations with two decimals, by integer arithmetic."""
    unit = CODES_PER_SD * n
    hundredths = (abs(value) * 200 + unit) // (2 * unit)
    sign = "-" if value < 0 and hundredths else ""
    return f"{sign}{hundredths // 100}.{hundredths % 100:02d}"


def value_text(shape: str, value: int, n: int) -> str:
    """A statistic as people read it: benign standard deviations, or of `share` a percentage."""
    return f"{100 * value // n} %" if shape == "share" else in_sd(value, n)


_SAID: Mapping[str, Callable[[Hit, AlertContext], str]] = {
    "rule": lambda hit, _: hit.rule,
    "feature": lambda hit, _: hit.decided.literal.feature,
    "scope": lambda hit, _: hit.decided.atom.scope.name.lower(),
    "severity": lambda hit, _: hit.compiled.severity,
    "level": lambda hit, _: hit.decided.literal.level,
    "tokens": lambda hit, _: str(hit.decided.end - hit.decided.start),
    "value": lambda hit, _: _value(hit.decided),
    "threshold": lambda hit, _: in_sd(hit.decided.atom.threshold),
    "model": lambda _, context: context.model,
    "tenant": lambda _, context: context.labels.get("tenant", ""),
    "route": lambda _, context: context.labels.get("route", ""),
}
"""The fields of a summary."""


def _value(of: Condition) -> str:
    return value_text(of.atom.shape, of.value_sum, of.value_n)


def _fields(hit: Hit, context: AlertContext) -> dict[str, str]:
    """What the summary of the rule asks for."""
    names = summary.fields(hit.compiled.summary)
    return {name: _SAID[name](hit, context) for name in names if name in _SAID}
