"""A whole ruleset against a budget of reviews: dials made, traffic run, positions chosen, and what that changes.

Owns `Proposal`, which everything that is shown, drawn or written of a plan is made of. It never learns where rules and
traffic were stored, nor how a plan looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODES_PER_SD, SEGMENTS, ScoreFrame
from dosimeter.rules.atoms import SEVERITIES
from dosimeter.rules.engine import Engine, Hit
from dosimeter.rules.language.schema import Rule, RuleSet
from dosimeter.rules.placing import BankColumn
from dosimeter.rules.planning.catch import Catch, caught, label_first
from dosimeter.rules.planning.dial import Dial, dials
from dosimeter.rules.planning.plan import (
    NO,
    SHARES,
    UNKNOWN,
    YES,
    Bools,
    Choice,
    Evidence,
    Knob,
    Outlook,
    choose,
    outlook,
)
from dosimeter.rules.planning.reach import Requests, compile_dials, reach
from dosimeter.rules.policy import EVERYONE
from dosimeter.rules.program import compile_program

LISTED = 20
"""Changes of either kind that are shown; all are counted."""
BOUND = 0.999
"""How sure the rate is that the alarm takes for planned."""


@dataclass(frozen=True, slots=True)
class Change:
    """A request that somebody will review and did not, or the other way round; by the rule of highest severity."""

    request: str
    rule: str
    value: float  # of the condition that decided, in benign sd; of `share` the share

    def as_json(self) -> dict[str, str | float]:
        return {"request": self.request, "rule": self.rule, "value": round(self.value, 4)}


@dataclass(frozen=True, slots=True)
class Changes:
    """a_day: requests a day of this kind, as the sample says; listed: the first of `requests` in the sample."""

    requests: int
    a_day: float
    listed: tuple[Change, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """dials, knobs, positions and outlooks have the same rules in the same order; refused: those that cannot run."""

    budget: int
    dials: tuple[Dial, ...]
    knobs: tuple[Knob, ...]
    evidence: Evidence
    choice: Choice
    now: Outlook
    planned: Outlook
    added: Changes
    removed: Changes
    catch: Catch | None
    label: tuple[str, ...]  # ids of requests to label first
    refused: Mapping[str, str]
    left: tuple[str, ...]  # shadow rules that were not planned

    @property
    def positions(self) -> tuple[int, ...]:
        return self.choice.positions

    def planned_rules(self) -> Iterator[tuple[Dial, int, Rule]]:
        """Each with its dial, where that stands, and the rule as it is to be written."""
        for dial, position in zip(self.dials, self.positions, strict=True):
            yield dial, position, dial.at(position)

    @property
    def bound(self) -> float:
        """At most so many reviews a day on average, with confidence `BOUND`: what the alarm is told."""
        union = self.evidence.union(self.positions)
        return self.evidence.seen(union, len(self.knobs)).bound(self.evidence.per_day, BOUND)


def propose(
    ruleset: RuleSet,
    columns: Sequence[BankColumn],
    calibrations: Sequence[Calibration],
    traffic: Iterable[Requests],
    *,
    budget: int,
    per_day: int,
    shares: Mapping[str, float] = SHARES,
    labels: Mapping[str, bool] | None = None,
    shadow: bool = False,
    model: str = "",
    day: date | None = None,
) -> Proposal:
    """traffic: all with the same features and labels, read more than once; shadow: plan shadow rules too, as if live;
    day: as `compile_dials` has it.

    Raises ValueError where no severity has a share.
    """
    wanted = ("live", "shadow") if shadow else ("live",)
    rules = [rule for rule in ruleset.rules if rule.status in wanted]
    all_dials = dials(rules, columns, calibrations)
    known = set(next((part.labels for part in traffic), {})) | ({"model"} if model else set())
    program, refused = compile_dials(all_dials, columns, calibrations, known, day)
    running = [dial for dial in all_dials if dial.rule.id not in refused]
    reached = reach(program, running, traffic, model)
    ids = reached.ids
    said = None if labels is None else _said(ids, labels)
    evidence = Evidence(reached.first, reached.weights, per_day, said)
    knobs = [Knob(dial.rule.id, dial.rule.severity, dial.offsets) for dial in running]
    choice = choose(knobs, evidence, budget, shares)
    before = [dial.now for dial in running]
    was = evidence.union([-1 if position is None else position for position in before])
    will = evidence.union(choice.positions)
    show = _Show(columns, calibrations, traffic, running, evidence)
    catch = caught(evidence, was, will)
    complete = catch is not None and catch.missed.expected is not None
    return Proposal(
        budget,
        tuple(running),
        tuple(knobs),
        evidence,
        choice,
        outlook(knobs, evidence, before),
        outlook(knobs, evidence, choice.positions),
        show.changes(will & ~was, choice.positions),
        show.changes(was & ~will, before),
        catch,
        () if complete else tuple(ids[i] for i in label_first(evidence, will).tolist()),
        refused,
        tuple(r.id for r in ruleset.rules if r.status == "shadow" and not shadow),
    )


def _said(
    ids: Sequence[str], labels: Mapping[str, bool]
) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    found = (UNKNOWN if name not in labels else YES if labels[name] else NO for name in ids)
    return np.fromiter(found, np.int8, len(ids))


@dataclass(frozen=True, slots=True, eq=False)
class _Show:
    """Requests run once more, by the engine that runs live, for the values that decided."""

    columns: Sequence[BankColumn]
    calibrations: Sequence[Calibration]
    traffic: Iterable[Requests]
    dials: Sequence[Dial]
    evidence: Evidence

    def changes(self, mask: Bools, positions: Sequence[int | None]) -> Changes:
        at = np.array([-1 if p is None else p for p in positions], np.int32)
        which = np.flatnonzero(mask)
        scale = self.evidence.per_day / max(float(self.evidence.weights.sum()), 1.0)
        a_day = float(self.evidence.weights[mask].sum()) * scale
        order = sorted(
            range(len(self.dials)), key=lambda r: -SEVERITIES.index(self.dials[r].rule.severity)
        )
        by_rule: dict[int, int] = {}
        for request in which.tolist():
            hit = self.evidence.first[request] <= at
            by_rule[request] = next(r for r in order if hit[r])
        shown = sorted(by_rule, key=lambda i: (order.index(by_rule[i]), i))[:LISTED]
        listed = self._listed({i: by_rule[i] for i in shown}, at.tolist())
        return Changes(len(which), a_day, tuple(listed))

    def _listed(self, rule_of: Mapping[int, int], at: Sequence[int]) -> Iterator[Change]:
        used = sorted(set(rule_of.values()))
        rules = [
            replace(self.dials[r].at(at[r]), policy=EVERYONE, clear=None, status="shadow")
            for r in used
        ]
        engine = Engine(compile_program(RuleSet(tuple(rules)), self.columns, self.calibrations))
        found: dict[int, Change] = {}
        begin = 0
        for part in self.traffic:
            mine = [i for i in rule_of if begin <= i < begin + len(part.ids)]
            for index in mine:
                name = self.dials[rule_of[index]].rule.id
                hits = hits_of(engine, part, index - begin)
                hit = next(hit for hit in hits if hit.rule == name)
                found[index] = Change(part.ids[index - begin], name, _value(hit))
            begin += len(part.ids)
        return (found[index] for index in rule_of)


def hits_of(engine: Engine, part: Requests, request: int) -> list[Hit]:
    """One of the requests, whole, as it would run live."""
    first, last = np.searchsorted(part.runs[:, 0], [request, request + 1])
    rows = slice(int(part.runs[:first, 2].sum()), int(part.runs[:last, 2].sum()))
    runs = part.runs[first:last]
    segments = np.zeros(len(runs), SEGMENTS)
    segments["start"], segments["n"], segments["scope"] = runs[:, 1], runs[:, 2], runs[:, 3]
    none = np.zeros(rows.stop - rows.start, np.int16)
    codes = [part.codes[f][rows] if f in part.codes else none for f in engine.program.columns]
    engine.open(0, {})
    hits = engine.step(ScoreFrame(segments, np.column_stack(codes), 0, 0))
    return hits + engine.close(0, finished=True)


def _value(hit: Hit) -> float:
    value = hit.decided.value_sum / hit.decided.value_n
    return value if hit.decided.atom.shape == "share" else value / CODES_PER_SD
