"""A hit on its way to where it is counted: one record for each `count` rule that counts it, keyed by the group.

It owns the form and the key. One partition sees all hits of a group, so its count is that of one process that saw
them all; and all hits of a rule with a `limit`, so that the limit is one for the fleet. It knows no client.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from dosimeter.rules.canonical import MAX_INT, canonical
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.occurrence import GROUPED, Occurrence

TOPIC = "dosimeter.hits"
VERSION = 1
MAX_WIRE = 64 << 10
SCHEMA = b"dosimeter.hit.v1"
_TEXTS = ("count", "hit", "rule", "status", "request", "model")
_KEYS = {*_TEXTS, "v", "time_ns", "exempt", "labels"}


class HitError(ValueError):
    """These bytes are no hit; says why."""


@dataclass(frozen=True, slots=True)
class FleetHit:
    """count: the rule that counts it. event_id: of the hit's own record, which tells it from every other."""

    count: str
    event_id: str
    of: Occurrence


def record(rule: SecondRule, of: Occurrence, event_id: str) -> dict[str, Any]:
    """Keyword arguments of a producer's `send`, of one hit for one rule. Its time is that of the record."""
    return {
        "key": key(rule, of),
        "value": encode(FleetHit(rule.id, event_id, _needed(rule, of))),
        "headers": [
            ("event_id", event_id.encode()),
            ("content-type", b"application/json"),
            ("schema", SCHEMA),
        ],
        "timestamp_ms": max(0, of.time_ns // 1_000_000),
    }


def key(rule: SecondRule, of: Occurrence) -> bytes:
    """What must be counted in one place."""
    policy = rule.policy
    if policy.limit is not None or not policy.group_by:
        return canonical([rule.id])
    return canonical([rule.id, *(of.group(policy.group_by) or ())])


def encode(hit: FleetHit) -> bytes:
    of = hit.of
    return canonical(
        {
            "v": VERSION,
            "count": hit.count,
            "hit": hit.event_id,
            "rule": of.rule,
            "status": of.status,
            "time_ns": of.time_ns,
            "request": of.request,
            "model": of.model,
            "exempt": of.exempt,
            "labels": dict(of.labels),
        }
    )


def decode(wire: bytes | None) -> FleetHit:
    """The inverse of `encode`. Raises HitError on anything else: anyone may have written it."""
    if wire is None or len(wire) > MAX_WIRE:
        raise HitError("no value" if wire is None else f"{len(wire)} bytes, at most {MAX_WIRE}")
    try:
        found = json.loads(wire)
    except (ValueError, RecursionError) as error:
        raise HitError(f"not JSON: {error}") from error
    if not isinstance(found, dict) or found.keys() != _KEYS:
        raise HitError("not an object with the fields of a hit")
    if found["v"] != VERSION or isinstance(found["v"], bool):
        raise HitError(f"version is not {VERSION}\n  hint: if it is newer, upgrade the fleet")
    if not all(isinstance(found[name], str) for name in _TEXTS):
        raise HitError(f"one of {', '.join(_TEXTS)} is no text")
    if found["status"] not in ("shadow", "live") or not isinstance(found["exempt"], bool):
        raise HitError("`status` or `exempt` has no value that it may have")
    if type(found["time_ns"]) is not int or not 0 <= found["time_ns"] <= MAX_INT:
        raise HitError("`time_ns` is no time")
    labels = found["labels"]
    if not isinstance(labels, dict) or not labels.keys() <= set(GROUPED):
        raise HitError(f"`labels` names others than {', '.join(GROUPED)}")
    if not all(isinstance(value, str) for value in labels.values()):
        raise HitError("`labels` has a value that is no text")
    of = Occurrence(
        found["rule"],
        found["status"],
        found["time_ns"],
        found["request"],
        labels,
        found["model"],
        found["exempt"],
    )
    return FleetHit(found["count"], found["hit"], of)


def _needed(rule: SecondRule, of: Occurrence) -> Occurrence:
    """With the labels alone that this count looks at: a topic cannot be erased from."""
    policy, form = rule.policy, rule.when
    assert isinstance(form, Count)  # nothing else is sent
    asked = (policy.only, *(exemption.whose for exemption in policy.unless))
    names = {*policy.group_by, *(name for whose in asked for name, _ in whose.labels)}
    if form.what != "hits":
        names |= {"tenant", "user" if form.what == "users" else "conversation"}
    labels = {name: value for name, value in of.labels.items() if name in names}
    return Occurrence(of.rule, of.status, of.time_ns, of.request, labels, of.model, of.exempt)
