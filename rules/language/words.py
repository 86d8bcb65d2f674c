"""What an expression is written with: numbers, names and symbols, and a hint for what other languages have.

Owns where each stands in the text, and how it is complained about. It never learns what an expression means.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from dosimeter.detectors.findings import visible

MAX_NUMBER = 1000

_WORD = re.compile(
    r"(?P<number>[0-9][0-9A-Za-z_.]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<symbol>\*\*|//|&&|\|\||[<>=!]=?|[^ \t\r\n])"
)
_NUMBER = re.compile(r"(?P<whole>[0-9]+)(?:\.(?P<decimals>[0-9]{1,3}))?")

_LEVEL = "no comparison here: the level stands beside it, under `above` or `below`"
_BOTH = "`min(a, b)` is high where both are, `max(a, b)` where one is"
HINTS = {
    **dict.fromkeys(("<", ">", "<=", ">=", "=", "==", "!="), _LEVEL),
    **dict.fromkeys(("and", "or", "&", "&&", "|", "||"), _BOTH),
    **dict.fromkeys(("not", "!"), "`-a` is high where `a` is low"),
    **dict.fromkeys(("−", "–", "—"), "write `-`"),
    **dict.fromkeys(("×", "·", "÷"), "write `*` or `/`"),
    **dict.fromkeys(("**", "^", "//", "%"), "the operators are `+`, `-`, `*` and `/`"),
    ",": "only between the arguments of `min` or `max`; decimals follow a point: `0.5`",
    ".": "a number begins with a digit: `0.5`",
    "+": "leave it out: `+` stands between two parts",
}


class ExprError(ValueError):
    """An expression that cannot be. message, hint; offset: the character it is about, from 0."""

    def __init__(self, message: str, hint: str, offset: int) -> None:
        super().__init__(f"{message}\n  hint: {hint}")
        self.message = message
        self.hint = hint
        self.offset = offset


class Word(NamedTuple):
    """offset: of its first character, from 0; kind `end` stands behind the last."""

    kind: str  # number | name | symbol | end
    text: str
    offset: int

    def error(self, message: str, hint: str) -> ExprError:
        return ExprError(message, hint, self.offset)

    def unexpected(self, wanted: str, hint: str) -> ExprError:
        found = "the end" if self.kind == "end" else f"`{visible(self.text)}`"
        return self.error(f"{found} where {wanted} should be", HINTS.get(self.text, hint))

    def as_number(self) -> tuple[Fraction, str]:
        """Its value, and how it is usually written."""
        match = _NUMBER.fullmatch(self.text)
        if match is None:
            raise self.error(
                f"`{self.text}` is no number here", "digits, with at most 3 decimals: `0.25`"
            )
        value = Fraction(self.text)
        if value > MAX_NUMBER:
            raise self.error(f"`{self.text}` is too large", f"at most {MAX_NUMBER}")
        decimals = (match["decimals"] or "").rstrip("0")
        whole = str(int(match["whole"]))
        return value, f"{whole}.{decimals}" if decimals else whole


def words(text: str) -> list[Word]:
    """All of it: what no word begins with is a symbol of its own. The last is the end."""
    found = [Word(m.lastgroup or "", m[0], m.start()) for m in _WORD.finditer(text)]
    return [*found, Word("end", "", len(text))]
