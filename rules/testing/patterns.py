"""Short stretches of scores that lie on the edge of one condition: just enough, one too few, just beyond its level.

Owns the patterns by shape, and how a feature, or those of an expression, are driven to a value. It never learns how
conditions join (`boundary.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dosimeter.detectors.frames import CODE_MAX, CODE_UNSCORED, CODES_PER_SD, Codes
from dosimeter.detectors.levels import Shape
from dosimeter.rules.language.condition import Condition
from dosimeter.rules.language.expr import Expr
from dosimeter.rules.testing.runs import decimal
from dosimeter.rules.testing.streams import Piece

_HALF_SD = CODES_PER_SD // 2
_NICE = 400  # codes looked at for one that is short to write


class Span(NamedTuple):
    """Any of these codes will do; None: not scored."""

    low: int
    high: int


Pattern = tuple[tuple[Span | None, int], ...]
"""(value, tokens) in order."""


class Edge(NamedTuple):
    """A condition with its threshold in codes."""

    condition: Condition
    threshold: int

    def beyond(self, codes: int, room: int = 8) -> Span:
        """From this many codes beyond the threshold on; negative: short of it."""
        side = self.condition.direction
        ends = (self.threshold + side * codes, self.threshold + side * (codes + room))
        low, high = sorted(max(-CODE_MAX, min(CODE_MAX, end)) for end in ends)
        return Span(low, high)

    @property
    def strong(self) -> Span:
        return self.beyond(_HALF_SD, _HALF_SD)

    @property
    def calm(self) -> Span:
        """0 where that is not beyond, as it seldom is."""
        quiet = self.threshold * self.condition.direction >= 0
        return Span(0, 0) if quiet else self.beyond(-2 * CODES_PER_SD, CODES_PER_SD)


def between(first: Edge, second: Edge) -> Iterator[Span]:
    """What is beyond one threshold and not beyond the other; and both sides of each."""
    low, high = sorted((first.threshold, second.threshold))
    if high - low > 1:
        yield Span(low + 1, high - (1 if high - low > 2 else 0))
    for edge in {first, second}:
        yield edge.beyond(1)
        yield edge.beyond(-8)


def patterns(edge: Edge, spans: Sequence[Span]) -> Iterator[Pattern]:
    """On the edge of the condition. spans: values worth trying in place of one that is clearly beyond."""
    shape, enough = edge.condition.shape, _enough(edge.condition.shape)
    for span in (edge.strong, *spans):
        yield ((span, enough),)
    yield from _counted(edge, shape)
    far, near = edge.beyond(2 * CODES_PER_SD), edge.beyond(-CODES_PER_SD)
    n = max(enough, 2)
    yield (far, -(-n // 2)), (near, n // 2)  # the mean is beyond, the least is not
    yield (edge.beyond(1), 1), (edge.beyond(-4 * CODES_PER_SD), n)  # the other way round
    if shape.kind == "average_last":
        for n in (shape.n - 1, shape.n, shape.n + 1):
            deep = edge.beyond(-(n + 1) * 30, 1)
            yield (deep, 1), (edge.beyond(24, 2), n)


def _counted(edge: Edge, s: Shape) -> Iterator[Pattern]:
    strong, calm = edge.strong, edge.calm
    if s.kind in ("once", "for", "average", "average_last"):
        for n in (s.n - 1, s.n, s.n + 1):
            if n:
                yield ((strong, n),)
    elif s.kind == "at_least":
        for k in (s.k - 1, s.k):
            for apart in (s.n - s.k - 1, s.n - s.k, s.n - s.k + 1):
                if k and apart > 0:
                    yield (strong, k), (calm, apart), (strong, 1)
                    yield (strong, 1), (calm, apart), (strong, k)
            if k:
                yield ((strong, k),)
        yield ((strong, s.n),)
    else:
        for n in (s.least - 1, s.least, s.least + 1):
            if n > 0:
                yield ((strong, n),)
        times = -(-max(s.least, 1) // 100)
        if s.coverage:
            for c in (s.coverage - 1, s.coverage):
                yield (strong, times * c), (None, times * (100 - c))
        if s.kind == "share":
            anti = edge.beyond(-4 * CODES_PER_SD)
            for k in (s.k - 1, s.k):
                yield (strong, times * k), (calm, times * (100 - k))
                yield (edge.beyond(1), times * k), (anti, times * (100 - k))


def _enough(s: Shape) -> int:
    """Tokens, all beyond the level, after which it is met."""
    return s.k if s.kind == "at_least" else max(s.n, s.least)


def drive(condition: Condition, pattern: Pattern, features: tuple[str, ...]) -> Piece:
    """Tokens of the condition's scope in which its column follows the pattern, as near as it can."""
    total = sum(n for _, n in pattern)
    codes = np.zeros((total, len(features)), np.int16)
    row = 0
    for span, n in pattern:
        for name, code in _driven(condition, span):
            codes[row : row + n, features.index(name)] = code
        row += n
    return Piece(codes, np.full(total, int(condition.scope), np.uint8))


def _driven(condition: Condition, span: Span | None) -> list[tuple[str, int]]:
    """What each feature is to be."""
    if span is None:
        return [(name, CODE_UNSCORED) for name in condition.features]
    if condition.score is None:
        return [(condition.feature, _nicest_in(span))]
    for mode in range(-1, len(condition.features)):
        found = np.flatnonzero((column := _column(condition.score, mode)) >= span.low)
        fits = found[column[found] <= span.high] - CODE_MAX
        if len(fits):
            few = fits[np.argsort(np.abs(fits))[:_NICE]].tolist()
            code = _nicest(few, Span(min(few), max(few)))
            names = condition.features if mode < 0 else condition.features[mode : mode + 1]
            return [(name, code) for name in names]
    return []


@lru_cache(maxsize=256)
def _column(score: Expr, mode: int) -> Codes:
    """The expression's codes while one feature, or with mode -1 each of them, is every code there is."""
    every = np.arange(-CODE_MAX, CODE_MAX + 1, dtype=np.int16)
    zero = np.zeros_like(every)
    return score.codes([every if mode in (-1, at) else zero for at in range(len(score.features))])


@lru_cache(maxsize=4096)
def _nicest_in(span: Span) -> int:
    return _nicest(range(span.low, span.high + 1), span)


def _nicest(codes: Sequence[int], span: Span) -> int:
    """The one with the fewest digits; of these the one nearest the middle."""
    middle = (span.low + span.high) / 2
    near = sorted(codes, key=lambda code: abs(code - middle))[:_NICE]
    return min(near, key=lambda code: (len(decimal(code).lstrip("-")), abs(code - middle)))
