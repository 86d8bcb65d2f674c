"""How a rule joins its conditions, by hand-worked tables: when it fires, and what it shows for it."""

from __future__ import annotations

import numpy as np
import pytest
from rule_streams import frame, literal, program_with

from dosimeter.detectors.frames import CODE_UNSCORED, Scope
from dosimeter.rules import native
from dosimeter.rules.atoms import MAX_STAGES, Atom, Clause, Logic
from dosimeter.rules.engine import AnyKernel, Engine, Hit
from dosimeter.rules.native import NativeKernel
from dosimeter.rules.reference import PlainKernel

A, M = Scope.ANSWER, Scope.MESSAGE
ATOMS = [Atom(column, A, 1, "once", 1, 5) for column in range(3)]
"""Column c is beyond 5."""


@pytest.fixture(params=[PlainKernel, *([NativeKernel] if native.found else [])])
def kernel(request: pytest.FixtureRequest) -> type[AnyKernel]:
    kind: type[AnyKernel] = request.param
    return kind


def of(*atoms: int, negated: bool = False) -> Clause:
    return Clause(tuple(map(literal, atoms)), negated)


def run(
    kernel: type[AnyKernel],
    logic: Logic,
    text: str,
    atoms: list[Atom] = ATOMS,
    scope: Scope = A,
) -> list[Hit]:
    """One request, a word a token: the letters of the columns that are beyond, `.` none, `?` unscored."""
    rows = [[9 if name in token else 0 for name in "abc"] for token in text.split()]
    codes = np.array(rows, np.int16).reshape(-1, 3)
    codes[[token == "?" for token in text.split()]] = CODE_UNSCORED
    engine = Engine(program_with(atoms, [logic]), kernel)
    engine.open(1, {})
    return engine.step(frame((1, 0, scope, codes))) + engine.close(1, finished=True)


def at(hits: list[Hit]) -> list[int]:
    return [hit.position for hit in hits]


@pytest.mark.parametrize(
    ("logic", "text", "expected"),
    [
        # all: both must have been, the later one decides
        (Logic((of(0), of(1))), ". a . . b . a b", [4]),
        (Logic((of(0), of(1))), ". b . . . a", [5]),
        (Logic((of(0), of(1))), "ab", [0]),
        (Logic((of(0), of(1))), "a . a . .", []),
        # within: the distance of the deciding tokens is less than so many
        (Logic((of(0), of(1)), within=3), "a . b", [2]),
        (Logic((of(0), of(1)), within=3), "a . . b", []),
        (Logic((of(0), of(1)), within=3), "a . . a b", [4]),
        (Logic((of(0), of(1), of(2)), within=3), "a b . c", []),
        (Logic((of(0), of(1), of(2)), within=4), "a b . c", [3]),
        # any: one of a clause suffices
        (Logic((of(0, 1),)), ". b a", [1]),
        (Logic((of(0, 1), of(2)), within=2), "b . c a", [3]),
        # not: nothing of the kind up to now, or within the distance
        (Logic((of(0), of(1, negated=True))), "b . a", []),
        (Logic((of(0), of(1, negated=True))), "a b", [0]),
        (Logic((of(0), of(1, negated=True))), "ab", []),
        (Logic((of(0), of(1, negated=True)), within=2), "b . a", [2]),
        (Logic((of(0), of(1, negated=True)), within=3), "b . a a", [3]),
        # not, and nothing else at that moment: what was there does not fire by waiting
        (Logic((of(0), of(1, negated=True)), within=3), "b a . . .", []),
        # sequence: one after the other, never at one moment
        (Logic((of(0), of(1)), "sequence", 9), "b . a . b", [4]),
        (Logic((of(0), of(1)), "sequence", 9), "ab . .", []),
        (Logic((of(0), of(1)), "sequence", 9), "ab . ab", [2]),
        (Logic((of(0), of(1)), "sequence", 3), "a . . b", []),
        (Logic((of(0), of(1)), "sequence", 3), "a . a b", [3]),
        (Logic((of(0), of(1), of(2)), "sequence", 9), "a c b . c", [4]),
        # the latest chain counts: the second `a` came too late for this `b`, which still has the first
        (Logic((of(0), of(1), of(2)), "sequence", 6), "a b a . . c", [5]),
        (Logic((of(0), of(1), of(2)), "sequence", 5), "a b a . b c", [5]),
        (Logic((of(0), of(0)), "sequence", 9), "a . a", [2]),
        # clear: again after a later moment at which that atom was true
        (Logic((of(0),), clear=1), "a a b a", [0, 3]),
        (Logic((of(0),), clear=1), "ab a b . a a", [0, 4]),
        # ... and itself was not
        (Logic((of(0),), clear=1), "ab ab ab", [0]),
        (Logic((of(0),), clear=1), "a ab b a", [0, 3]),
        (Logic((of(0),)), "a . b a", [0]),
        # an unscored token is no sign of anything
        (Logic((of(0), of(1, negated=True))), "? a", [1]),
    ],
)
def test_a_rule_fires_where_the_table_says(
    kernel: type[AnyKernel], logic: Logic, text: str, expected: list[int]
) -> None:
    assert at(run(kernel, logic, text)) == expected


