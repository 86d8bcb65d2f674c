"""`dosimeter bench budget`: does a plan for so many reviews a day keep its word on traffic it has not seen?

A cell is a ruleset, a traffic, a deal of it into halves and a budget. Levels are placed and the plan is made on one
half; the other is the day that comes. What it brings has to lie within the interval that the plan stated for a day of
that size. The halves are dealt at random: what makes one day another than the next is not in it.

Then reviews come as on that day, at even and uneven hours, and faster: four ways to spend too much, of which each has
to be alarmed of before twice a day's budget is spent, and weeks in which nothing changed, which should be quiet. The
former is promised by construction (`Spend.limit`); how much was spent by then, and the quiet weeks, are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODES_PER_SD, Scope
from dosimeter.monitor.bench.figures import Figure, Result
from dosimeter.rules.language.schema import Rule, load_rules, parse_rules
from dosimeter.rules.planning.dial import dials
from dosimeter.rules.planning.plan import Evidence, Knob, choose, outlook
from dosimeter.rules.planning.proposal import BOUND
from dosimeter.rules.planning.reach import Requests, compile_dials, reach
from dosimeter.rules.planning.spend import DAY_NS, WEEK, Spend

SEEDS = 10
BUDGETS = (60, 120)
QUIET_WEEKS = 5
"""Of each cell."""

_HEAD = "version: 1\nrules:\n"
_RULE = """
  - rule: {name}
    when: {when}
    status: live
    severity: {severity}
    owner: bench
    summary: "{{feature}}"
"""
_WHENS = {
    "joint": (
        ("critical", "{all: [{feature: scam, in: answer, above: 1 in 50 answers, average: 4 tokens}, "
         "{feature: deception, in: answer, above: 1 in 20 answers}], within: 64 tokens}"),
        ("high", "{all: [{feature: deception, in: answer, above: 1 in 200 answers, average: 8 tokens}, "
         "{not: {feature: scam_warning, in: answer, above: 1 in 50 answers, average: 8 tokens}}]}"),
        ("low", "{any: [{feature: sycophancy, in: answer, above: 1 in 300 answers, average: answer}, "
         "{feature: defection, in: answer, above: 1 in 300 answers, for: 3 tokens}]}"),
    ),
    "shapes": (
        ("critical", "{feature: defection, in: answer, above: z 3, at-least: 3 of 8 tokens}"),
        ("high", "{feature: scam, in: answer, above: 1 in 400 answers}"),
        ("medium", "{feature: deception, in: answer, above: 1 in 300 answers, share: 20 % of answer}"),
        ("low", "{feature: sycophancy, in: answer, below: 1 in 300 answers, average: 8 tokens}"),
    ),
}  # fmt: skip


def run() -> Result:
    from dosimeter.monitor.lab import CALIBRATION

    lab = Calibration.load(CALIBRATION)
    traffics = {"lab": lab, "made": autoregressive(lab.features, 10_000)}
    cells = [
        cell
        for traffic in traffics.values()
        for rules in rulesets().values()
        for seed in range(SEEDS)
        for cell in planned(rules, traffic, seed)
    ]
    return Result("budget", (*held(cells), *spent(cells)))


@dataclass(frozen=True, slots=True)
class Cell:
    """A plan and its day. bound: of the average (`BOUND`); came: reviews of the unseen half; tenant: those of them that
    fell to 40 % of its requests."""

    budget: int
    expected: float
    low: int
    high: int
    bound: float
    came: int
    tenant: int

    @property
    def kept(self) -> bool:
        return self.low <= self.came <= self.high


def rulesets() -> dict[str, tuple[Rule, ...]]:
    """The lab's own as it is, with its shadow rule live, and two of other shapes."""
    import dosimeter.rules

    shipped = load_rules([Path(next(iter(dosimeter.rules.__path__))) / "packs" / "lab.yaml"]).rules
    found = {
        "lab": tuple(rule for rule in shipped if rule.status == "live"),
        "lab, all live": tuple(replace(rule, status="live") for rule in shipped),
    }
    for name, whens in _WHENS.items():
        text = _HEAD + "".join(
            _RULE.format(name=f"{name}-{severity}", when=when, severity=severity)
            for severity, when in whens
        )
        found[name] = parse_rules(text, name).rules
    return found


