"""One condition over tokens: which feature's codes, in which scope, beyond which level, in which shape.

Owns `Condition` and the reading of it out of a YAML tree. The words of a level belong to
`detectors/levels.py`; what a level means in codes belongs to a calibration.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dosimeter.detectors.findings import Place, suggest, visible
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import MOST_OF, WHOLE, Level, LevelError, Shape
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.rules.atoms import MAX_TOKENS
from dosimeter.rules.language.expr import Expr, ExprError, parse

SCOPES = {s.name.lower(): s for s in Scope if s is not Scope.HISTORY}

_SPOKEN = {
    "message": ["user", "prompt", "input", "question"],
    "answer": ["model", "assistant", "reply", "response", "output", "completion"],
}
MEANT = {
    word: f"the {'user' if scope == 'message' else 'model'}'s words are `{scope}`"
    for scope, words in _SPOKEN.items()
    for word in words
}
"""The hint for a scope by the name that it has elsewhere."""

SHAPE_KEYS = ("for", "at-least", "average", "share")
KEYS = ("feature", "score", "in", "above", "below", *SHAPE_KEYS, "min-tokens", "coverage")
MAX_LEAST = 100_000
_TOKENS = re.compile(r"([0-9]{1,9}) tokens?")
_OF_TOKENS = re.compile(r"([0-9]{1,9}) of ([0-9]{1,9}) tokens?")
_PER_CENT = re.compile(r"([0-9]{1,3}) ?%")
_PART_OF_ONE = re.compile(r"([0-9]{1,3})\.[0-9]+ ?%")


@dataclass(frozen=True, slots=True)
class Condition:
    """A feature's codes, or those of an expression over several, in one scope, beyond a level, in a shape."""

    feature: str  # its name, or the expression's text
    scope: Scope
    direction: int  # 1 above, -1 below
    level: Level
    shape: Shape
    score: Expr | None = None
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, hash=False)

    @property
    def features(self) -> tuple[str, ...]:
        """What it reads."""
        return (self.feature,) if self.score is None else self.score.features

    def as_json(self) -> dict[str, Any]:
        scope, shape = self.scope.name.lower(), self.shape
        text: dict[str, Any] = {
            "feature" if self.score is None else "score": self.feature,
            "in": scope,
            "above" if self.direction == 1 else "below": self.level.text,
        }
        if shape.kind in ("for", "average"):
            text[shape.kind] = f"{shape.n} tokens"
        elif shape.kind == "at_least":
            text["at-least"] = f"{shape.k} of {shape.n} tokens"
        elif shape.kind == "average_scope":
            text["average"] = scope
        elif shape.kind == "average_last":
            text["average"] = f"last {shape.n} tokens"
        elif shape.kind == "share":
            text["share"] = f"{shape.k} % of {scope}"
        if shape.least:
            text["min-tokens"] = shape.least
        if shape.coverage:
            text["coverage"] = f"{shape.coverage} %"
        return text


def read_condition(node: Node, reader: Reader) -> Condition | None:
    """The condition, or None after complaining."""
    before = len(reader.findings)
    if reader.split_number(node):
        return None
    keys = reader.mapping(node, KEYS)
    if node.kind == "map" and "in" not in keys and "in" not in _misspelt(node):
        hint = f"say in whose words: {', '.join(f'`{scope}`' for scope in SCOPES)}"
        reader.error(node, "`in` is missing", hint, "missing-key")
    feature, score = _feature(node, keys, reader)
    scope = _scope(keys["in"], reader) if "in" in keys else None
    sides = [key for key in ("above", "below") if key in keys]
    level = None
    if not sides and {"above", "below"} & _misspelt(node):
        pass  # said already
    elif node.kind == "map" and len(sides) != 1:
        message = "both `above` and `below`" if sides else "`above` is missing"
        hint = "exactly one level, for example `above: 1 in 1000 answers`"
        reader.error(node, message, hint, "level")
    elif sides:
        level = read_level(keys[sides[0]], reader)
    shape = _shape(keys, scope, reader)
    if shape is not None:
        shape = _enough(shape, keys, reader)
    if level is not None and scope is not None and shape is not None:
        try:
            level.check(scope, shape)
        except LevelError as error:
            reader.error(keys[sides[0]], error.message, error.hint, "level")
    if len(reader.findings) > before:
        return None
    if feature is None or scope is None or level is None or shape is None:
        return None
    places = {name: value.place for name, value in keys.items()}
    direction = 1 if sides == ["above"] else -1
    return Condition(feature, scope, direction, level, shape, score, places)


def _misspelt(node: Node) -> set[str | None]:
    """The keys that unknown ones were meant to be."""
    return {suggest(key, KEYS) for key in node.entries if key not in KEYS}


def _feature(
    node: Node, keys: Mapping[str, Node], reader: Reader
) -> tuple[str | None, Expr | None]:
    given = [key for key in ("feature", "score") if key in keys]
    if not given and {"feature", "score"} & _misspelt(node):
        return None, None  # said already
    if node.kind == "map" and len(given) != 1:
        message = "both `feature` and `score`" if given else "`feature` is missing"
        hint = "name one feature, or write one `score`, such as `max(scam, deception)`"
        reader.error(keys["score"] if given else node, message, hint, "missing-key")
        return None, None
    if given == ["feature"] and keys["feature"].kind == "list":
        hint = "one condition names one feature: list conditions under `any:`, or write a `score:`"
        reader.expected(keys["feature"], "one feature", hint)
        return None, None
    if given == ["feature"]:
        return reader.text(keys["feature"], 64), None
    text = reader.text(keys["score"], 500) if given else None
    if text is None:
        return None, None
    try:
        score = parse(text)
    except ExprError as error:
        hint = error.hint
        if not keys["score"].style and text.count("(") > text.count(")"):
            hint = f'put it in quotes: between `{{` and `}}` a comma ends it; `score: "{text}, …)"`'
        reader.error(keys["score"].at(error.offset), error.message, hint, "score")
        return None, None
    return score.text, score


