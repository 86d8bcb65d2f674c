"""What a threshold says (`Level`) and what it is compared with (`Shape`), before any data.

A level carries its unit and its noun; without one it is an error, because `1 in 1000` tokens fires
in a sixth of benign answers while a reader takes it for answers. Resolving a level is a
calibration's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from dosimeter.detectors.frames import CODE_MAX, CODES_PER_SD, Scope

Noun = Literal["answers", "messages", "tokens", "day", "z"]
Kind = Literal["once", "for", "at_least", "average", "average_scope", "average_last", "share"]
KINDS = get_args(Kind)
WINDOWED = ("for", "at_least", "average", "average_last")
WHOLE = ("average_scope", "share")
"""Shapes of a whole scope, however long it is and whatever of it was scored: they can ask for enough of it."""
MOST_OF = 64
"""Longest `at_least`: one bit a token of a machine's word."""


_SHARE = re.compile(r"1 in (?P<n>[0-9]{1,12}|[0-9]{1,3}(?:,[0-9]{3}){1,3})(?: (?P<noun>[a-z]+))?")
_DAILY = re.compile(r"(?P<n>[0-9]{1,9}) (?:a|per) day")
_Z = re.compile(r"z (?P<x>[-+]?[0-9]{1,3}(?:\.[0-9]{1,9})?)")
_NOUNS: dict[str, Noun] = {
    "answer": "answers",
    "answers": "answers",
    "message": "messages",
    "messages": "messages",
    "token": "tokens",
    "tokens": "tokens",
}
_FORMS = "`1 in 1000 answers`, `1 in 1000 messages`, `20 a day`, `1 in 10000 tokens` or `z 2`"


class LevelError(ValueError):
    """A level that cannot be read, or that does not suit the scope or shape. message, hint."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}\n  hint: {hint}")
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Shape:
    """How the codes of a scope become one statistic, compared with `> threshold`.

    once           the largest code; n is 1
    for            the largest, over windows of n consecutive tokens, of the smallest code
    at_least       the largest, over windows of n consecutive tokens, of the k-th largest code; near a start the
                   window is what there is
    average        the largest mean of n consecutive tokens, exactly: sum > threshold * n
    average_scope  the mean over the whole scope, decided at its end; n is 1
    average_last   the mean of its last n tokens, or of all if it is shorter, decided at its end; not where one of
                   them was not scored
    share          the largest code that k per cent of the scope's scored tokens reach, decided at its end; n is 1

    k is 1 but for `at_least` and `share`. A shape of the whole scope decides only with `least` scored tokens, and with
    `coverage` per cent of the scope's tokens scored.
    """

    kind: Kind
    n: int = 1
    k: int = 1
    least: int = 0
    coverage: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"shape `{self.kind}` is none of {', '.join(KINDS)}")
        most = MOST_OF if self.kind == "at_least" else 65_536 if self.kind in WINDOWED else 1
        if type(self.n) is not int or not 1 <= self.n <= most:
            raise ValueError(
                f"shape `{self.kind}` with n = {self.n!r}: its window has 1 to {most} tokens"
            )
        most_k = {"at_least": self.n, "share": 100}.get(self.kind, 1)
        if type(self.k) is not int or not 1 <= self.k <= most_k:
            raise ValueError(f"shape `{self.kind}` with k = {self.k!r} of {self.n}")
        enough = (self.least, self.coverage)
        whole = self.kind in WHOLE and self.least >= 0 and 0 <= self.coverage <= 100
        if enough != (0, 0) and not whole:
            raise ValueError(f"shape `{self.kind}` with least, coverage = {enough}")


@dataclass(frozen=True, slots=True)
class Level:
    """A parsed level. value: N of `1 in N`, the number a day, or z; text: as it was written."""

    noun: Noun
    value: Fraction
    text: str

    @classmethod
    def parse(cls, text: str) -> Level:
        """`1 in 1000 answers`, `… messages`, `… tokens`, `20 a day`, `z 2.5`. Raises LevelError."""
        plain = " ".join(text.split()) if isinstance(text, str) else str(text)
        if match := _SHARE.fullmatch(plain):
            return cls(_noun(match, plain), _count(match, plain, 2), plain)
        if match := _DAILY.fullmatch(plain):
            return cls("day", _count(match, plain, 1), plain)
        if match := _Z.fullmatch(plain):
            level = cls("z", Fraction(match["x"]), plain)
            if abs(level.z_code()) >= CODE_MAX:
                raise LevelError(
                    f"level `{plain}` is outside what a code can hold",
                    f"|z| is below {CODE_MAX // CODES_PER_SD}",
                )
            return level
        unit = "no unit" if re.fullmatch(r"[-+.0-9eE%]+", plain) else "a form that is not known"
        raise LevelError(f"level `{plain[:60]}` has {unit}", f"write {_FORMS}")

    def z_code(self) -> int:
        """`z X` in code units: round(256 X), half to even."""
        return round(self.value * CODES_PER_SD)

    def check(self, scope: Scope, shape: Shape) -> None:
        """Raises LevelError where noun and scope, or noun and shape, contradict each other."""
        if scope is Scope.HISTORY:
            raise LevelError(
                "scope `history` fires nothing: its turns were decided when they were new",
                "use `answer` or `message`",
            )
        wrong = {Scope.ANSWER: "messages", Scope.MESSAGE: "answers"}.get(scope)
        if self.noun == wrong:
            right = "answers" if wrong == "messages" else "messages"
            raise LevelError(
                f"level `{self.text}` counts {wrong}, the scope is `{scope.name.lower()}`",
                f"write `1 in {self.value} {right}`",
            )
        if self.noun == "tokens" and shape.kind in (*WHOLE, "average_last"):
            raise LevelError(
                f"level `{self.text}` counts tokens, what waits for the scope's end decides once",
                "count answers or messages",
            )


def _noun(match: re.Match[str], plain: str) -> Noun:
    noun = match["noun"]
    if noun is None:
        raise LevelError(
            f"level `{plain}` has no noun",
            f"write `1 in {match['n']} answers`, or messages, or tokens",
        )
    if noun not in _NOUNS:
        raise LevelError(f"level `{plain}` counts `{noun}`", "count answers, messages or tokens")
    return _NOUNS[noun]


def _count(match: re.Match[str], plain: str, least: int) -> Fraction:
    count = int(match["n"].replace(",", ""))
    if count < least:
        raise LevelError(f"level `{plain}` leaves nothing to tell apart", f"write {_FORMS}")
    return Fraction(count)
