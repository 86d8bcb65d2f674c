"""How often rules fire on a calibration's benign traffic, and how many alerts a day that is.

Owns `expect`, its result and how that is told. The engine decides, over every request; the levels were placed on the
same ones. It never learns about files, nor what a label was: `only` and `unless` are left aside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.bank import Column
from dosimeter.detectors.binomial import lower_bound, upper_bound
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import SEGMENTS, Scope, ScoreFrame
from dosimeter.detectors.levels import WHOLE
from dosimeter.detectors.shapes import NEVER, unit_statistics
from dosimeter.rules.engine import Engine
from dosimeter.rules.language.condition import Condition
from dosimeter.rules.language.schema import Rule, RuleSet
from dosimeter.rules.policy import Policy
from dosimeter.rules.program import Program, compile_program

_TOGETHER = 256
"""Requests that are open at a time."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Requests in which a rule fires. low, high: 95 % interval of the share, exact; of none, its 95 % upper bound."""

    fires: int
    of: int

    @property
    def low(self) -> float:
        return lower_bound(self.fires, self.of, 0.975)

    @property
    def high(self) -> float:
        return upper_bound(self.fires, self.of, 0.975 if self.fires else 0.95)

    def as_json(self, per_day: int | None) -> dict[str, Any]:
        share = {
            "answers": self.fires,
            "of": self.of,
            "share_low": self.low,
            "share_high": self.high,
        }
        if per_day is None:
            return share
        a_day = {"a_day": per_day * self.fires / self.of if self.of else None}
        return share | a_day | {"a_day_low": per_day * self.low, "a_day_high": per_day * self.high}

    def told(self, per_day: int | None) -> str:
        """In words, behind the rule's name."""
        if per_day is None:
            among = f"{self.fires} of {self.of} benign answers"
            if not self.fires:
                return f"{among}, at most {_number(100 * self.high)} %"
            return f"{among} (95 % interval {_number(100 * self.low)} % to {_number(100 * self.high)} %)"
        day = f"of {per_day} answers a day"
        if not self.fires:
            return f"0 of {self.of} benign answers, at most {_number(per_day * self.high)} alerts a day {day}"
        about, low, high = (per_day * x for x in (self.fires / self.of, self.low, self.high))
        interval = f"95 % interval {_number(low)} to {_number(high)}"
        return f"about {_number(about)} alerts a day ({interval}) {day}"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a ruleset does on benign traffic. any_rule: requests in which some rule fires; any_live: some live one.

    inactive: rules without a place for a level, and why; never: those of which a part can never be true here, and why.
    """

    rules: Mapping[str, Expected]
    any_rule: Expected
    any_live: Expected
    inactive: Mapping[str, str]
    corpus: str
    date: str
    per_day: int | None
    never: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {
            "corpus": self.corpus,
            "date": self.date,
            "answers_a_day": self.per_day,
            "rules": {name: found.as_json(self.per_day) for name, found in self.rules.items()},
            "any_rule": self.any_rule.as_json(self.per_day),
            "any_live": self.any_live.as_json(self.per_day),
            "inactive": dict(self.inactive),
            "never": dict(self.never),
        }

    def told(self) -> list[str]:
        """A line a rule, one for all, and what was counted."""
        lines = [f"{name}: {found.told(self.per_day)}" for name, found in self.rules.items()]
        lines += [f"{name}: inactive" for name in self.inactive]
        if len(self.rules) > 1:
            lines.append(f"any rule: {self.any_rule.told(self.per_day)}")
            lines.append(f"any live rule: {self.any_live.told(self.per_day)}")
        lines.append(
            f"counted on: {self.corpus} ({self.date}), which also placed the levels; for everyone, and before "
            "`repeat-after`, `limit` and `quiet-when`"
        )
        if self.per_day is None:
            lines.append("how many alerts a day: say `--per-day N` answers")
        return lines


def expect(
    ruleset: RuleSet,
    calibration: Calibration,
    per_day: int | None,
    day: date | None,
    tell: Callable[[int], None] | None = None,
) -> Traffic:
    """per_day: answers a day, None: as many as the calibration says; tell: called with the requests done."""
    columns = [
        Column(feature, pack, "")
        for feature, pack in zip(calibration.features, calibration.packs, strict=True)
    ]
    rules = tuple(
        replace(rule, policy=Policy(expires=rule.policy.expires)) for rule in ruleset.rules
    )
    program = compile_program(RuleSet(rules), columns, [calibration], day)
    if per_day is None:
        per_day = calibration.answers_per_day
    fired = _fired(program, calibration, tell)
    of = calibration.requests

    never: dict[str, str] = {}
    for rule in rules:
        silent = rule.id in program.inactive or fired.get(rule.id) == set()
        if silent and (why := _undecided(rule, calibration)):
            never[rule.id] = why

    def some(names: Collection[str]) -> Expected:
        return Expected(len(set().union(*(fired[name] for name in names))), of)

    return Traffic(
        {name: Expected(len(keys), of) for name, keys in fired.items()},
        some(fired),
        some([rule.rule for rule in program.rules if rule.status == "live"]),
        program.inactive,
        calibration.corpus,
        calibration.date,
        per_day,
        never,
    )


def _undecided(rule: Rule, calibration: Calibration) -> str:
    """Why a part of the rule is true nowhere on this traffic, whatever its level; empty where that is not so."""
    for part in rule.when.parts:
        if part.negated or not all(
            set(c.features) <= set(calibration.features) for c in part.conditions
        ):
            continue
        units = [_decided(c, calibration) for c in part.conditions]
        if not any(decided for decided, _ in units):
            return _too_short(part.conditions[0], units[0][1])
    return ""


def _decided(condition: Condition, calibration: Calibration) -> tuple[int, int]:
    """Of how many answers, or messages, its statistic exists; and of how many it could."""
    stream = calibration.stream(condition.features[0])
    if condition.score is not None:
        codes = condition.score.codes([calibration.stream(f).codes for f in condition.features])
        stream = replace(stream, codes=codes)
    values = unit_statistics(stream, condition.scope, condition.shape)
    return int((values > NEVER).sum()), len(values)


def _too_short(condition: Condition, of: int) -> str:
    noun = {Scope.ANSWER: "answers", Scope.MESSAGE: "messages"}.get(condition.scope, "requests")
    shape = condition.shape
    if not of:
        scope = condition.scope.name.lower()
        return f"never fires here: no token is `{scope}`; calibrate on traffic that has some"
    among = f"never fires here: none of the {of:,} {noun} has"
    if shape.kind not in WHOLE:
        length = shape.k if shape.kind == "at_least" else shape.n
        row = " in a row" if length > 1 else ""
        tokens = f"{length} scored token{'s' if length > 1 else ''}{row}"
        return f"{among} {tokens}; shorten the window, or calibrate on longer {noun}"
    asked = [f"{max(shape.least, 1)} scored token" + ("s" if shape.least > 1 else "")]
    lower = ["`min-tokens`"] if shape.least > 1 else []
    if shape.coverage:
        asked.append(f"{shape.coverage} % of its tokens scored")
        lower.append("`coverage`")
    if not lower:
        return f"{among} {asked[0]}; calibrate on longer {noun}"
    said = " or ".join(lower)
    return f"{among} {' and '.join(asked)}; lower {said} or calibrate on longer {noun}"


def _fired(
    program: Program, calibration: Calibration, tell: Callable[[int], None] | None
) -> dict[str, set[int]]:
    """By rule, the requests in which it fires."""
    fired: dict[str, set[int]] = {rule.rule: set() for rule in program.rules}
    engine = Engine(program)
    segments = _segments(calibration)
    ends = np.searchsorted(segments["key"], np.arange(calibration.requests), side="right")
    for first in range(0, calibration.requests, _TOGETHER):
        last = min(first + _TOGETHER, calibration.requests)
        for key in range(first, last):
            engine.open(key, {})
        part = segments[ends[first - 1] if first else 0 : ends[last - 1]]
        codes = calibration.codes[calibration.offsets[first] : calibration.offsets[last]]
        hits = engine.step(ScoreFrame(part, codes, hook_ns=0, time_ns=0))
        for key in range(first, last):
            hits += engine.close(key, finished=True)
        for hit in hits:
            fired[hit.rule].add(hit.key)
        if tell is not None:
            tell(last)
    return fired


def _segments(calibration: Calibration) -> npt.NDArray[np.void]:
    """SEGMENTS of all requests, cut where the scope changes."""
    offsets, tokens = calibration.offsets, len(calibration.codes)
    begins = np.unique(offsets[:-1][np.diff(offsets) > 0])
    changes = np.flatnonzero(np.diff(calibration.scopes)) + 1
    cuts = np.union1d(begins, changes).astype(np.int64)
    keys = np.searchsorted(offsets, cuts, side="right") - 1
    segments = np.zeros(len(cuts), SEGMENTS)
    segments["key"] = keys
    segments["start"] = cuts - offsets[keys]
    segments["n"] = np.diff(np.append(cuts, tokens))
    segments["scope"] = calibration.scopes[cuts]
    return segments


def _number(value: float) -> str:
    """Two digits that mean something: `0.0031`, `4.7`, `120`."""
    if value >= 10:
        digits = len(str(int(value)))
        return f"{round(value, 2 - digits):.0f}" if digits > 2 else f"{value:.0f}"
    return f"{value:.2g}"