def _scope(node: Node, reader: Reader) -> Scope | None:
    if node.kind == "list":
        hint = "one condition looks at one scope: list conditions under `any:`"
        reader.expected(node, "one scope", hint)
        return None
    if node.value == "history":
        hint = "its turns were decided when they were new: use `answer` or `message`"
        reader.error(node, "scope `history` fires nothing", hint, "scope")
        return None
    if str(node.value).lower() in MEANT:
        hint = MEANT[str(node.value).lower()]
        reader.error(node, f"`{visible(node.written)}` is no scope", hint, "scope")
        return None
    name = reader.one_of(node, SCOPES, "scope")
    return None if name is None else SCOPES[name]


def read_level(node: Node, reader: Reader) -> Level | None:
    """A level, or None after complaining."""
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


def _enough(shape: Shape, keys: Mapping[str, Node], reader: Reader) -> Shape | None:
    """With how much of the scope must be there, and scored."""
    given = [key for key in ("min-tokens", "coverage") if key in keys]
    if given and shape.kind not in WHOLE:
        hint = "a window has its length; ask this of `average: answer` or `share: 20 % of answer`"
        reader.error(keys[given[0]], f"`{given[0]}` without a shape of the whole", hint, "shape")
        return None
    least: int | None = 0
    if "min-tokens" in keys and (said := _TOKENS.fullmatch(keys["min-tokens"].written)):
        reader.expected(keys["min-tokens"], "a whole number", f"write `{said[1]}`")
        return None
    if "min-tokens" in keys:
        least = reader.integer(keys["min-tokens"], 1, MAX_LEAST)
    coverage = per_cent(keys["coverage"], reader) if "coverage" in keys else 0
    if least is None or coverage is None:
        return None
    return replace(shape, least=least, coverage=coverage)


def per_cent(node: Node, reader: Reader, of: str | None = None) -> int | None:
    """`20 %`, or with `of` `20 % of answer`: 1 to 100, or None after complaining."""
    form = "20 %" if of is None else f"20 % of {of}"
    if node.kind in ("int", "float"):
        meant = form.replace("20", node.written, 1) if node.kind == "int" else form
        reader.error(node, f"`{node.written}` has no unit", f"write `{meant}`", "shape")
        return None
    text = reader.text(node, 80)
    if text is None:
        return None
    number, _, said = text.partition(" of ")
    match = _PER_CENT.fullmatch(number)
    if match is None or said != (of or ""):
        hint = f"write `{form}`"
        if said == (of or "") and (whole := _PART_OF_ONE.fullmatch(number)):
            hint = f"a whole number, such as `{form.replace('20', str(max(1, int(whole[1]))), 1)}`"
        reader.error(node, f"`{visible(text)}` is no share", hint, "shape")
        return None
    if not 1 <= int(match[1]) <= 100:
        reader.error(node, f"`{visible(text)}` is no share", "from 1 % to 100 %", "shape")
        return None
    return int(match[1])


def _shape(keys: Mapping[str, Node], scope: Scope | None, reader: Reader) -> Shape | None:
    given = [key for key in SHAPE_KEYS if key in keys]
    if len(given) > 1:
        message = f"both `{given[0]}` and `{given[1]}`"
        reader.error(keys[given[1]], message, "keep one shape", "shape")
        return None
    own = "answer" if scope is None else scope.name.lower()
    if "at-least" in keys:
        return _at_least(keys["at-least"], reader)
    if "share" in keys:
        share = per_cent(keys["share"], reader, own)
        return None if share is None else Shape("share", 1, share)
    if "for" in keys:
        n = read_tokens(keys["for"], reader, ("16 tokens",))
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
    if isinstance(node.value, str) and node.value.startswith("last "):
        n = read_tokens(node, reader, ("last 4 tokens",), node.value.removeprefix("last "))
        return None if n is None else Shape("average_last", n)
    n = read_tokens(node, reader, ("32 tokens", "last 4 tokens", own))
    return None if n is None else Shape("average", n)


def _at_least(node: Node, reader: Reader) -> Shape | None:
    text = node.written if node.kind in ("int", "float") else reader.text(node, 80)
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


def read_tokens(
    node: Node,
    reader: Reader,
    forms: Collection[str],
    said: str | None = None,
    most: int = MAX_TOKENS,
) -> int | None:
    """A length in tokens, or None after complaining. said: the part of the value that is one, if not all of it."""
    listed = " or ".join(f"`{form}`" for form in forms)
    if node.kind == "int":
        reader.error(
            node, f"`{node.written}` has no unit", f"write `{node.written} tokens`", "shape"
        )
        return None
    text = node.written if node.kind == "float" else reader.text(node, 80)
    if text is None:
        return None
    match = _TOKENS.fullmatch(text if said is None else said)
    if match is None:
        reader.error(node, f"`{visible(text)}` is no length", f"write {listed}", "shape")
        return None
    if not 1 <= int(match[1]) <= most:
        message = f"`{visible(text)}` is no window"
        if int(match[1]) > most:
            message = f"`{visible(text)}` is longer than a window can be"
        reader.error(node, message, f"from 1 to {most} tokens", "shape")
        return None
    return int(match[1])
