"""The keys of a rule that say whom it is for and what becomes of its hits: `only` to `labels`.

Owns `Policy`, its canonical form and the way back from it. It never learns how it was written (`policy_keys.py` reads
it), what fired or what day it is: labels, model and day are arguments. What becomes of one hit: `decide.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

from dosimeter.rules.occurrence import GROUPED

POLICY_KEYS = (
    "only",
    "unless",
    "group-by",
    "repeat-after",
    "limit",
    "quiet-when",
    "confirm",
    "expires",
    "labels",
)
MATCHED = ("tenant", "user", "route", "model")
"""What `only` and `unless` may ask for."""

UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
WINDOWS_S = {"minute": 60, "hour": 3_600, "day": 86_400}
NS = 1_000_000_000
QUIET_NS = 86_400 * NS
"""How long another rule's notification silences."""

CONFIRMER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
"""The name that an operator gives to a second look."""

_SPAN = re.compile(r"([0-9]{1,9})([smhd])")
_LIMIT = re.compile(r"([0-9]{1,9}) per (minute|hour|day)")
_LEAST_S, _MOST_S = 30, 30 * 86_400
MOST_LIMIT = 1_000_000


@dataclass(frozen=True)
class Whose:
    """Labels with the values that match, sorted: each of them must match. Without labels: everyone's."""

    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @cached_property
    def _sets(self) -> tuple[tuple[str, frozenset[str]], ...]:
        return tuple((name, frozenset(values)) for name, values in self.labels)

    def holds(self, labels: Mapping[str, str], model: str) -> bool:
        """labels: trusted ones alone; one that is missing does not match."""
        return all(
            (model if name == "model" else labels.get(name)) in values
            for name, values in self._sets
        )

    def as_json(self) -> dict[str, Any]:
        return {name: list(values) for name, values in self.labels}

    @classmethod
    def of(cls, found: Mapping[str, Iterable[str]]) -> Whose:
        return cls(tuple((n, tuple(sorted(set(found[n])))) for n in MATCHED if n in found))


EVERYONES = Whose()


@dataclass(frozen=True)
class Exemption:
    """One `unless`: whose hits do not count, why, who says so, and the last day on which it holds."""

    whose: Whose
    reason: str
    by: str
    until: date

    def as_json(self) -> dict[str, Any]:
        who = {"reason": self.reason, "by": self.by, "until": self.until.isoformat()}
        return self.whose.as_json() | who


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` notifications of the rule in each minute, hour or day."""

    count: int
    per: str

    @property
    def window_ns(self) -> int:
        return WINDOWS_S[self.per] * NS

    @property
    def text(self) -> str:
        return f"{self.count} per {self.per}"

    @classmethod
    def parse(cls, text: str) -> Limit:
        """`50 per hour`. Raises ValueError, for a sentence about `text`."""
        match = _LIMIT.fullmatch(text)
        if match is None:
            raise ValueError("is no limit")
        if not 1 <= int(match[1]) <= MOST_LIMIT:
            raise ValueError("is out of range")
        return cls(int(match[1]), match[2])


@dataclass(frozen=True)
class Policy:
    """What these keys say, with lists resolved; equal for rules that say the same.

    group_by        what counts as one; empty: the request
    repeat_after_s  at most one notification a group in this time; 0: each may notify
    quiet_when      rules whose notification about the same group is enough
    expires         the last day on which the rule runs
    confirm         who looks a second time before a notification goes out; empty: nobody
    """

    only: Whose = EVERYONES
    unless: tuple[Exemption, ...] = ()
    group_by: tuple[str, ...] = ()
    repeat_after_s: int = 0
    limit: Limit | None = None
    quiet_when: tuple[str, ...] = ()
    expires: date | None = None
    labels: tuple[tuple[str, str], ...] = ()
    confirm: str = ""

    def applies(self, labels: Mapping[str, str], model: str) -> bool:
        """`only` lets it through. labels: trusted ones alone."""
        return self.only.holds(labels, model)

    def exemption(self, labels: Mapping[str, str], model: str) -> Exemption | None:
        """The first `unless` that holds; of a policy `on` a day, none that has run out."""
        return next((e for e in self.unless if e.whose.holds(labels, model)), None)

    def on(self, day: date) -> Policy:
        """The same without the exemptions whose last day is over."""
        kept = tuple(e for e in self.unless if day <= e.until)
        return self if len(kept) == len(self.unless) else replace(self, unless=kept)

    def expired(self, day: date) -> bool:
        return self.expires is not None and day > self.expires

    @property
    def repeat_after_ns(self) -> int:
        return self.repeat_after_s * NS

    @property
    def reach_ns(self) -> int:
        """How far back lies what a decision, or a digest that is still to come, depends on."""
        windows = 2 * self.limit.window_ns if self.limit else 0
        return max(self.repeat_after_ns, windows, QUIET_NS if self.quiet_when else 0)

    def as_json(self) -> dict[str, Any]:
        """The canonical form, under the keys of a rule file: what is not said is left out."""
        text = {
            "only": self.only.as_json(),
            "unless": [e.as_json() for e in self.unless],
            "group-by": list(self.group_by),
            "repeat-after": span_text(self.repeat_after_s) if self.repeat_after_s else "",
            "limit": self.limit.text if self.limit else "",
            "quiet-when": list(self.quiet_when),
            "confirm": self.confirm,
            "expires": self.expires.isoformat() if self.expires else "",
            "labels": dict(self.labels),
        }
        return {key: value for key, value in text.items() if value}

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> Policy:
        """What wrote these keys; others, of the rule around them, are left alone. Raises ValueError."""
        said = {key: text[key] for key in POLICY_KEYS if key in text}
        try:
            policy = cls(
                Whose.of(said.get("only", {})),
                tuple(_exemption_from(e) for e in said.get("unless", ())),
                tuple(said.get("group-by", ())),
                span_seconds(said["repeat-after"]) if "repeat-after" in said else 0,
                Limit.parse(said["limit"]) if "limit" in said else None,
                tuple(said.get("quiet-when", ())),
                date.fromisoformat(said["expires"]) if "expires" in said else None,
                tuple(sorted(said.get("labels", {}).items())),
                _name(said["confirm"]) if "confirm" in said else "",
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a policy: {type(error).__name__}: {error}") from None
        if policy.as_json() != said or not set(policy.group_by) <= set(GROUPED):
            raise ValueError("not a policy: it is not in canonical form")
        return policy


EVERYONE = Policy()
"""Of a rule that says nothing of this."""


def span_text(seconds: int) -> str:
    """`90s`, `1h`, `30d`: in the largest unit that leaves nothing over."""
    unit = next(u for u, s in UNITS_S.items() if seconds % s == 0)
    return f"{seconds // UNITS_S[unit]}{unit}"


def span_seconds(text: str) -> int:
    """Raises ValueError, for a sentence about `text`, where a rule cannot name this time."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError("is no length of time")
    found = int(match[1]) * UNITS_S[match[2]]
    if not _LEAST_S <= found <= _MOST_S:
        raise ValueError("is out of range")
    return found


def _name(text: str) -> str:
    if CONFIRMER.fullmatch(text) is None:
        raise ValueError("`confirm` is no name")
    return text


def _exemption_from(text: Mapping[str, Any]) -> Exemption:
    whose = Whose.of({name: text[name] for name in MATCHED if name in text})
    return Exemption(whose, text["reason"], text["by"], date.fromisoformat(text["until"]))
