"""An alert as a sidecar of this release writes it, read at a third of the time: the way nearly every record takes.

Nothing is accepted here that `entries.from_record` refuses, and the same is made of it. Usual is only what, read into
exact types, is written again as the very bytes that came: no number is then rounded, no name given twice, no text
escaped in another way. What is constant for a rule is compared as bytes, and was read by `from_record` when it first
came. All else is left to `from_record`.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from dosimeter.monitor.audit.store.entries import (
    MAX_TERMS,
    MAX_TIME_NS,
    Entry,
    Taken,
    from_record,
    names_of,
)
from dosimeter.rules.canonical import MAX_INT

MAX_USUAL = 16 << 10
"""Bytes of a record: what is remembered of many must stay small."""
Whole = Annotated[int, msgspec.Meta(ge=-MAX_INT, le=MAX_INT)]
_ID = re.compile("[0-9a-f]{32}")


class _Alert(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """Fields in the order of canonical JSON. Raw is what its terms are made of."""

    also: Raw
    calibration_sha256: Raw
    clause: Whole
    confirm: Raw | UnsetType = UNSET
    coverage: str
    decision: str
    end: Whole
    epoch: str
    event_id: str
    feature: Raw
    key: str
    kind: Literal["alert"]
    labels: dict[str, str]
    level: Raw
    model: Raw
    owner: Raw
    pack_sha256: Raw
    position: Whole
    program_sha256: Raw
    reason: str
    rule: Raw
    rule_labels: Raw
    rule_sha256: Raw
    runbook: Raw
    scope: Raw
    severity: Raw
    shape: Raw
    start: Whole
    status: Raw
    summary: str
    threshold_code: Raw
    time_ns: Annotated[int, msgspec.Meta(ge=0, lt=MAX_TIME_NS)]
    tokens_scored: Whole
    tokens_unscored: Whole
    trusted: Raw
    v: Whole
    value_n: Whole
    value_sum: Whole
    would_act: bool


_NO_MORE = Raw(b"[]")
_READ = msgspec.json.Decoder(_Alert).decode
_WRITE = msgspec.json.Encoder().encode
_KNOWN: dict[bytes, tuple[bytes, bool]] = {}
"""The terms of what is constant, and whether the route among the labels is one that the gateway vouches for."""


def read_record(core: bytes, source: str, seq: int) -> Taken:
    """What `from_record` returns or raises."""
    found = _usual(core)
    if found is None:
        return from_record(core, source, seq)
    constant = _constant(found)
    known = _KNOWN.get(constant)
    if known is None:
        taken = from_record(core, source, seq)
        trusted = json.loads(bytes(found.trusted))
        if taken.entry.terms is not None and isinstance(trusted, list):
            if len(_KNOWN) >= MAX_TERMS:
                _KNOWN.clear()
            _KNOWN[constant] = taken.entry.terms, "route" in trusted
        return taken
    return _taken(found, source, seq, *known)


def _usual(core: bytes) -> _Alert | None:
    if len(core) > MAX_USUAL:
        return None
    try:
        found = _READ(core)
    except (msgspec.DecodeError, RecursionError):
        return None
    usual = found.also == _NO_MORE and _ID.fullmatch(found.event_id) and _WRITE(found) == core
    return found if usual else None


def _constant(found: _Alert) -> bytes:
    """What the terms are made of, unmistakably: values of JSON, and nothing where there is none."""
    confirm = b"" if found.confirm is UNSET else found.confirm
    return b",".join((
        b"%d" % found.clause, found.rule, found.rule_sha256, found.program_sha256, found.status, found.severity,
        found.owner, found.runbook, found.rule_labels, confirm, found.model, found.feature, found.pack_sha256,
        found.calibration_sha256, found.level, found.scope, found.shape, found.threshold_code, found.trusted,
    ))  # fmt: skip


def _taken(found: _Alert, source: str, seq: int, terms: bytes, vouched: bool) -> Taken:
    labels = found.labels
    fields = {
        "clause": found.clause,
        "start": found.start,
        "end": found.end,
        "position": found.position,
        "value_sum": found.value_sum,
        "value_n": found.value_n,
        "tokens_scored": found.tokens_scored,
        "tokens_unscored": found.tokens_unscored,
        "decision": found.decision,
        "reason": found.reason,
        "would_act": found.would_act,
        "epoch": found.epoch,
        "key": found.key,
    }
    if vouched and "route" in labels:
        fields["route"] = labels["route"]
    words = {"summary": found.summary, "coverage": found.coverage}
    names = names_of(labels)
    entry = Entry("alert", found.event_id, found.time_ns, source, seq, fields, names, terms)
    return Taken(entry, labels, {name: text for name, text in words.items() if text})
