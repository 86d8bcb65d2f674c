"""Exact arithmetic over columns of codes, rounded once: the same bits on every machine.

A value is an integer computed for each token, times one fraction that is known beforehand. A constant factor changes
the fraction alone; a sum, `min` or `max` first brings its parts to the largest fraction that divides all of theirs.
What could leave 64 bits for any codes is refused when it is put together (TooLarge), so nothing can overflow later.
It never learns how an expression is written, nor where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Literal

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODE_MAX, CODE_UNSCORED, CODES_PER_SD, Codes

Join = Literal["sum", "min", "max", "abs"]

_INT64_MAX = 2**63 - 1
_LARGEST = -CODE_UNSCORED  # of |code|: the reserved one is computed with too, and then discarded
_FOLD = {"sum": np.add, "min": np.minimum, "max": np.maximum}


class TooLarge(ArithmeticError):
    """Some codes could take a value, or its fraction, beyond 64 bits."""


@dataclass(frozen=True, slots=True)
class _Term:
    """The integer of a token. Each of `parts` comes with the factor it is multiplied by."""

    op: Literal["one", "column", "sum", "min", "max", "abs"]
    parts: tuple[tuple[int, _Term], ...] = ()
    column: int = 0

    def over(self, columns: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
        if self.op == "column":
            return columns[self.column]
        if self.op == "one":
            return np.ones((), np.int64)
        first, *others = (factor * part.over(columns) for factor, part in self.parts)
        if self.op == "abs":
            return np.abs(first)
        for other in others:
            first = _FOLD[self.op](first, other)
        return first


@dataclass(frozen=True, slots=True)
class Exact:
    """scale * term, in codes. bound: of |term| over all codes, 1 or more. Raises TooLarge."""

    scale: Fraction
    term: _Term
    bound: int

    def __post_init__(self) -> None:
        largest = self.bound * max(1, abs(self.scale.numerator))
        if max(largest, self.scale.denominator) > _INT64_MAX:
            raise TooLarge

    @property
    def constant(self) -> Fraction | None:
        """As a number: in sd where it meets a score. None where there is a column in it."""
        return self.scale / CODES_PER_SD if self.term.op == "one" else None

    def times(self, factor: Fraction) -> Exact:
        return Exact(self.scale * factor, self.term, self.bound)

    def codes(self, columns: Sequence[Codes]) -> Codes:
        """Rounded half to even, then saturated, as `to_codes` does; unscored where a column is."""
        value = self.term.over([column.astype(np.int64) for column in columns])
        divisor = self.scale.denominator
        scaled = value * self.scale.numerator
        code = scaled // divisor  # not divmod, whose divisor numpy does not take for a constant
        rest = scaled - code * divisor
        more = divisor - rest  # compared like this, since 2 * rest may leave 64 bits
        code += rest > more - (code & 1)
        clipped = np.clip(code, -CODE_MAX, CODE_MAX).astype(np.int16)
        unscored = np.logical_or.reduce([column == CODE_UNSCORED for column in columns])
        return np.where(unscored, np.int16(CODE_UNSCORED), clipped)


def number(value: Fraction) -> Exact:
    return Exact(value * CODES_PER_SD, _Term("one"), 1)


def column(index: int) -> Exact:
    return Exact(Fraction(1), _Term("column", column=index), _LARGEST)


def joined(op: Join, values: Sequence[Exact]) -> Exact:
    """`abs` of one value; else of any. Numbers among themselves become a number."""
    scales = [value.scale for value in values]
    if all(value.constant is not None for value in values):
        folded = {"sum": sum(scales), "min": min(scales), "max": max(scales), "abs": abs(scales[0])}
        return number(Fraction(folded[op]) / CODES_PER_SD)
    below = lcm(*(scale.denominator for scale in scales))
    unit = Fraction(gcd(*(int(scale * below) for scale in scales)) or below, below)
    factors = [int(scale / unit) for scale in scales]
    bounds = [abs(factor) * value.bound for factor, value in zip(factors, values, strict=True)]
    parts = tuple(zip(factors, (value.term for value in values), strict=True))
    return Exact(unit, _Term(op, parts), max(1, sum(bounds) if op == "sum" else max(bounds)))
