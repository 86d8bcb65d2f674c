"""A backtest decides what the line decided: the same hits out of stored requests as out of live frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_streams import (
    Traffic,
    atoms,
    batched,
    literal,
    one,
    program_of,
    program_with,
    programs,
    traffic,
)

from dosimeter.detectors.frames import Codes, Scope, ScoreFrame
from dosimeter.rules import native
from dosimeter.rules.atoms import Atom, Clause, Logic
from dosimeter.rules.backtesting.backtest import Backtest, asks_beyond
from dosimeter.rules.engine import AnyKernel, Engine
from dosimeter.rules.language.expr import parse
from dosimeter.rules.native import NativeKernel
from dosimeter.rules.policy import Exemption, Policy, Whose
from dosimeter.rules.program import Program
from dosimeter.rules.reference import PlainKernel

KERNELS: list[type[AnyKernel]] = [PlainKernel, *([NativeKernel] if native.found else [])]
Fired = list[tuple[int, int, str]]


@dataclass(frozen=True)
class Named:
    names: tuple[str, ...]
    of: npt.NDArray[np.int32]


def stored(t: Traffic) -> tuple[list[Codes], npt.NDArray[np.int64], int]:
    """Columns, runs and the number of requests: what an archive keeps of the traffic, worked out a token at a time."""
    runs: list[list[int]] = []
    rows: list[Codes] = []
    for index, key in enumerate(sorted(t.scopes)):
        before: tuple[int, Scope] | None = None
        for position, scope in enumerate(t.scopes[key]):
            if position in t.missing[key]:
                continue
            if before != (position - 1, scope):
                runs.append([index, position, 0, int(scope)])
            runs[-1][2] += 1
            before = position, scope
            rows.append(t.codes[key][position])
    width = max((codes.shape[1] for codes in t.codes.values()), default=0)
    codes = np.array(rows, np.int16).reshape(len(rows), width)
    return list(codes.T.copy()), np.array(runs, np.int64).reshape(-1, 4), len(t.scopes)


def live(program: Program, t: Traffic, seed: int, most_rows: int) -> Fired:
    """What the engine fires on the traffic as it comes, cut and interleaved at random."""
    engine = Engine(program)
    for key in t.scopes:
        engine.open(key, {})
    hits = []
    for event in batched(t, seed, most_rows, replays=True):
        hits += (
            engine.step(event)
            if isinstance(event, ScoreFrame)
            else engine.close(event[0], finished=event[1])
        )
    order = {key: index for index, key in enumerate(sorted(t.scopes))}
    return sorted((order[h.key], h.position, h.rule) for h in hits)


def backtest(program: Program, t: Traffic, kernel: type[AnyKernel]) -> Fired:
    columns, runs, requests = stored(t)
    run = Backtest(program, kernel=kernel)
    codes = [columns[program.columns.index(name)] for name in run.reads]
    hits = run.replay(codes, runs, requests, {})
    return sorted(
        (int(h["request"]), int(h["position"]), program.rules[h["rule"]].rule) for h in hits
    )


@settings(max_examples=20, deadline=None)
@given(programs(), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 17, 400]))
def test_a_backtest_hits_what_the_engine_hit_live_however_it_was_cut(
    program: Program, seed: int, most_rows: int
) -> None:
    """Scopes, gaps, unscored and repeated tokens, cancelled requests; both kernels."""
    t = traffic(seed, requests=6, longest=70)
    expected = live(program, t, seed, most_rows)
    for kernel in KERNELS:
        assert backtest(program, t, kernel) == expected


@settings(max_examples=10, deadline=None)
@given(programs(), st.integers(0, 2**32 - 1))
def test_long_requests_hit_the_same_though_the_kernel_takes_them_in_pieces(
    program: Program, seed: int
) -> None:
    t = traffic(seed, requests=4, longest=1500)
    assert backtest(program, t, KERNELS[-1]) == live(program, t, seed, 300)


@settings(max_examples=20, deadline=None)
@given(st.lists(atoms(), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_the_requests_of_one_archive_do_not_see_each_other(of: list[Atom], seed: int) -> None:
    """All at once is one after the other, each alone."""
    program = program_of(*of)
    t = traffic(seed, requests=5, longest=50)
    alone: Fired = []
    for index, key in enumerate(sorted(t.scopes)):
        part = Traffic(*({key: held[key]} for held in (t.scopes, t.codes, t.missing, t.finished)))
        alone += [
            (index, position, rule) for _, position, rule in backtest(program, part, KERNELS[-1])
        ]
    assert backtest(program, t, KERNELS[-1]) == sorted(alone)


@pytest.mark.parts  # for its length
def test_a_million_tokens_hit_the_same_live_and_stored() -> None:
    """0 differing hits: 20 rules over every shape, frames cut and interleaved, rows that come again, cancels."""
    rng = np.random.default_rng(3)
    of = [
        Atom(int(rng.integers(3)), scope, int(rng.choice([1, -1])), shape, n, int(level), k)
        for shape, n, k, level in [
            ("once", 1, 1, 12), ("for", 4, 1, 5), ("average", 8, 1, 4), ("average", 32, 1, 3),
            ("average_scope", 1, 1, 4), ("at_least", 16, 9, 5), ("average_last", 6, 1, 5), ("share", 1, 60, 2),
        ]
        for scope in (Scope.ANSWER, Scope.MESSAGE)
    ]  # fmt: skip
    atoms = list(dict.fromkeys(of))
    pairs = [
        Logic((Clause((literal(a),)), Clause((literal(b),))), kind, within)
        for kind, within in (("all", 40), ("sequence", 0))
        for a, b in rng.integers(0, len(atoms), (10, 2)).tolist()
    ]
    program = program_with(atoms, [*map(one, range(len(atoms))), *pairs])
    t = traffic(7, requests=640, longest=3200)
    assert sum(map(len, t.scopes.values())) > 1_000_000
    expected = live(program, t, seed=5, most_rows=900)
    assert len(expected) > 5000
    assert backtest(program, t, KERNELS[-1]) == expected


def test_a_rule_with_clear_hits_again_in_one_request() -> None:
    """By hand: over 5 at tokens 1 and 4, calm (not over 2) at token 3."""
    over, calm = (
        Atom(0, Scope.ANSWER, 1, "once", 1, 5),
        Atom(0, Scope.ANSWER, -1, "once", 1, 2),
    )
    program = program_with([over, calm], [one(0, clear=1)], columns=1)
    codes = np.array([3, 9, 9, 1, 9], np.int16)
    runs = np.array([[0, 0, 5, Scope.ANSWER]])
    for kernel in KERNELS:
        hits = Backtest(program, kernel=kernel).replay([codes], runs, 1, {})
        assert hits["position"].tolist() == [1, 4]


def test_a_computed_score_is_read_from_the_features_that_it_names() -> None:
    """By hand: the sum of two columns is over 10 first at token 2."""
    atom = Atom(3, Scope.ANSWER, 1, "once", 1, 10)
    plain = program_with([atom], [one(0)], columns=4)
    program = replace(plain, columns=("f0", "f1", "f2"), computed=(parse("f0 + f2"),))
    codes = [np.array([9, 2, 5, 0], np.int16), np.array([1, 8, 6, 0], np.int16)]
    run = Backtest(program)
    assert run.reads == ("f0", "f2")
    hits = run.replay(codes, np.array([[0, 0, 4, Scope.ANSWER]]), 1, {})
    assert hits["position"].tolist() == [2]


def test_only_and_unless_decide_by_the_labels_that_were_kept() -> None:
    """Three tenants, one request each: one is not asked for, one is exempt, one without a tenant."""
    program = program_of(Atom(0, Scope.ANSWER, 1, "once", 1, 5), columns=1)
    why = Exemption(Whose((("tenant", ("red-team",)),)), "tests", "security", date(2027, 1, 1))
    only = Whose((("tenant", ("bank", "red-team")),))
    rule = replace(program.rules[0], policy=Policy(only, (why,)))
    program = replace(program, rules=(rule,))
    codes = np.array([9, 9, 9, 9], np.int16)
    runs = np.array([[a, 0, 1, Scope.ANSWER] for a in range(4)])
    tenants = Named(("", "shop", "bank", "red-team"), np.array([0, 1, 2, 3], np.int32))
    hits = Backtest(program).replay([codes], runs, 4, {"tenant": tenants})
    assert hits["request"].tolist() == [2, 3]
    assert hits["exempt"].tolist() == [False, True]


def test_what_a_rule_asks_of_labels_that_are_not_kept_is_named() -> None:
    (rule,) = program_of(Atom(0, Scope.ANSWER, 1, "once", 1, 5)).rules
    asking = replace(rule, policy=Policy(Whose((("user", ("u",)), ("tenant", ("t",))))))
    assert asks_beyond(asking, ("tenant", "route")) == ("user",)
    assert asks_beyond(rule, ("tenant", "route")) == ()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("runs", "columns"),
    [
        ([[0, 0, 4, 3]], [np.zeros(3, np.int16)]),  # more tokens than codes
        ([[0, 0, 2, 3]], [np.zeros(3, np.int16)]),  # fewer
        ([[1, 0, 1, 3], [0, 0, 2, 3]], [np.zeros(3, np.int16)]),  # requests out of order
        ([[0, 0, 3, 3]], [None]),  # the column that the atom reads is missing
        ([[0, 0, 3, 3]], []),
        ([[2, 0, 3, 3]], [np.zeros(3, np.int16)]),  # a request that is not there
        ([[0, -1, 3, 3]], [np.zeros(3, np.int16)]),
    ],
)
def test_runs_that_do_not_fit_their_codes_are_refused(
    kernel: type[AnyKernel], runs: list[list[int]], columns: list[Codes | None]
) -> None:
    program = program_of(Atom(0, Scope.ANSWER, 1, "once", 1, 5), columns=1)
    made = kernel(program.atoms, [rule.logic for rule in program.rules])
    with pytest.raises(ValueError, match="runs that do not fit"):
        made.replay(np.array(runs), 2, columns)


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_archive_without_tokens_or_a_program_without_rules_has_no_hits(
    kernel: type[AnyKernel],
) -> None:
    program = program_of(Atom(0, Scope.ANSWER, 1, "once", 1, -5), columns=1)
    nothing = np.zeros((0, 4), np.int64)
    assert (
        len(Backtest(program, kernel=kernel).replay([np.zeros(0, np.int16)], nothing, 3, {})) == 0
    )
    idle = Backtest(program_with([], []), kernel=kernel)
    assert idle.reads == ()
    assert len(idle.replay([], np.array([[0, 0, 3, 3]]), 1, {})) == 0
