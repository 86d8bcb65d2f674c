"""Whether a rule or feature that is asked for was ever heard of: "none" of a name that never was says nothing.

Owns where such names stand: in entries, and in the rules, programs and terms that entries name by hash. It never
learns who asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dosimeter.detectors.findings import suggest, visible
from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.store.entries import DECIDED
from dosimeter.rules.language.expr import ExprError, parse

MOST = 12
"""Names in a hint."""


class UnknownName(ValueError):
    """No entry and no program of this history has such a rule or feature; says which are near."""

    def __init__(self, name: str, value: str, known: set[str]) -> None:
        """name: rule or feature. known: those there are."""
        self.said = f"no entry and no program of this history has {name} `{visible(value)[:80]}`"
        super().__init__(f"--{name}: {self.said}\n  hint: {_hint(value, known)}")


@dataclass(slots=True)
class Names:
    """read: features that some rule reads; known: those that were scored, too."""

    rules: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)


def check(history: History, filters: Mapping[str, str]) -> list[str]:
    """What must be said of these names beside "none". Raises UnknownName."""
    asked = {name: filters[name] for name in ("rule", "feature") if name in filters}
    if not asked:
        return []
    there = _names(history)
    for name, value in asked.items():
        known = there.rules if name == "rule" else there.read | there.known
        if value not in known and not _in_entries(history, name, value):
            raise UnknownName(name, value, known)
    feature = asked.get("feature")
    if feature in there.known - there.read and not _in_entries(history, "feature", str(feature)):
        return [f"no rule here ever read feature `{feature}`, so nothing could be found"]
    return []


def _names(history: History) -> Names:
    found = Names()
    for body in history.hot.blobs():
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict):
            found.known |= {one for one in said.get("columns") or () if isinstance(one, str)}
            found.rules |= set(said.get("inactive") or ())
        for part in _objects(said):
            if isinstance(rule := part.get("rule"), str):
                found.rules.add(rule)
            if isinstance(feature := part.get("feature"), str):
                found.read |= {feature, *_features(feature)}
    return found


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


def _hint(value: str, known: set[str]) -> str:
    if not known:
        return "nothing has fired here yet, so no name is known: leave it out"
    if (near := suggest(value, known)) is not None:
        return f"did you mean `{visible(near)[:80]}`?"
    some = [f"`{visible(one)[:80]}`" for one in sorted(known)[:MOST]]
    more = f" and {len(known) - MOST:,} more" if len(known) > MOST else ""
    return f"known here: {', '.join(some)}{more}"
