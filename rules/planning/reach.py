"""At how many positions of its dial a rule fires on each request: every position of every rule, run once.

Owns `Requests`, many requests as `backtest.py` replays them, and the program that holds all positions. It never
learns what a position costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.calibrate import EVERYWHERE, Calibration, NotCalibrated, NotEnough
from dosimeter.detectors.frames import Codes
from dosimeter.detectors.levels import LevelError
from dosimeter.rules.atoms import Atom, Clause, CompiledRule, Logic
from dosimeter.rules.backtesting.backtest import Backtest, Names
from dosimeter.rules.placing import BankColumn, Builder, Inactive
from dosimeter.rules.planning.dial import Dial
from dosimeter.rules.policy import Policy, Whose
from dosimeter.rules.program import Program

Ints = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32]
"""[A, R]: the tightest position at which rule r fires on request a; the number of its positions where at none."""


@dataclass(frozen=True, slots=True)
class Called:
    """One name a request, as `backtest.Names` wants it."""

    names: Sequence[str]
    of: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Requests of one bank.

    ids      of each, as people name it
    weights  float64 [A]: how many requests each stands for
    codes    of each feature int16 [T], requests behind each other
    runs     int64 [R, 4]: request, first position, tokens, Scope
    labels   those that somebody vouches for
    """

    ids: Sequence[str]
    weights: npt.NDArray[np.float64]
    codes: Mapping[str, Codes]
    runs: Ints
    labels: Mapping[str, Names]

    @classmethod
    def of(cls, calibration: Calibration) -> Requests:
        """Those of a calibration, called by their number from 0."""
        ends, scopes = calibration.offsets, calibration.scopes
        request = np.repeat(np.arange(calibration.requests), np.diff(ends))
        key = request * 256 + scopes
        first = np.flatnonzero(np.diff(key, prepend=-1))
        length = np.diff(np.append(first, len(key)))
        of = request[first]
        runs = np.column_stack([of, first - ends[of], length, scopes[first]]).astype(np.int64)
        codes = {f: calibration.stream(f).codes for f in calibration.features}
        labels: dict[str, Names] = {}
        if calibration.routes != (EVERYWHERE,):
            labels["route"] = Called(calibration.routes, calibration.by_route.astype(np.int32))
        ids = tuple(map(str, range(calibration.requests)))
        return cls(ids, np.ones(len(ids)), codes, runs, labels)


def compile_dials(
    dials: Sequence[Dial],
    columns: Sequence[BankColumn],
    calibrations: Sequence[Calibration],
    known: Iterable[str],
    day: date | None = None,
) -> tuple[Program, dict[str, str]]:
    """One program with every position as a rule of its own, `id@position`, and the rules that cannot run, with the
    reason. known: the labels that traffic has, and `model` where it has one; what `only` and `unless` ask beyond them
    counts as everyone's. day: for which it is planned; what is over by then is left out (None: nothing is)."""
    builder = Builder(columns, calibrations)
    atoms: dict[Atom, int] = {}
    rules: list[CompiledRule] = []
    refused: dict[str, str] = {}
    labels = set(known)
    for dial in dials:
        policy = dial.rule.policy
        if day is not None and policy.expired(day):
            refused[dial.rule.id] = f"it expired on {policy.expires}; renew `expires`, or retire it"
            continue
        if not dial.offsets:
            refused[dial.rule.id] = dial.end or "no level of it can be placed"
            continue
        placed = replace(dial.at(0), clear=None)  # more hits of a request are one review
        try:
            logic = builder.logic(placed)
        except (Inactive, NotCalibrated, NotEnough, LevelError) as error:
            refused[dial.rule.id] = str(error).replace("\n  hint: ", "; ")
            continue
        policy = _answerable(policy if day is None else policy.on(day), labels)
        text, sha256 = dial.rule.as_json(), dial.rule.sha256
        for position in range(len(dial.offsets)):
            moved = _moved(logic, builder.used, dial.thresholds[position], atoms)
            rules.append(CompiledRule(f"{dial.rule.id}@{position}", sha256, moved, text, policy))
    names = tuple(c.feature for c in columns)
    return Program(names, tuple(atoms), tuple(rules), {}, builder.computed), refused


@dataclass(frozen=True, slots=True, eq=False)
class Reached:
    """Of all requests in their order: what reaches them, what each is called and how many it stands for."""

    first: Positions
    ids: Sequence[str]
    weights: npt.NDArray[np.float64]


def reach(
    program: Program, dials: Sequence[Dial], traffic: Iterable[Requests], model: str = ""
) -> Reached:
    """Exempt hits are nobody's review."""
    sizes = np.array([len(dial.offsets) for dial in dials], np.int32)
    index = {dial.rule.id: i for i, dial in enumerate(dials)}
    marks = [rule.rule.rsplit("@", 1) for rule in program.rules]
    rule_of = np.array([index[name] for name, _ in marks], np.int64)
    position_of = np.array([int(position) for _, position in marks], np.int32)
    backtest = Backtest(program, model)
    found = [np.zeros((0, len(dials)), np.int32)]
    ids: list[str] = []
    weights = [np.zeros(0)]
    for part in traffic:
        codes = [part.codes[name] for name in backtest.reads]
        hits = backtest.replay(codes, part.runs, len(part.ids), part.labels)
        hits = hits[~hits["exempt"]]
        first = np.tile(sizes, (len(part.ids), 1))
        which = hits["request"], rule_of[hits["rule"]]
        np.minimum.at(first, which, position_of[hits["rule"]])
        found.append(first)
        ids += part.ids
        weights.append(part.weights)
    return Reached(np.concatenate(found), ids, np.concatenate(weights))


def _moved(
    logic: Logic, used: Sequence[Atom], thresholds: Sequence[int], atoms: dict[Atom, int]
) -> Logic:
    """The same logic with these thresholds, in the order of its conditions."""
    each = iter(thresholds)

    def literals(clause: Clause) -> Iterator[int]:
        for literal in clause.literals:
            atom = replace(used[literal.atom], threshold=next(each))
            yield atoms.setdefault(atom, len(atoms))

    clauses = tuple(
        replace(
            clause,
            literals=tuple(
                replace(literal, atom=atom)
                for literal, atom in zip(clause.literals, literals(clause), strict=True)
            ),
        )
        for clause in logic.clauses
    )
    return replace(logic, clauses=clauses)


def _answerable(policy: Policy, labels: set[str]) -> Policy:
    """Without what stored requests cannot answer, on the side of more reviews."""
    only = Whose(tuple(pair for pair in policy.only.labels if pair[0] in labels))
    unless = tuple(e for e in policy.unless if {n for n, _ in e.whose.labels} <= labels)
    return replace(policy, only=only, unless=unless)
