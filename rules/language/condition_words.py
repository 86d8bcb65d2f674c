"""A condition in plain English, and what it cannot see.

Owns the sentence of each shape, level and scope. What rules do with a hit is `explain.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import WHOLE, Level
from dosimeter.rules.language.condition import Condition

_SCOPES = {
    Scope.SYSTEM: "a system message",
    Scope.MESSAGE: "a user's message",
    Scope.ANSWER: "an answer",
    Scope.TOOL: "a tool result",
    Scope.REASONING: "reasoning",
}


def said(condition: Condition) -> str:
    """`in an answer, the mean of `deception` over 8 tokens in a row lies above …`."""
    shape, name = condition.shape, f"`{condition.feature}`"
    level = level_said(condition.level, condition.direction)
    text = {
        "once": f"some token has {name} {level}",
        "for": f"{shape.n} tokens in a row each have {name} {level}",
        "at_least": f"{shape.k} of {shape.n} tokens in a row have {name} {level}",
        "average": f"the mean of {name} over {shape.n} tokens in a row lies {level}",
        "average_scope": f"the mean of {name} over all of it lies {level}",
        "average_last": f"the mean of {name} over the last {shape.n} tokens of it lies {level}",
        "share": f"{shape.k} % or more of its scored tokens have {name} {level}",
    }[shape.kind]
    enough = []
    if shape.least:
        enough.append(f"at least {shape.least} of its tokens were scored")
    if shape.coverage:
        enough.append(f"{shape.coverage} % of it or more were scored")
    return f"in {_SCOPES[condition.scope]}, {text}" + (
        f", provided that {' and '.join(enough)}" if enough else ""
    )


def level_said(level: Level, direction: int) -> str:
    """`above the level that only 1 in 500 benign answers exceed`."""
    side, beyond = ("above", "exceed") if direction == 1 else ("below", "fall below")
    if level.noun == "z":
        return f"{side} {level.text.removeprefix('z ')} benign standard deviations"
    if level.noun == "day":
        return f"{side} the level that {level.value} benign requests a day {beyond}"
    return f"{side} the level that only 1 in {level.value} benign {level.noun} {beyond}"


def when_decided(condition: Condition) -> str:
    """Behind `It is decided`."""
    if condition.shape.kind in (*WHOLE, "average_last"):
        return f"at the end of {_SCOPES[condition.scope]}"
    return "at the first token where that is so"


def unseen(condition: Condition) -> Iterator[str]:
    """What it passes over, as one would ask about it afterwards."""
    shape = condition.shape
    one = _SCOPES[condition.scope]
    if condition.scope is Scope.REASONING:
        yield "anything: no tap of this release marks reasoning, whose tokens count as the answer's"
        return
    needed = {"for": shape.n, "average": shape.n, "at_least": shape.k}.get(shape.kind, 1)
    if needed > 1:
        yield f"{one} of fewer than {needed} tokens"
    if shape.kind in ("for", "average", "at_least") and shape.n > 1:
        yield "a stretch across a token without a score: counting begins again behind it"
    elif shape.kind == "average_last":
        yield f"{one} of which one of the last {shape.n} tokens has no score"
    else:
        yield "tokens without a score"
    if shape.least:
        yield f"{one} with fewer than {shape.least} scored tokens"
    if shape.coverage:
        yield f"{one} of which less than {shape.coverage} % was scored"
    if condition.score is not None:
        yield f"tokens on which one of {_listed(condition.features)} has no score"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