def autoregressive(features: tuple[str, ...], requests: int, seed: int = 0) -> Calibration:
    """Scores of which each is nine tenths of the last, alike in part between features: messages of 8 tokens, answers of
    20 to 60."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(28, 69, requests)
    width = int(lengths.max())
    shared = 0.5 * rng.standard_normal((requests, width, 1))
    noise = shared + 0.75**0.5 * rng.standard_normal((requests, width, len(features)))
    for at in range(1, width):
        noise[:, at] = 0.9 * noise[:, at - 1] + 0.19**0.5 * noise[:, at]
    codes = np.rint(CODES_PER_SD * noise).astype(np.int16)
    scopes = np.where(np.arange(width) < 8, Scope.MESSAGE, Scope.ANSWER).astype(np.uint8)
    return Calibration.from_requests(
        [Column(name, "ab" * 32, "made") for name in features],
        [(codes[i, :n], scopes[:n]) for i, n in enumerate(lengths.tolist())],
        corpus="made up",
        date="2026-01-31",
    )


def planned(rules: tuple[Rule, ...], traffic: Calibration, seed: int) -> Iterator[Cell]:
    """One cell a budget."""
    half = np.random.default_rng(seed).random(traffic.requests) < 0.5
    seen, unseen = part(traffic, half), part(traffic, ~half)
    columns = [Column(f, p, "") for f, p in zip(traffic.features, traffic.packs, strict=True)]
    made = dials(rules, columns, [seen])
    program, refused = compile_dials(made, columns, [seen], ())
    running = [dial for dial in made if dial.rule.id not in refused]
    knobs = [Knob(dial.rule.id, dial.rule.severity, dial.offsets) for dial in running]
    first, later = (reach(program, running, [Requests.of(one)]).first for one in (seen, unseen))
    evidence = Evidence(first, np.ones(len(first)), unseen.requests)
    theirs = np.random.default_rng(seed + 1).random(unseen.requests) < 0.4
    for budget in BUDGETS:
        positions = choose(knobs, evidence, budget).positions
        total = outlook(knobs, evidence, positions).total
        bound = evidence.seen(evidence.union(positions), len(knobs)).bound(unseen.requests, BOUND)
        reviewed = (later <= np.array(positions)).any(axis=1)
        came, own = int(reviewed.sum()), int((reviewed & theirs).sum())
        yield Cell(budget, total.expected, total.low, total.high, bound, came, own)


def part(calibration: Calibration, chosen: npt.NDArray[np.bool_]) -> Calibration:
    """The chosen requests alone."""
    lengths = np.diff(calibration.offsets)
    tokens = np.repeat(chosen, lengths)
    return replace(
        calibration,
        codes=calibration.codes[tokens],
        scopes=calibration.scopes[tokens],
        offsets=np.concatenate(([0], np.cumsum(lengths[chosen]))).astype(np.int64),
        route_of=calibration.by_route[chosen],
    )


def held(cells: list[Cell]) -> list[Figure]:
    within = [cell.kept for cell in cells]
    over = [cell.came > cell.high for cell in cells]
    ratio = [cell.came / cell.budget for cell in cells]
    wide = [(cell.high - cell.low) / cell.budget for cell in cells]
    return [
        Figure("plans: cells of ruleset, traffic, halves and budget", len(cells), "cells", ">= 100"),
        Figure("plans: realised reviews within the stated interval", _share(within), "%", ">= 90"),
        Figure("plans: realised reviews above it", _share(over), "%"),
        Figure("plans: realised reviews, as a multiple of the budget, mean", _mean(ratio), "x"),
        Figure("plans: realised reviews, as a multiple of the budget, most", max(ratio), "x"),
        Figure("plans: width of the interval, as a multiple of the budget", _mean(wide), "x"),
    ]  # fmt: skip


# --- the alarm

Rate = Callable[[Cell, float], float]
"""How many times as fast as on the unseen half, by days since it began."""

SHIFTS: dict[str, Rate] = {
    "2.5 times as fast": lambda cell, day: 2.5,
    "one tenant of 40 %, 5 times as fast": lambda cell, day: 1 + 4 * cell.tenant / cell.came,
    "rising over a week to 3 times": lambda cell, day: 1 + 2 * min(day / WEEK, 1),
    "a burst, 30 times for two hours": lambda cell, day: 30.0 if 0.5 <= day < 0.5 + 2 / 24 else 1.0,
}
HOURS = {"even": (1.0,), "by day": (1.0, 6.0, 1.0), "by night": (6.0, 1.0, 1.0)}
"""When reviews come, in equal parts of a day; the alarm is not told."""
DAYS = 9


@dataclass(frozen=True, slots=True)
class Run:
    """alarm: how much of its day's budget was spent when it came; twice: some day up to then spent that much."""

    alarm: float | None
    twice: bool

    @property
    def warned(self) -> bool:
        """Twice the budget was not spent before an alarm."""
        return not self.twice if self.alarm is None else self.alarm < 2


