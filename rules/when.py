"""The condition of a rule: which feature's codes, in which scope, beyond which level, in which
shape.

Owns `When` and the reading of it out of a YAML tree. The words of a level belong to
`detectors/levels.py`; what a level means in codes belongs to a calibration.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dosimeter.detectors.findings import visible
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import MOST_OF, Level, LevelError, Shape
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.rules.atoms import MAX_TOKENS

SCOPES = {s.name.lower(): s for s in Scope if s is not Scope.HISTORY}

_SHAPES = ("for", "at-least", "average")
_KEYS = ("feature", "in", "above", "below", *_SHAPES)
_TOKENS = re.compile(r"([0-9]{1,9}) tokens?")
_OF_TOKENS = re.compile(r"([0-9]{1,9}) of ([0-9]{1,9}) tokens?")


@dataclass(frozen=True, slots=True)
class When:
    """One signal: a feature's codes in one scope, beyond a level, in a shape."""

    feature: str
    scope: Scope
    direction: int  # 1 above, -1 below
    level: Level
    shape: Shape

    def as_json(self) -> dict[str, Any]:
        scope = self.scope.name.lower()
        text = {
            "feature": self.feature,
            "in": scope,
            "above" if self.direction == 1 else "below": self.level.text,
        }
        if self.shape.kind in ("for", "average"):
            text[self.shape.kind] = f"{self.shape.n} tokens"
        elif self.shape.kind == "at_least":
            text["at-least"] = f"{self.shape.k} of {self.shape.n} tokens"
        elif self.shape.kind == "average_scope":
            text["average"] = scope
        elif self.shape.kind == "average_last":
            text["average"] = f"last {self.shape.n} tokens"
        return text


def read_when(node: Node, reader: Reader) -> When | None:
    """The condition, or None after complaining."""
    before = len(reader.findings)
    keys = reader.mapping(node, _KEYS, required=("feature", "in"))
    feature = reader.text(keys["feature"], 64) if "feature" in keys else None
    scope = _scope(keys["in"], reader) if "in" in keys else None
    sides = [key for key in ("above", "below") if key in keys]
    level = None
    if node.kind == "map" and len(sides) != 1:
        message = "both `above` and `below`" if sides else "`above` is missing"
        hint = "exactly one level, for example `above: 1 in 1000 answers`"
        reader.error(node, message, hint, "level")
    elif sides:
        level = _level(keys[sides[0]], reader)
    shape = _shape(keys, scope, reader)
    if level is not None and scope is not None and shape is not None:
        try:
            level.check(scope, shape)
        except LevelError as error:
            reader.error(keys[sides[0]], error.message, error.hint, "level")
    if len(reader.findings) > before:
        return None
    if feature is None or scope is None or level is None or shape is None:
        return None
    return When(feature, scope, 1 if sides == ["above"] else -1, level, shape)


def _scope(node: Node, reader: Reader) -> Scope | None:
    if node.value == "history":
        hint = "its turns were decided when they were new: use `answer` or `message`"
        reader.error(node, "scope `history` fires nothing", hint, "scope")
        return None
    name = reader.one_of(node, SCOPES, "scope")
    return None if name is None else SCOPES[name]


def _level(node: Node, reader: Reader) -> Level | None:
    if node.kind in ("int", "float"):
        text: str | None = node.written
    else:
        text = reader.text(node, 80)
    if text is None:
        return None
    try:
        return Level.parse(text)
    except LevelError as error:
        reader.error(node, visible(error.message), visible(error.hint), "level")
        return None


def _shape(keys: Mapping[str, Node], scope: Scope | None, reader: Reader) -> Shape | None:
    given = [key for key in _SHAPES if key in keys]
    if len(given) > 1:
        message = f"both `{given[0]}` and `{given[1]}`"
        reader.error(keys[given[1]], message, "keep one shape", "shape")
        return None
    if "at-least" in keys:
        return _at_least(keys["at-least"], reader)
    if "for" in keys:
        n = _tokens(keys["for"], reader, ("16 tokens",))
        return None if n is None else Shape("for", n)
    if "average" not in keys:
        return Shape("once")
    node = keys["average"]
    if isinstance(node.value, str) and node.value in SCOPES:
        if scope is not None and SCOPES[node.value] is not scope:
            own = scope.name.lower()
            message = f"average over `{node.value}` of tokens in `{own}`"
            reader.error(node, message, f"write `average: {own}`", "shape")
            return None
        return Shape("average_scope")
    own = "answer" if scope is None else scope.name.lower()
    if isinstance(node.value, str) and node.value.startswith("last "):
        n = _tokens(node, reader, ("last 4 tokens",), node.value.removeprefix("last "))
        return None if n is None else Shape("average_last", n)
    n = _tokens(node, reader, ("32 tokens", "last 4 tokens", own))
    return None if n is None else Shape("average", n)


def _at_least(node: Node, reader: Reader) -> Shape | None:
    text = reader.text(node, 80)
    if text is None:
        return None
    match = _OF_TOKENS.fullmatch(text)
    if match is None:
        reader.error(node, f"`{visible(text)}` is no count", "write `4 of 8 tokens`", "shape")
        return None
    k, n = int(match[1]), int(match[2])
    if not 1 <= n <= MOST_OF:
        reader.error(
            node, f"`{visible(text)}` is no window", f"from 1 to {MOST_OF} tokens", "shape"
        )
        return None
    if not 1 <= k <= n:
        hint = f"from `1 of {n} tokens` to `{n} of {n} tokens`"
        reader.error(node, f"`{visible(text)}` can never be", hint, "shape")
        return None
    return Shape("at_least", n, k)


def _tokens(
    node: Node, reader: Reader, forms: Collection[str], said: str | None = None
) -> int | None:
    """said: the part of the value that is a length, where it is not all of it."""
    listed = " or ".join(f"`{form}`" for form in forms)
    if node.kind == "int":
        reader.error(
            node, f"`{node.written}` has no unit", f"write `{node.written} tokens`", "shape"
        )
        return None
    text = reader.text(node, 80)
    if text is None:
        return None
    match = _TOKENS.fullmatch(text if said is None else said)
    if match is None:
        reader.error(node, f"`{visible(text)}` is no length", f"write {listed}", "shape")
        return None
    if not 1 <= int(match[1]) <= MAX_TOKENS:
        message = f"`{visible(text)}` is no window"
        if int(match[1]) > MAX_TOKENS:
            message = f"`{visible(text)}` is longer than a window can be"
        reader.error(node, message, f"from 1 to {MAX_TOKENS} tokens", "shape")
        return None
    return int(match[1])
