"""Whether the tests of a rule notice when it is changed by one step: a score, and a test for each step they miss.

Owns the count. A step that changes nothing (the same program), or that cannot be placed, is not counted. The steps are
`mutants.py`'s, the tests that are offered `boundary.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dosimeter.rules.atoms import Atom
from dosimeter.rules.placing import Levels
from dosimeter.rules.program import Program
from dosimeter.rules.testing.boundary import tell_apart
from dosimeter.rules.testing.cases import RuleTest
from dosimeter.rules.testing.mutants import Mutant, mutants
from dosimeter.rules.testing.trial import Trial, Unplaced


@dataclass(frozen=True, slots=True)
class Survivor:
    """A step that no test notices. by: a test to add that does; None where none was found."""

    mutant: Mutant
    by: RuleTest | None


@dataclass(frozen=True, slots=True)
class MutationScore:
    """killed of counted steps; survivors: the others."""

    killed: int
    counted: int
    survivors: tuple[Survivor, ...]

    @property
    def offered(self) -> tuple[RuleTest, ...]:
        """The tests to add, each once: one can notice several steps."""
        return tuple({s.by.name: s.by for s in self.survivors if s.by is not None}.values())


def mutate(trial: Trial, tests: Sequence[RuleTest], levels: Levels) -> MutationScore:
    """tests: all of them pass."""
    own = meaning(trial.program)
    seen = {own}
    killed = counted = 0
    left: list[tuple[Mutant, Trial]] = []
    for mutant in mutants(trial.rule):
        try:
            changed = Trial(mutant.rule, levels)
        except Unplaced:
            continue
        means = meaning(changed.program)
        if means in seen:
            continue
        seen.add(means)
        counted += 1
        if any(not changed.run(test).passed for test in tests):
            killed += 1
        else:
            left.append((mutant, changed))
    return MutationScore(killed, counted, _survivors(trial, left, tests))


def _survivors(
    trial: Trial, left: Sequence[tuple[Mutant, Trial]], tests: Sequence[RuleTest]
) -> tuple[Survivor, ...]:
    names = {test.name for test in tests}
    offered: list[RuleTest] = []
    found: list[Survivor] = []
    for mutant, changed in left:
        by = next((test for test in offered if not changed.run(test).passed), None)
        if by is None:
            name = f"boundary: {mutant.what.replace('`', '')}"
            while name in names:
                name += ", again"
            by = tell_apart(trial, changed, name)
            if by is not None:
                names.add(name)
                offered.append(by)
        found.append(Survivor(mutant, by))
    return tuple(found)


def meaning(program: Program) -> Any:
    """Equal where two programs of one rule decide alike for a reason that can be read off them."""
    (rule,) = program.rules
    logic = rule.logic
    alone = len(logic.clauses) == 1 and logic.clear is None  # only when it is first true matters
    atoms = [_plain(atom, alone) for atom in program.atoms]
    clauses = [
        (frozenset(atoms[one.atom] for one in clause.literals), clause.negated)
        for clause in logic.clauses
    ]
    clear = None if logic.clear is None else atoms[logic.clear]
    computed = tuple(score.text for score in program.computed)
    whose = rule.policy.only, rule.policy.unless
    within = logic.within if len(clauses) > 1 else 0
    together = tuple(clauses) if logic.kind == "sequence" else frozenset(clauses)
    return together, logic.kind, within, clear, computed, whose


def _plain(atom: Atom, alone: bool) -> Atom:
    """Of several ways to say the same, one. alone: nothing asks how long it stays true."""
    if alone and atom.shape == "at_least" and atom.k == 1:
        atom = replace(atom, shape="once", n=1)
    if atom.shape == "at_least" and atom.k == atom.n:
        atom = replace(atom, shape="for", k=1)
    if atom.shape in ("for", "average") and atom.n == 1:
        atom = replace(atom, shape="once")
    return replace(atom, least=0) if atom.least == 1 else atom
