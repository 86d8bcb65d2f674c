"""Runs the tests of a rule: the rule alone becomes a program, and the engine that runs live decides.

Owns `Trial`, and `Verdict`: what of a test did not come, and what came and should not have. It never learns how a test
is written or reported, and reads no clock: the time of a request is what its test says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dosimeter.detectors.calibrate import NotCalibrated, NotEnough
from dosimeter.detectors.levels import LevelError
from dosimeter.rules.atoms import RUNNING, CompiledRule, ends_scope
from dosimeter.rules.decide import Decider
from dosimeter.rules.engine import Engine, Hit
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.placing import Builder, Inactive, Levels
from dosimeter.rules.program import Program
from dosimeter.rules.testing.cases import Expectation, RuleTest, TestRequest


class Unplaced(ValueError):
    """The rule cannot run on these levels; why, and the next step."""


@dataclass(frozen=True, slots=True)
class _Column:
    feature: str
    pack: str


@dataclass(frozen=True, slots=True)
class Found:
    """One hit of the rule. decision: what became of it; None in a test of one stream."""

    request: int
    at: str
    exempt: bool
    decision: str | None
    hit: Hit

    def __str__(self) -> str:
        parts = [self.at, *(["exempt"] if self.exempt else [])]
        if self.decision is not None:
            parts = [f"request {self.request}", self.at, self.decision]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a test saw. missing: of what it expects; unexpected: of what there was."""

    test: RuleTest
    found: tuple[Found, ...]
    missing: tuple[Expectation, ...]
    unexpected: tuple[Found, ...]

    @property
    def passed(self) -> bool:
        return not self.missing and not self.unexpected


def compile_alone(rule: Rule, levels: Levels) -> Program:
    """The program of one rule, of whatever status, over the features of `levels`. Raises Unplaced."""
    columns = [_Column(*pair) for pair in zip(levels.features, levels.packs, strict=True)]
    builder = Builder(columns, [levels])
    try:
        logic = builder.logic(rule)
    except (Inactive, NotCalibrated, NotEnough, LevelError) as error:
        raise Unplaced(str(error)) from None
    runs = rule if rule.status in RUNNING else replace(rule, status="shadow")
    compiled = CompiledRule(rule.id, runs.sha256, logic, runs.as_json(), rule.policy)
    return Program(levels.features, builder.used, (compiled,), {}, builder.computed)


class Trial:
    """One rule on one set of levels, for as many tests as there are. Raises Unplaced."""

    def __init__(self, rule: Rule, levels: Levels) -> None:
        self.rule = rule
        self.program = compile_alone(rule, levels)
        self._engines: dict[str, Engine] = {}
        self._key = 0

    def run(self, test: RuleTest) -> Verdict:
        several = any(one.decision is not None for one in test.expect) or len(test.requests) > 1
        decider = Decider() if several else None
        found: list[Found] = []
        now = 0
        for number, request in enumerate(test.requests, 1):
            now += request.after_ns
            for hit in self.hits(request):
                decision = None
                if decider is not None:
                    occurrence = self._occurrence(request, hit, number, now)
                    decision = decider.decide(occurrence, hit.compiled.policy).decision
                at = request.stream.label(hit.position, ends_scope(hit.decided.atom))
                found.append(Found(number, at, hit.exempt is not None, decision, hit))
        return _verdict(test, found)

    def hits(self, request: TestRequest) -> list[Hit]:
        """In the order of their tokens."""
        engine = self._engines.get(request.model)
        if engine is None:
            engine = self._engines[request.model] = Engine(self.program, model=request.model)
        self._key += 1
        engine.open(self._key, request.labels, request.trusted)
        hits = engine.step(request.stream.frame(self._key, self.program.columns))
        return hits + engine.close(self._key, finished=not request.cancelled)

    def _occurrence(self, request: TestRequest, hit: Hit, number: int, now: int) -> Occurrence:
        vouched = {name: request.labels[name] for name in sorted(request.trusted)}
        return Occurrence(
            self.rule.id, "live", now, str(number), vouched, request.model, hit.exempt is not None
        )


def _verdict(test: RuleTest, found: Sequence[Found]) -> Verdict:
    """Each expectation takes one hit that fits it, those that say more choosing first."""
    left = list(found)
    missing: list[Expectation] = []
    for one in sorted(test.expect, key=lambda e: e.at is None):
        fits = next((hit for hit in left if _fits(one, hit)), None)
        if fits is None:
            missing.append(one)
        else:
            left.remove(fits)
    return Verdict(test, tuple(found), tuple(missing), tuple(left))


def _fits(one: Expectation, found: Found) -> bool:
    return (
        one.request == found.request
        and one.at in (None, found.at)
        and one.exempt in (None, found.exempt)
        and one.decision in (None, found.decision)
    )
