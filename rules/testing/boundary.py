"""A test that a rule passes and a changed rule fails: found by trying streams on the edges of both.

Owns the candidates (conditions one after the other, one of them on its edge; what `within`, `clear`, `not`, `only` and
`unless` add) and the choice of the shortest. The engine judges each. Where none is found the two may be equal on every
stream, or differ on one that is not tried here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from dosimeter.detectors.findings import Place
from dosimeter.detectors.frames import CODES_PER_SD, Codes, Scope
from dosimeter.rules.atoms import Logic, ends_scope
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.policy import Whose
from dosimeter.rules.testing.cases import Expectation, RuleTest, TestRequest, features_of
from dosimeter.rules.testing.patterns import Edge, Pattern, between, drive, patterns
from dosimeter.rules.testing.streams import Piece, joined
from dosimeter.rules.testing.trial import Trial

MAX_TOKENS = 20_000
"""Of a candidate: longer ones nobody would read."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A rule's conditions with their thresholds, by part."""

    rule: Rule
    logic: Logic
    parts: tuple[tuple[Edge, ...], ...]
    calm: int | None  # threshold of `clear`: at it or nearer to 0 it is calm

    @classmethod
    def of(cls, trial: Trial) -> _Placed:
        rule, program = trial.rule, trial.program
        logic = program.rules[0].logic
        parts = tuple(
            tuple(
                Edge(condition, program.atoms[literal.atom].threshold)
                for condition, literal in zip(part.conditions, clause.literals, strict=True)
            )
            for part, clause in zip(rule.when.parts, logic.clauses, strict=True)
        )
        calm = None
        if logic.clear is not None:
            calm = program.atoms[logic.clear].threshold - parts[0][0].condition.direction
        return cls(rule, logic, parts, calm)


def tell_apart(original: Trial, changed: Trial, name: str) -> RuleTest | None:
    """The shortest candidate on which they differ, with what the original does."""
    for request in _candidates(_Placed.of(original), _Placed.of(changed)):
        hits = original.hits(request)
        seen, other = (
            [(h.position, ends_scope(h.decided.atom), h.exempt) for h in found]
            for found in (hits, changed.hits(request))
        )
        if seen != other:
            expect = tuple(
                Expectation(Place(""), 1, request.stream.label(at, ended), exempt is not None)
                for at, ended, exempt in seen
            )
            return RuleTest(name, Place(""), (request,), expect)
    return None


def _candidates(original: _Placed, changed: _Placed) -> list[TestRequest]:
    features = features_of(original.rule)
    apart = [*_streams(original, changed, features), *_streams(changed, original, features)]
    pieces = [*apart, *map(_overlaid, apart)]
    streams = [
        joined(features, one) for one in pieces if sum(len(p.codes) for p in one) <= MAX_TOKENS
    ]
    unique = {(s.codes.tobytes(), s.scopes.tobytes()): s for s in streams if len(s.codes)}
    ordered = sorted(unique.values(), key=lambda s: len(s.codes) + 10 * _runs(s.codes))
    who = list(_who(original.rule))
    plain = [TestRequest(stream, *who[0]) for stream in ordered]
    base = _base(original, features)
    firing = [joined(features, one) for one in (base, _overlaid(base))]
    others = [TestRequest(stream, *one) for stream in firing for one in who[1:]]
    return [*others, *plain]


def _runs(codes: Codes) -> int:
    return int((np.diff(codes, axis=0) != 0).any(axis=1).sum())


