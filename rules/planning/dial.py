"""The one dial of a rule: all its levels moved together in tail probability, from what data can tell apart at all to a
hundred times as many as written.

Owns `Dial`: the positions a rule can take, the levels and thresholds it has there, in words as people write them. A
position is tighter than the next for every level that moves, so a rule fires at it on a part of the requests of the
next. What is under `not` stays as it was written, for there tighter would mean more; so does a signal that several
rules name, since it is one text. It never learns how much traffic there is or who reads alerts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dosimeter.detectors.calibrate import Calibration, NotCalibrated
from dosimeter.detectors.findings import Place
from dosimeter.detectors.frames import CODE_MAX, CODE_UNSCORED, CODES_PER_SD
from dosimeter.detectors.levels import Level
from dosimeter.detectors.placement import LEAST_EXPECTED
from dosimeter.detectors.shapes import NEVER, Ints, Stream, token_statistics, unit_statistics
from dosimeter.rules.language.condition import Condition
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.placing import BankColumn

PER_DECADE = 20
"""Positions from one power of ten to the next: 12 % each, as fine as two digits say it."""
REACH = 2 * PER_DECADE
"""Positions to either side of what is written, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Dial:
    """A rule and where it can stand, the tightest position first.

    offsets     by position: 0 as written, above tighter, `PER_DECADE` of them being a factor of ten
    levels      by position and condition of `rule.when`
    clears      by position: of `clear`, None where there is none
    thresholds  by position and condition, in codes
    end         why nothing tighter can be placed; empty where the dial's own reach ends it
    """

    rule: Rule
    offsets: tuple[int, ...]
    levels: tuple[tuple[Level, ...], ...]
    clears: tuple[Level | None, ...]
    thresholds: tuple[tuple[int, ...], ...]
    end: str

    @property
    def now(self) -> int | None:
        """The position that is written in the file; None where that cannot be placed."""
        return self.offsets.index(0) if 0 in self.offsets else None

    def at(self, position: int) -> Rule:
        """The rule as it would be written there."""
        levels = iter(self.levels[position])
        parts = tuple(
            replace(part, conditions=tuple(replace(c, level=next(levels)) for c in part.conditions))
            for part in self.rule.when.parts
        )
        clear, level = self.rule.clear, self.clears[position]
        if clear is not None and level is not None:
            clear = replace(clear, level=level)
        return replace(self.rule, when=replace(self.rule.when, parts=parts), clear=clear)

    def edits(self, position: int) -> Iterator[tuple[Place, Level, Level]]:
        """Every level that differs there from the file: where it stands, what it says, what it should."""
        rule = self.rule
        for condition, level in zip(rule.when.conditions, self.levels[position], strict=True):
            if level != condition.level:
                yield _place(condition), condition.level, level
        clear, level_of_clear = rule.clear, self.clears[position]
        if clear is not None and level_of_clear is not None and level_of_clear != clear.level:
            yield (
                clear.places["above" if clear.direction == 1 else "below"],
                clear.level,
                (level_of_clear),
            )


