"""The second stage: rules that are not over tokens, but over hits (`count`) or over the monitor (`absent`, `shift`).

Owns `SecondRule` and which keys of a rule mean something for each form. No program holds such a rule: what it asks
is decided by `correlate.py` and `watching.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from dosimeter.detectors.findings import Place, hint_for
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.rules.atoms import RUNNING
from dosimeter.rules.language.counting import COUNT_FIELDS, GROUP_FIELDS, Count, read_count
from dosimeter.rules.language.watching import (
    ABSENT_FIELDS,
    SHIFT_FIELDS,
    Absent,
    Shift,
    read_absent,
    read_shift,
)
from dosimeter.rules.language.written import Written
from dosimeter.rules.policy import Policy

SecondWhen = Count | Absent | Shift
FORMS = {"count": ("count", "of", "more-than"), "absent": ("absent", "while"), "shift": ("shift",)}
"""By which keys of a `when` each is known, even where one is misspelt or missing."""
OVER_TOKENS = ("feature", "score", "signal", "above", "below", "all", "any", "sequence")
"""With one of these it is none, whatever else stands there."""
WATCHED_BY = ("model",)
"""What `absent` and `shift` can be told apart by: a server has no tenant."""


@dataclass(frozen=True, slots=True)
class SecondRule(Written):
    """One rule as it was written. place: of its id; places: of the value of each of its keys."""

    id: str
    when: SecondWhen
    status: str
    severity: str
    summary: str
    owner: str
    runbook: str
    policy: Policy
    place: Place = field(default=Place(""), compare=False)
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, hash=False)


def running(rules: Iterable[SecondRule], day: date) -> tuple[SecondRule, ...]:
    """Those in shadow or live that have not expired."""
    return tuple(r for r in rules if r.status in RUNNING and not r.policy.expired(day))


def form_of(node: Node) -> str | None:
    """`count`, `absent` or `shift`, where this `when` is of the second stage."""
    found = next((f for f, keys in FORMS.items() if any(k in node.entries for k in keys)), None)
    plain = any(key in node.entries for key in OVER_TOKENS) and not any(
        form in node.entries for form in FORMS
    )
    return None if plain else found


def read_second(form: str, node: Node, name: str | None, reader: Reader) -> SecondWhen | None:
    """The `when` of a rule of this id, or None after complaining."""
    if form == "count":
        return read_count(node, name, reader)
    return read_absent(node, reader) if form == "absent" else read_shift(node, reader)


def fields_of(form: str, group_by: Iterable[str]) -> tuple[str, ...]:
    """What a `summary` may say of it."""
    if form == "count":
        return (*COUNT_FIELDS, *(name for name in GROUP_FIELDS if name in group_by))
    return ABSENT_FIELDS if form == "absent" else SHIFT_FIELDS


def check_keys(form: str, keys: Mapping[str, Node], reader: Reader) -> None:
    """Complains of keys that mean nothing for a rule of the second stage."""
    if "clear" in keys:
        hint = "remove it: it fires again once it no longer held"
        reader.error(keys["clear"], f"`clear` in a rule with `{form}`", hint, "clear")
    if "tests" in keys:
        hint = "remove them: `rules test` runs rules over tokens; test the rules that it counts"
        reader.error(keys["tests"], f"`tests` of a rule with `{form}`", hint, "tests")
    if form != "count":
        for key in ("only", "unless", "group-by"):
            if key in keys:
                _of_the_model(form, key, keys[key], reader)


def _of_the_model(form: str, key: str, node: Node, reader: Reader) -> None:
    """`absent` and `shift` are about a server, so no label of a request says whose they are."""
    if key == "group-by":
        named = [(str(member.value), member) for member in node.nodes]
    else:
        members = node.nodes if key == "unless" else (node,)
        named = [(name, entry.value) for m in members for name, entry in m.entries.items()]
    for name, at in named:
        if name in ("tenant", "user", "route", "conversation"):
            hint = f"a server serves them all: {hint_for(name, WATCHED_BY)}"
            reader.error(at, f"`{key}` by `{name}` in a rule with `{form}`", hint, "label")
