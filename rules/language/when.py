"""When a rule fires: one condition over tokens, or a few under `all`, `any`, `not` and `sequence`.

Owns `When` and the reading of it out of a YAML tree. One condition is `condition.py`; what they mean together is said
by `atoms.Logic`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from dosimeter.detectors.findings import Place, hint_for, visible
from dosimeter.detectors.levels import Level
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.rules.atoms import MAX_CONDITIONS, MAX_STAGES, MAX_WITHIN
from dosimeter.rules.language.condition import (
    KEYS,
    Condition,
    read_condition,
    read_level,
    read_tokens,
)

Signals = Mapping[str, Condition | None]
"""By name; None where the condition was wrong, which was said where it stands."""
GROUPS = ("all", "any", "sequence")


@dataclass(frozen=True, slots=True)
class Part:
    """Conditions of which one suffices; negated: of which none may hold."""

    conditions: tuple[Condition, ...]
    negated: bool = False

    def as_json(self) -> dict[str, Any]:
        each = [condition.as_json() for condition in self.conditions]
        body = each[0] if len(each) == 1 else {"any": each}
        return {"not": body} if self.negated else body


@dataclass(frozen=True, slots=True)
class When:
    """The parts that must come together, or in order; within so many tokens, 0: anywhere in the request."""

    parts: tuple[Part, ...]
    kind: Literal["all", "sequence"] = "all"
    within: int = 0
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, hash=False)

    @property
    def conditions(self) -> Iterator[Condition]:
        for part in self.parts:
            yield from part.conditions

    @property
    def single(self) -> Condition | None:
        """The condition, where there is only one."""
        found = tuple(self.conditions)
        return found[0] if len(found) == 1 and not self.parts[0].negated else None

    def as_json(self) -> dict[str, Any]:
        if len(self.parts) == 1 and not self.parts[0].negated:
            return self.parts[0].as_json()
        text: dict[str, Any] = {self.kind: [part.as_json() for part in self.parts]}
        return text | ({"within": f"{self.within} tokens"} if self.within else {})


@dataclass(frozen=True, slots=True)
class Clear:
    """What makes a rule of one condition fire again: `n` tokens in a row that are not beyond a looser level."""

    direction: int  # 1 above, -1 below
    level: Level
    n: int
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, hash=False)

    def as_json(self) -> dict[str, Any]:
        side = "above" if self.direction == 1 else "below"
        return {side: self.level.text, "for": f"{self.n} tokens"}


def read_when(node: Node, reader: Reader, signals: Signals | None = None) -> When | None:
    """The condition, or None after complaining. signals: conditions that the file names."""
    signals = signals or {}
    groups = [key for key in GROUPS if key in node.entries]
    if "not" in node.entries and not groups:
        hint = "add what has to be there: `all: [{feature: …}, {not: {feature: …}}]`"
        reader.error(node.entries["not"].place, "only `not`", hint, "condition")
        return None
    if node.kind != "map" or not groups:
        condition = _one(node, reader, signals)
        return None if condition is None else When((Part((condition,)),), places=condition.places)
    if groups == ["any"]:
        keys = reader.mapping(node, ("any",))
        part = _any(keys["any"], reader, signals)
        return None if part is None else When((part,))
    kind: Literal["all", "sequence"] = "sequence" if "sequence" in groups else "all"
    keys = reader.mapping(node, (kind, "within"), required=(kind,))
    before = len(reader.findings)
    within = 0
    if "within" in keys:
        within = read_tokens(keys["within"], reader, ("64 tokens",), most=MAX_WITHIN) or 0
    elif kind == "sequence":
        hint = "say how far apart the first and the last may be: `within: 400 tokens`"
        reader.error(node, "`sequence` without `within`", hint, "missing-key")
    parts = [_part(item, reader, signals, kind) for item in reader.items(keys[kind])]
    if len(reader.findings) > before or None in parts:
        return None
    found = tuple(part for part in parts if part is not None)
    if not _fit(keys[kind], kind, found, reader):
        return None
    places = {name: value.place for name, value in keys.items()}
    return When(found, kind, within, places)


def _fit(node: Node, kind: str, parts: tuple[Part, ...], reader: Reader) -> bool:
    """Whether so many parts of these kinds can be decided together."""
    count = sum(len(part.conditions) for part in parts)
    if len(parts) < 2:
        hint = "write the one condition without it" if parts else "list at least two conditions"
        reader.error(node, f"`{kind}` of {len(parts)}", hint, "condition")
    elif all(part.negated for part in parts):
        hint = "add what has to be there: a rule fires when something is seen"
        reader.error(node, "only `not` under `all`", hint, "condition")
    elif kind == "sequence" and len(parts) > MAX_STAGES:
        reader.error(node, f"a sequence of {len(parts)}", f"at most {MAX_STAGES}", "condition")
    elif count > MAX_CONDITIONS:
        reader.error(
            node, f"{count} conditions", f"at most {MAX_CONDITIONS} in a rule", "condition"
        )
    else:
        return True
    return False


def _part(node: Node, reader: Reader, signals: Signals, kind: str) -> Part | None:
    if "any" in node.entries:
        keys = reader.mapping(node, ("any",))
        return _any(keys["any"], reader, signals)
    if "not" in node.entries:
        keys = reader.mapping(node, ("not",))
        if kind == "sequence":
            hint = "a sequence is what comes one after the other; use `all` with `not`"
            reader.error(node, "`not` in a sequence", hint, "condition")
            return None
        inner = _part(keys["not"], reader, signals, "not")
        return None if inner is None else Part(inner.conditions, negated=not inner.negated)
    condition = _one(node, reader, signals)
    return None if condition is None else Part((condition,))


def _any(node: Node, reader: Reader, signals: Signals) -> Part | None:
    found = [_one(item, reader, signals) for item in reader.items(node)]
    if len(found) < 2 and None not in found and node.kind == "list":
        reader.error(node, f"`any` of {len(found)}", "list at least two conditions", "condition")
        return None
    if len(found) > MAX_CONDITIONS:
        reader.error(node, f"{len(found)} conditions", f"at most {MAX_CONDITIONS}", "condition")
        return None
    conditions = tuple(one for one in found if one is not None)
    return Part(conditions) if len(conditions) == len(found) and found else None


def _one(node: Node, reader: Reader, signals: Signals) -> Condition | None:
    for key, meant in (("and", "all"), ("or", "any")):
        if key in node.entries:
            place = node.entries[key].place
            reader.error(place, f"unknown key `{key}`", f"write `{meant}`", "unknown-key")
            return None
    if group := next((key for key in (*GROUPS, "not") if key in node.entries), None):
        message = "`not` in an `any`" if group == "not" else "a group within a group"
        hint = (
            "conditions are `all` or `any` of some, or a `sequence`, not nested deeper: "
            "write a rule for each"
        )
        reader.error(node, message, hint, "condition")
        return None
    if "signal" not in node.entries:
        return read_condition(node, reader)
    keys = reader.mapping(node, ("signal",))
    name = reader.text(keys["signal"], 64)
    if name is None or name in signals:
        return None if name is None else signals[name]
    hint = hint_for(name, signals) if signals else "name it under `signals:` in this file"
    reader.error(keys["signal"], f"unknown signal `{visible(name)}`", hint, "unknown-signal")
    return None


def read_signals(
    node: Node, reader: Reader, is_name: Callable[[str], bool]
) -> dict[str, Condition | None]:
    """Conditions by name, for the rules of the file."""
    found: dict[str, Condition | None] = {}
    if node.kind != "map":
        reader.expected(node, "a mapping", "a name, and a condition behind it")
        return found
    for name, entry in node.entries.items():
        found[name] = None
        if not is_name(name):
            hint = "lower-case letters, digits and `-`, at most 64"
            reader.error(entry.place, f"`{visible(name)[:80]}` is not a name", hint, "rule-id")
            continue
        if groups := [key for key in (*GROUPS, "not", "signal") if key in entry.value.entries]:
            place = entry.value.entries[groups[0]].place
            hint = "a signal is one condition: put them together in the rule"
            reader.error(place, f"`{groups[0]}` in a signal", hint, "condition")
        else:
            found[name] = read_condition(entry.value, reader)
    return found


def read_clear(node: Node, when: When | None, reader: Reader) -> Clear | None:
    """What re-arms a rule, or None after complaining."""
    condition = None if when is None else when.single
    if when is not None and condition is None:
        hint = "a rule of several conditions fires once in a request"
        reader.error(node, "`clear` needs a rule of one condition", hint, "clear")
        return None
    side = "above" if condition is not None and condition.direction == -1 else "below"
    if condition is None and "above" in node.entries:
        side = "above"
    other = "below" if side == "above" else "above"
    if other in node.entries and side not in node.entries:
        hint = f"calm is `{side}` a looser level"
        reader.error(node.entries[other].place, f"the rule itself fires `{other}`", hint, "clear")
        return None
    if reader.split_number(node):
        return None
    keys = reader.mapping(node, (side, "for"), required=(side, "for"))
    if side not in keys or "for" not in keys:
        return None
    level = read_level(keys[side], reader)
    n = read_tokens(keys["for"], reader, ("32 tokens",))
    if level is None or n is None or condition is None:
        return None
    if level.noun != condition.level.noun:
        hint = f"count both alike: the rule says `{condition.level.text}`"
        reader.error(keys[side], f"`clear` at `{level.text}`", hint, "clear")
        return None
    direction = condition.direction
    if strictness(level, direction) >= strictness(condition.level, direction):
        hint = f"it has to be looser than the rule's `{condition.level.text}`"
        reader.error(keys[side], f"`clear` at `{level.text}` is no calm", hint, "clear")
        return None
    places = {name: value.place for name, value in keys.items()}
    return Clear(1 if side == "above" else -1, level, n, places)


def strictness(level: Level, direction: int) -> Fraction:
    """Greater where less lies beyond, among levels that count the same. direction: 1 above, -1 below."""
    if level.noun == "day":
        return -level.value
    return direction * level.value if level.noun == "z" else level.value  # N of `1 in N`


CONDITION_KEYS = (*KEYS, "signal", *GROUPS, "not", "within")
"""Every key that stands somewhere under `when`."""
