"""A score computed from scores: `0.7 * deception + 0.5 * scam - 0.4 * refusal`, `max(scam, deception)`.

Owns how the form is written, and its two types: a number, and a score in benign sd (a number beside a score is in sd
too). The result is a column of codes like a feature's own, which then goes through every shape and level. It never
learns which features exist, nor what a level is; the arithmetic, exact and rounded once, is `exact.py`'s.

No loops and no definitions, and text, nesting, parts and features are bounded: it ends, one step a part and word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from dosimeter.detectors.fields import NAME
from dosimeter.detectors.findings import hint_for
from dosimeter.detectors.frames import Codes
from dosimeter.rules.language.exact import Exact, Join, TooLarge, column, joined, number
from dosimeter.rules.language.words import HINTS, ExprError, Word, words

__all__ = ["Expr", "ExprError", "parse"]

MAX_TEXT = 500  # characters, as written and as `Expr.text`
MAX_NESTING = 16  # parentheses, calls and unary minuses inside one another
MAX_PARTS = 64  # numbers, features, operators and calls
MAX_FEATURES = 16

_SUM, _PRODUCT, _UNARY, _ATOM = range(4)  # how tightly it binds
_FUNCTIONS: dict[str, tuple[Join, int, int]] = {
    "min": ("min", 2, 8),
    "max": ("max", 2, 8),
    "abs": ("abs", 1, 1),
}
_START = "a feature, a number, `-`, `(`, `min`, `max` or `abs`"
_BETWEEN = "between two parts stands `+`, `-`, `*` or `/`; each `)` has its `(`"


@dataclass(frozen=True, slots=True)
class Expr:
    """A score out of scores. Equal where `text` is; `parse(text)` gives it back.

    text      with usual spaces, and without a parenthesis or digit that changes nothing
    features  in the order of their first use
    """

    text: str
    features: tuple[str, ...]
    _value: Exact = field(compare=False, repr=False)

    def codes(self, columns: Sequence[Codes]) -> Codes:
        """One int16 array a feature, all of one shape -> int16 of that shape.

        CODE_UNSCORED where any of them is, even one that is multiplied by 0.
        """
        shapes = [column.shape for column in columns]
        if len(shapes) != len(self.features) or len(set(shapes)) != 1:
            raise ValueError(f"`{self.text}` takes {self.features} in one shape, not {shapes}")
        if wrong := [column.dtype for column in columns if column.dtype != np.int16]:
            raise ValueError(f"codes are int16, not {wrong[0]}")
        return self._value.codes(columns)


def parse(text: str) -> Expr:
    """Raises ExprError at the first thing that is wrong."""
    if len(text) > MAX_TEXT:
        raise ExprError(f"{len(text)} characters", f"at most {MAX_TEXT}", MAX_TEXT)
    parser = _Parser(text)
    part = parser.sum()
    if parser.next.kind != "end":
        raise parser.next.unexpected("an operator", _BETWEEN)
    if part.value.constant is not None:
        raise ExprError(f"`{part.text}` has no feature", "a score is made of scores", 0)
    if len(part.text) > MAX_TEXT:
        message = f"{len(part.text)} characters once spaces stand around each operator"
        raise ExprError(message, f"at most {MAX_TEXT}", 0)
    return Expr(part.text, tuple(parser.features), part.value)


class _Part(NamedTuple):
    """A stretch of the expression, read: what it is, and how it is written."""

    value: Exact
    text: str
    binds: int

    def within(self, binds: int) -> str:
        return self.text if self.binds >= binds else f"({self.text})"


class _Parser:
    """One token ahead; a method for each level of the grammar."""

    def __init__(self, text: str) -> None:
        self._words = words(text)
        self._at = self._parts = self._nesting = 0
        self.features: dict[str, int] = {}

    @property
    def next(self) -> Word:
        return self._words[self._at]

    def sum(self) -> _Part:
        left = self._product()
        while self.next.text in ("+", "-"):
            word = self._take()
            right = self._product()
            with _at(word):
                signed = right.value.times(Fraction(1 if word.text == "+" else -1))
                value = joined("sum", (left.value, signed))
            left = _Part(value, f"{left.text} {word.text} {right.within(_PRODUCT)}", _SUM)
        return left

    def _product(self) -> _Part:
        left = self._factor()
        while self.next.text in ("*", "/"):
            word = self._take()
            right = self._factor()
            text = f"{left.within(_PRODUCT)} {word.text} {right.within(_UNARY)}"
            with _at(word):
                combine = _multiplied if word.text == "*" else _divided
                left = _Part(combine(left.value, right.value, text, word), text, _PRODUCT)
        return left

    def _factor(self) -> _Part:
        if self.next.text != "-":
            return self._atom()
        with self._nested(self._take()):
            part = self._factor()
        return _Part(part.value.times(Fraction(-1)), f"-{part.within(_UNARY)}", _UNARY)

    def _atom(self) -> _Part:
        kind, text, _ = self.next
        if text != "(" and (kind in ("symbol", "end") or text in HINTS):
            raise self.next.unexpected("a feature or a number", _START)
        word = self._take()
        if kind == "number":
            value, text = word.as_number()
            return _Part(number(value), text, _ATOM)
        if text == "(":
            with self._nested(word):
                part = self.sum()
                self._pass(")")
            return part
        if text in _FUNCTIONS or self.next.text == "(":
            return self._call(word)
        if not NAME.fullmatch(text):
            hint = "up to 64 small letters, digits and `_`, a letter first"
            raise word.error(f"`{text}` cannot be a feature", hint)
        index = self.features.setdefault(text, len(self.features))
        if index >= MAX_FEATURES:
            raise word.error(f"more than {MAX_FEATURES} features", "keep those that matter")
        return _Part(column(index), text, _ATOM)

    def _call(self, word: Word) -> _Part:
        name = word.text
        if name not in _FUNCTIONS:
            raise word.error(f"`{name}` is no function", hint_for(name, _FUNCTIONS))
        op, least, most = _FUNCTIONS[name]
        self._pass("(")
        with self._nested(word):
            parts = [self.sum()]
            while self.next.text == ",":
                self._take()
                parts.append(self.sum())
            self._pass(")")
        if not least <= len(parts) <= most:
            hint = f"from {least} to {most}" if least < most else f"exactly {most}"
            raise word.error(f"`{name}` with {len(parts)} arguments", hint)
        with _at(word):
            value = joined(op, [part.value for part in parts])
        return _Part(value, f"{name}({', '.join(part.text for part in parts)})", _ATOM)

    def _pass(self, bracket: str) -> None:
        if self.next.text != bracket:
            hint = "write `max(a, b)`" if bracket == "(" else _BETWEEN
            raise self.next.unexpected(f"`{bracket}`", hint)
        self._take()

    def _take(self) -> Word:
        word = self.next
        self._at += 1
        self._parts += word.text not in ("(", ")", ",")
        if self._parts > MAX_PARTS:
            hint = "features, numbers, operators and calls count: keep those that matter"
            raise word.error(f"more than {MAX_PARTS} parts", hint)
        return word

    @contextmanager
    def _nested(self, word: Word) -> Iterator[None]:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            message = f"`{word.text}` stands more than {MAX_NESTING} deep"
            raise word.error(message, "multiply out, or leave out parentheses")
        yield
        self._nesting -= 1


@contextmanager
def _at(word: Word) -> Iterator[None]:
    try:
        yield
    except TooLarge:
        message = f"numbers too large or too fine at `{word.text}` to compute exactly"
        raise word.error(message, "fewer factors and divisors inside") from None


def _multiplied(left: Exact, right: Exact, text: str, word: Word) -> Exact:
    if right.constant is not None:
        return left.times(right.constant)
    if left.constant is not None:
        return right.times(left.constant)
    hint = "one side of `*` is a number; `min(a, b)` is high where both are"
    raise word.error(f"`{text}` multiplies two scores", hint)


def _divided(left: Exact, right: Exact, text: str, word: Word) -> Exact:
    if right.constant is None:
        raise word.error(f"`{text}` divides by a score", "after `/` stands a number")
    if right.constant == 0:
        raise word.error(f"`{text}` divides by zero", "after `/` stands a number but 0")
    return left.times(1 / right.constant)
