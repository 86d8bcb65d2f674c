"""Whether a rule or feature that is asked for was ever heard of, and since when: "none" of a name that never was says
nothing.

Owns where such names stand: in entries, and in the rules, programs and terms that entries name by hash. Rules are one
for all tenants, so whether a name is known says nothing of a tenant; the names in a hint may, and are chosen.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any

from dosimeter.detectors.findings import suggest, visible
from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.queries.times import shown
from dosimeter.monitor.audit.queries.watched import SHORT_NS
from dosimeter.monitor.audit.store.entries import DECIDED
from dosimeter.monitor.audit.store.programs import rules_of
from dosimeter.rules.canonical import digest
from dosimeter.rules.language.expr import ExprError, parse

MOST = 12
"""Names in a hint."""


class UnknownName(ValueError):
    """No entry and no program of this history has such a rule or feature; says which are near."""

    def __init__(self, name: str, value: str, told: Collection[str]) -> None:
        """name: rule or feature. told: those that whoever asks may be told."""
        self.said = f"no entry and no program of this history has {name} `{visible(value)[:80]}`"
        super().__init__(f"--{name}: {self.said}\n  hint: {_hint(value, told)}")


@dataclass(slots=True)
class Names:
    """read: features that some rule reads; known: those that were scored, too.

    since: (rule or feature, name) -> when the first program came that looks for it; 0: that is not known.
    """

    rules: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    since: dict[tuple[str, str], int] = field(default_factory=dict)


def check(
    history: History,
    filters: Mapping[str, str],
    *,
    own: Collection[str] | None = None,
    from_ns: int | None = None,
    zone: tzinfo = UTC,
) -> list[str]:
    """What must be said of these names beside "none". Raises UnknownName.

    own: ids of the tenants whose entries exist for whoever asks, None: all. from_ns: of the time that is asked for.
    """
    asked = {name: filters[name] for name in ("rule", "feature") if name in filters}
    if not asked:
        return []
    there = _names(history)
    said = []
    for name, value in asked.items():
        known = there.rules if name == "rule" else there.read | there.known
        if value not in known and not _in_entries(history, name, value):
            raise UnknownName(name, value, known if own is None else _seen(history, name, own))
        since = there.since.get((name, value), 0)
        if from_ns is not None and since - from_ns >= SHORT_NS:
            first = min([since, *_first(history, name, value, own)])
            if first - from_ns >= SHORT_NS:
                said.append(
                    f"nobody is known to have looked for {name} `{value}` before {shown(first, zone)}"
                )
    feature = asked.get("feature")
    if feature in there.known - there.read and not _in_entries(history, "feature", str(feature)):
        said.append(f"no rule here ever read feature `{feature}`, so nothing could be found")
    return said


def _names(history: History) -> Names:
    found = Names()
    came = _came(history)
    for body in history.hot.blobs():
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict):
            found.known |= {one for one in said.get("columns") or () if isinstance(one, str)}
            found.rules |= set(said.get("inactive") or ())
        rules, features = _told(said)
        found.rules |= rules
        found.read |= features
        if (running := rules_of(body)) is not None:
            at = came.get(digest(body), 0)
            rules, features = _told(running)
            looked = [("rule", one) for one in rules] + [("feature", one) for one in features]
            for key in looked:
                found.since[key] = min(at, found.since.get(key, at))
    return found


def _came(history: History) -> dict[str, int]:
    """Program -> when it came here. An earlier release has not written that down."""
    rows = history.rows("entries", kind="program")
    return {json.loads(row["more"])["program_sha256"]: row["time_ns"] for row in reversed(rows)}


def _told(said: Any) -> tuple[set[str], set[str]]:
    """Rules, and features that they read, anywhere in it."""
    rules: set[str] = set()
    features: set[str] = set()
    for part in _objects(said):
        if isinstance(rule := part.get("rule"), str):
            rules.add(rule)
        if isinstance(feature := part.get("feature"), str):
            features |= {feature, *_features(feature)}
    return rules, features


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in it. What is stored has brackets in brackets as deep as a rule, and no deeper."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _objects(one)


def _features(text: str) -> tuple[str, ...]:
    """Of a computed score."""
    try:
        return tuple(parse(text).features)
    except ExprError:
        return ()


def _in_entries(history: History, name: str, value: str) -> bool:
    """Of all time; only asked where no program knows the name."""
    return any(history.rows("count", kind=kind, **{name: value})[0]["n"] for kind in DECIDED)


def _first(history: History, name: str, value: str, own: Collection[str] | None) -> list[int]:
    """When the first alert by that name was, of these tenants: whatever fired was looked for."""
    of = {} if own is None else {"tenants": sorted(own)}
    found = history.rows("totals", kind="alert", **{name: value}, **of)[0]["first_ns"]
    return [] if found is None else [found]


def _seen(history: History, name: str, own: Collection[str]) -> set[str]:
    """Names in the alerts of these tenants."""
    rows = history.rows("rules_seen", kind="alert", tenants=sorted(own))
    if name == "rule":
        return {row["rule"] for row in rows}
    terms = [history.hot.blob(row["terms"]) for row in rows if row["terms"] is not None]
    return {one for body in terms if body is not None for one in _told(json.loads(body))[1]}


def _hint(value: str, known: Collection[str]) -> str:
    if not known:
        return (
            "nothing that you may see has fired here yet, so no name can be suggested: leave it out"
        )
    if (near := suggest(value, known)) is not None:
        return f"did you mean `{visible(near)[:80]}`?"
    some = [f"`{visible(one)[:80]}`" for one in sorted(known)[:MOST]]
    more = f" and {len(known) - MOST:,} more" if len(known) > MOST else ""
    return f"known here: {', '.join(some)}{more}"