def _overlaid(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbours of one scope at the same tokens, each feature as the first that has it, held to the end."""
    found: list[Piece] = []
    for scope, group in groupby(pieces, key=lambda piece: int(piece.scopes[0])):
        same = list(group)
        n = max(len(piece.codes) for piece in same)
        codes = np.zeros((n, same[0].codes.shape[1]), np.int16)
        for piece in reversed(same):
            held = np.pad(piece.codes, ((0, n - len(piece.codes)), (0, 0)), mode="edge")
            own = piece.codes.any(axis=0)
            codes[:, own] = held[:, own]
        found.append(Piece(codes, np.full(n, scope, np.uint8)))
    return found


def _who(rule: Rule) -> Iterator[tuple[dict[str, str], frozenset[str], str]]:
    """Labels, the trusted of them and the model: first those that the rule is for."""
    own = rule.policy.only
    yield _labels(own)
    if own.labels:
        yield _labels(Whose())
    for exemption in rule.policy.unless:
        labels, _, model = _labels(own)
        more, _, named = _labels(exemption.whose)
        yield labels | more, frozenset(labels | more), named or model


def _labels(whose: Whose) -> tuple[dict[str, str], frozenset[str], str]:
    first = {name: values[0] for name, values in whose.labels}
    model = first.pop("model", "")
    return first, frozenset(first), model


def _base(placed: _Placed, features: tuple[str, ...]) -> list[Piece]:
    """Every part that must be there, clearly."""
    parts = list(zip(placed.parts, placed.rule.when.parts, strict=True))
    quiet = [edge for edges, part in parts if part.negated for edge in edges]
    return [_firing(edges[0], features, quiet) for edges, part in parts if not part.negated]


def _firing(edge: Edge, features: tuple[str, ...], quiet: Sequence[Edge] = ()) -> Piece:
    """quiet: of which none may hold; where 0 would, what else they read is moved out of the way."""
    piece = drive(edge.condition, next(patterns(edge, ())), features)
    for other in quiet:
        if other.condition.scope is not edge.condition.scope:
            continue
        calm = other.calm.low if other.condition.score is None else -4 * CODES_PER_SD
        for name in other.condition.features:
            if name not in edge.condition.features:
                piece.codes[:, features.index(name)] = calm * (
                    1 if other.condition.score is None else other.condition.direction
                )
    return piece


def _streams(placed: _Placed, other: _Placed, features: tuple[str, ...]) -> Iterator[list[Piece]]:
    base = _base(placed, features)
    yield base
    for at in range(len(base) - 1):
        yield [*base[:at], base[at + 1], base[at], *base[at + 2 :]]
    positive = 0
    for edges, part in zip(placed.parts, placed.rule.when.parts, strict=True):
        for edge in edges:
            for pattern in _varied(edge, other):
                piece = drive(edge.condition, pattern, features)
                if part.negated:
                    yield [piece, *base]
                    yield [*base, piece]
                else:
                    yield [*base[:positive], piece, *base[positive + 1 :]]
                    yield from _twice(base, piece)
            if part.negated and placed.logic.within:
                yield from _apart(placed, [_firing(edge, features), *base], features)
        positive += not part.negated
    if placed.logic.within:
        yield from _apart(placed, base, features)
    yield from _calmed(placed, other, base, features)


def _varied(edge: Edge, other: _Placed) -> Iterator[Pattern]:
    """Patterns of an edge; values between it and those the other rule has of the same column."""
    near = [
        one
        for edges in other.parts
        for one in edges
        if one.condition.feature == edge.condition.feature
    ]
    spans = [span for one in near for span in between(edge, one)]
    yield from patterns(edge, list(dict.fromkeys(spans)))


def _twice(base: Sequence[Piece], piece: Piece) -> Iterator[list[Piece]]:
    """The piece on both sides of a token of another scope: what a window must not join."""
    if len(base) == 1:
        other = Scope.ANSWER if piece.scopes[0] != int(Scope.ANSWER) else Scope.MESSAGE
        token = Piece(np.zeros_like(piece.codes[:1]), np.full(1, int(other), np.uint8))
        yield [piece, token, piece]


def _apart(
    placed: _Placed, pieces: Sequence[Piece], features: tuple[str, ...]
) -> Iterator[list[Piece]]:
    """The first piece so far before the others that `within` just holds, and just does not."""
    rest = sum(len(piece.codes) for piece in pieces[1:])
    scopes = dict.fromkeys([int(pieces[-1].scopes[0]), int(pieces[0].scopes[0]), int(Scope.TOOL)])
    for scope in scopes:
        for more in (-2, -1, 0, 1):
            n = placed.logic.within - rest + more
            if 0 < n <= MAX_TOKENS:
                filler = Piece(np.zeros((n, len(features)), np.int16), np.full(n, scope, np.uint8))
                yield [pieces[0], filler, *pieces[1:]]


def _calmed(
    placed: _Placed, other: _Placed, base: list[Piece], features: tuple[str, ...]
) -> Iterator[list[Piece]]:
    """Fires, is calm for a while, fires: on the edges of `clear`."""
    if placed.calm is None or placed.rule.clear is None:
        return
    edge = placed.parts[0][0]
    here = Edge(edge.condition, placed.calm)
    there = Edge(edge.condition, placed.calm if other.calm is None else other.calm)
    lengths = {placed.rule.clear.n + more for more in (-1, 0, 1)}
    for span in (edge.calm, *between(here, there)):
        for n in sorted(lengths - {0}):
            piece = drive(edge.condition, ((span, n),), features)
            yield [*base, piece, *base]