def spent(cells: list[Cell]) -> list[Figure]:
    found: list[Figure] = []
    for index, (name, rate) in enumerate(SHIFTS.items()):
        runs = [_run(cell, rate, seed=1000 * index + i) for i, cell in enumerate(cells)]
        came = [run.alarm for run in runs if run.alarm is not None]
        what = f"alarm: {name}"
        found += [
            Figure(f"{what}: before twice the budget", _share([r.warned for r in runs]), "%", ">= 100"),
            Figure(f"{what}: came at all", 100 * len(came) / len(runs), "%"),
            Figure(f"{what}: twice the budget was spent on that day", _share([r.twice for r in runs]), "%"),
            Figure(f"{what}: share of the budget by then, median", float(np.median(came)) if came else None, "x"),
            Figure(f"{what}: share of the budget by then, most", max(came, default=None), "x"),
        ]  # fmt: skip
    weeks = [
        _run(cell, _as_ever, seed=10_000 + QUIET_WEEKS * i + week, days=WEEK).alarm is not None
        for i, cell in enumerate(cells)
        for week in range(QUIET_WEEKS)
    ]
    stated = [Spend(cell.budget, cell.bound).false_alarm_week for cell in cells]
    return [
        *found,
        Figure("alarm: quiet weeks", len(weeks), "weeks"),
        Figure("alarm: quiet weeks with an alarm", _share(weeks), "%", "<= 1"),
        Figure("alarm: the share of such weeks that is stated, at most", 100 * max(stated), "%"),
    ]


def _run(cell: Cell, rate: Rate, seed: int, days: int = DAYS) -> Run:
    """Up to the end of the day of the alarm. Reviews come as on the cell's own day."""
    rng = np.random.default_rng(seed)
    spend = Spend(cell.budget, cell.bound)
    parts = np.arange(24 * 12) / (24 * 12)
    shape = np.array(list(HOURS.values())[seed % len(HOURS)])
    hours = np.repeat(shape / shape.mean(), len(parts) // len(shape)) / len(parts)
    twice = False
    for day in range(days):
        rates = np.array([rate(cell, day + part) for part in parts.tolist()])
        counts = rng.poisson(cell.came * hours * rates)
        twice = twice or int(counts.sum()) >= 2 * cell.budget
        into = np.repeat(parts, counts) + rng.random(counts.sum()) / len(parts)
        for at in np.sort(into).tolist():
            alarm = spend.review((WEEK + day) * DAY_NS + int(at * DAY_NS))
            if alarm is not None:
                return Run(alarm.count / cell.budget, twice)
    return Run(None, twice)


def _as_ever(cell: Cell, day: float) -> float:
    return 1.0


def _share(of: list[bool]) -> float:
    return 100 * sum(of) / len(of)


def _mean(of: list[float]) -> float:
    return float(np.mean(of))