class Tails:
    """What each condition's statistic was on the calibrations, sorted once."""

    def __init__(self, columns: Sequence[BankColumn], calibrations: Sequence[Calibration]) -> None:
        self._pack_of = {column.feature: column.pack for column in columns}
        self._calibrations = calibrations
        self._known: dict[tuple[object, ...], Tail] = {}

    def of(self, condition: Condition) -> Tail:
        """Raises NotCalibrated where no calibration has its features, Unplaceable where nothing scores one."""
        tokens = condition.level.noun == "tokens"
        key = condition.feature, condition.scope, condition.direction, condition.shape, tokens
        if key not in self._known:
            self._known[key] = self._tail(condition, tokens)
        return self._known[key]

    def _tail(self, condition: Condition, tokens: bool) -> Tail:
        wanted = condition.features
        for feature in wanted:
            if feature not in self._pack_of:
                raise Unplaceable(f"no loaded pack scores `{feature}`", loose=False)
        pairs = {(feature, self._pack_of[feature]) for feature in wanted}
        held = next(
            (c for c in self._calibrations if pairs <= set(zip(c.features, c.packs, strict=True))),
            None,
        )
        if held is None:
            raise NotCalibrated(wanted[0], [f for c in self._calibrations for f in c.features])
        columns = [held.stream(feature).codes for feature in wanted]
        codes = columns[0] if condition.score is None else condition.score.codes(columns)
        if condition.direction == -1:
            codes = np.where(codes == CODE_UNSCORED, codes, -codes)
        statistics = token_statistics if tokens else unit_statistics
        stream = Stream(codes, held.offsets, held.scopes)
        values = np.sort(statistics(stream, condition.scope, condition.shape))
        return Tail(values, condition.direction, held.requests, held.answers_per_day)


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The statistics of one condition, ascending; negated where it asks for what is below."""

    values: Ints
    direction: int
    requests: int
    per_day: int | None

    def threshold(self, level: Level) -> int:
        """As `Calibration.place` places it, in the codes of the condition. Raises Unplaceable."""
        if level.noun == "z":
            return level.z_code()
        base, every = len(self.values), level.value
        if level.noun == "day":
            if self.per_day is None:
                raise Unplaceable(f"`{level.text}` needs the answers a day", loose=False)
            base, every = self.requests, Fraction(self.per_day) / level.value
        allowed = Fraction(base) / every
        if allowed < LEAST_EXPECTED:
            need = math.ceil(LEAST_EXPECTED * every)
            said = f"`{level.text}` needs {need:,} benign {_noun(level)}, here are {base:,}"
            raise Unplaceable(said, loose=False)
        return self._at(int(allowed), level.text)

    def above(self, level: Level) -> int:
        """How many lie beyond a level of `z`."""
        code = self.direction * level.z_code()
        return int(len(self.values) - np.searchsorted(self.values, code, side="right"))

    def z(self, share_of: Level, factor: float) -> Level:
        """The `z` that one in `factor` of those exceed that exceed `share_of`. Raises Unplaceable."""
        found = self.above(share_of)
        allowed = int(found / factor)
        if allowed < LEAST_EXPECTED:
            said = f"of {len(self.values):,} benign units {found} lie beyond `{share_of.text}`"
            raise Unplaceable(f"{said}, and {LEAST_EXPECTED} have to be left", loose=False)
        code = self.direction * self._at(allowed, share_of.text)
        hundredths = math.ceil(code * 100 / CODES_PER_SD)  # of the tail's side, so the quiet one
        return Level.parse(f"z {_decimals(self.direction * hundredths)}")

    def _at(self, allowed: int, text: str) -> int:
        if len(self.values) <= allowed or self.values[-1 - allowed] == NEVER:
            raise Unplaceable(f"`{text}`: every benign unit would be beyond", loose=True)
        threshold = int(self.values[-1 - allowed])
        if threshold >= CODE_MAX:
            raise Unplaceable(f"`{text}` lies where codes saturate", loose=False)
        return self.direction * threshold


class Unplaceable(ValueError):
    """No threshold for this level; loose: because it lets everything through, and not because data end."""

    def __init__(self, said: str, loose: bool) -> None:
        super().__init__(said)
        self.loose = loose


def dials(
    rules: Sequence[Rule], columns: Sequence[BankColumn], calibrations: Sequence[Calibration]
) -> list[Dial]:
    """One a rule, in their order; of a rule that cannot be placed anywhere, one without positions."""
    tails, fixed = Tails(columns, calibrations), _fixed(rules)
    return [_dial(rule, tails, fixed) for rule in rules]


def _dial(rule: Rule, tails: Tails, fixed: frozenset[Place]) -> Dial:
    found: list[tuple[int, tuple[Level, ...], Level | None, tuple[int, ...]]] = []
    end = ""
    for offset in range(REACH, -REACH - 1, -1):
        try:
            levels, clear, thresholds = _placed(rule, offset, tails, fixed)
        except Unplaceable as error:
            if error.loose:
                break
            end = str(error)
            continue
        except NotCalibrated as error:
            end = str(error).replace("\n  hint: ", "; ")
            break
        if found and not _looser(rule, found[-1][3], thresholds, offset == 0):
            continue
        if found and offset == 0 and found[-1][3] == thresholds:
            found.pop()  # two texts for one thing: the written one stays
        found.append((offset, levels, clear, thresholds))
    offsets, all_levels, clears, codes = zip(*found, strict=True) if found else ((), (), (), ())
    return Dial(rule, offsets, all_levels, clears, codes, end)


def _placed(
    rule: Rule, offset: int, tails: Tails, fixed: frozenset[Place]
) -> tuple[tuple[Level, ...], Level | None, tuple[int, ...]]:
    levels, thresholds = [], []
    clear = None if rule.clear is None else rule.clear.level
    for part in rule.when.parts:
        for condition in part.conditions:
            tail = tails.of(condition)
            moves = not part.negated and _place(condition) not in fixed
            level = moved(condition.level, offset, tail) if moves else condition.level
            if clear is not None and moves:
                clear = moved(clear, offset, tail)
            levels.append(level)
            thresholds.append(tail.threshold(level))
    return tuple(levels), clear, tuple(thresholds)


def moved(level: Level, offset: int, tail: Tail) -> Level:
    """The level so many positions tighter, with two digits. Raises Unplaceable."""
    if offset == 0:
        return level
    factor = 10.0 ** (offset / PER_DECADE)
    if level.noun == "z":
        return tail.z(level, factor)
    if level.noun == "day":
        count = two_digits(float(level.value) / factor)
        return Level.parse(f"{max(1, count)} a day")
    count = two_digits(float(level.value) * factor)
    if count < 2:
        raise Unplaceable(f"nothing is looser than `1 in 2 {level.noun}`", loose=True)
    return Level.parse(f"1 in {count} {level.noun}")


def two_digits(value: float) -> int:
    """To the nearest whole number that has two digits and then zeros."""
    if value < 100:
        return round(value)
    unit = int(10 ** (math.floor(math.log10(value)) - 1))
    return round(value / unit) * unit


def _looser(rule: Rule, before: tuple[int, ...], now: tuple[int, ...], written: bool) -> bool:
    """Whether every condition asks for no more than before and one for less; the written one may be equal."""
    pairs = zip(rule.when.conditions, before, now, strict=True)
    gains = [c.direction * (b - n) for c, b, n in pairs]
    return min(gains) >= 0 and (written or max(gains) > 0)


def _fixed(rules: Sequence[Rule]) -> frozenset[Place]:
    """Where levels stand that no one rule may move: in a signal of several rules, or under `not` somewhere."""
    users: Counter[Place] = Counter()
    negated: set[Place] = set()
    for rule in rules:
        places = {_place(c) for c in rule.when.conditions}
        users.update(places)
        negated |= {_place(c) for p in rule.when.parts if p.negated for c in p.conditions}
    shared = {place for place, count in users.items() if count > 1 and place.line}
    return frozenset(shared | {place for place in negated if place.line})


def _place(condition: Condition) -> Place:
    return condition.places.get("above" if condition.direction == 1 else "below", Place(""))


def _noun(level: Level) -> str:
    return "answers" if level.noun == "day" else level.noun


def _decimals(hundredths: int) -> str:
    sign, whole = "-" if hundredths < 0 else "", abs(hundredths)
    return f"{sign}{whole // 100}.{whole % 100:02d}".rstrip("0").rstrip(".")