def test_a_hit_shows_every_condition_as_it_was_last_true(kernel: type[AnyKernel]) -> None:
    atoms = [Atom(0, A, 1, "for", 2, 5), *ATOMS[1:]]
    (hit,) = run(kernel, Logic((of(0), of(1), of(2, negated=True)), within=9), "a a a . b", atoms)
    assert (hit.position, hit.start) == (4, 0)
    assert (hit.decided.clause, hit.decided.start, hit.decided.end) == (1, 4, 5)
    (other,) = hit.also
    assert (other.clause, other.start, other.end, other.value_sum) == (0, 0, 3, 9)
    assert (other.tokens_scored, hit.decided.tokens_scored) == (3, 5)


def test_a_sequence_shows_the_moments_that_made_it_and_not_later_ones(
    kernel: type[AnyKernel],
) -> None:
    (hit,) = run(kernel, Logic((of(0), of(1), of(2)), "sequence", 9), "a b a . c")
    assert [c.start for c in (*hit.also, hit.decided)] == [0, 1, 4]


def test_the_end_of_a_scope_is_a_later_moment_than_its_last_token(kernel: type[AnyKernel]) -> None:
    atoms = [ATOMS[0], Atom(0, A, 1, "average_scope", 1, 0)]
    (hit,) = run(kernel, Logic((of(0), of(1)), "sequence", 2), ". a", atoms)
    assert (hit.position, hit.decided.atom.shape) == (1, "average_scope")


def test_conditions_in_two_scopes_meet_over_the_whole_request(kernel: type[AnyKernel]) -> None:
    atoms = [Atom(0, M, 1, "once", 1, 5), Atom(0, A, 1, "once", 1, 5)]
    engine = Engine(program_with(atoms, [Logic((of(0), of(1)), within=4)]), kernel)
    codes = np.array([[9, 0, 0], [0, 0, 0], [0, 0, 0], [9, 0, 0]], np.int16)
    engine.open(1, {})
    (hit,) = engine.step(frame((1, 0, M, codes[:2]), (1, 2, A, codes[2:])))
    assert (hit.position, hit.also[0].position) == (3, 0)


def test_a_share_counts_scored_tokens_and_shows_how_many(kernel: type[AnyKernel]) -> None:
    logic = Logic((of(0),))
    for percent, fires in ((40, True), (41, False)):
        atoms = [Atom(0, A, 1, "share", 1, 5, percent)]
        found = run(kernel, logic, "a . ? a . .", atoms)  # 2 of 5 scored
        assert bool(found) is fires
    atoms = [Atom(0, A, 1, "share", 1, 5, 40)]
    (hit,) = run(kernel, logic, "a . ? a . .", atoms)
    assert (hit.decided.value_sum, hit.decided.value_n) == (2, 5)
    assert (hit.decided.start, hit.decided.end) == (0, 6)


@pytest.mark.parametrize(
    ("least", "coverage", "fires"), [(3, 75, True), (4, 0, False), (0, 76, False)]
)
def test_a_shape_of_the_whole_asks_for_enough_of_it(
    kernel: type[AnyKernel], least: int, coverage: int, fires: bool
) -> None:
    for shape in ("average_scope", "share"):
        atoms = [Atom(0, A, 1, shape, 1, 5, 1, least, coverage)]
        assert bool(run(kernel, Logic((of(0),)), "a a ? a", atoms)) is fires


def test_two_rules_over_the_same_atoms_do_not_disturb_each_other(kernel: type[AnyKernel]) -> None:
    rules = [Logic((of(0),)), Logic((of(0), of(1))), Logic((of(0),), clear=1)]
    engine = Engine(program_with(ATOMS, rules), kernel)
    codes = np.array([[9, 0, 0], [9, 9, 0], [0, 9, 0], [9, 0, 0]], np.int16)
    engine.open(1, {})
    hits = engine.step(frame((1, 0, A, codes)))
    assert [(h.rule, h.position) for h in hits] == [("r0", 0), ("r2", 0), ("r1", 1), ("r2", 3)]


@pytest.mark.parametrize(
    "parts",
    [
        {"clauses": ()},
        {"clauses": (Clause(()),)},
        {"clauses": (of(0, negated=True),)},
        {"clauses": (of(0), of(1)), "within": -1},
        {"clauses": (of(0),), "kind": "sequence"},
        {"clauses": (of(0), of(1, negated=True)), "kind": "sequence"},
        {"clauses": (of(0),) * (MAX_STAGES + 1), "kind": "sequence"},
        {"clauses": (of(*[0] * 17),)},
        {"clauses": (of(0),), "kind": "both"},
    ],
)
def test_logic_that_could_not_be_decided_is_refused(parts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no such condition"):
        Logic(**parts)  # type: ignore[arg-type]


def test_one_spike_is_one_alert_however_short_the_calm_that_is_asked_for(
    kernel: type[AnyKernel],
) -> None:
    """2026-11-30: a window still held the spike when four calm tokens had passed, and fired at every second one."""
    spike = Atom(0, A, 1, "average", 16, 512)
    calm = Atom(0, A, -1, "for", 4, 257)
    engine = Engine(program_with([spike, calm], [Logic((of(0),), clear=1)]), kernel)
    codes = np.zeros((60, 3), np.int16)
    codes[[20, 45]] = 60 * 256
    engine.open(1, {})
    assert at(engine.step(frame((1, 0, A, codes)))) == [20, 45]
