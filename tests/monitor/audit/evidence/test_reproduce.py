"""What the engine decided comes out again, to the field; and nothing that was changed since does."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dosimeter.detectors.frames import Scope
from dosimeter.monitor.audit.evidence.reproduce import (
    BY_REQUEST,
    BY_WINDOW,
    Reproducer,
    claim_of,
    reproduce,
)
from dosimeter.monitor.audit.evidence.reproduced import GIVEN
from dosimeter.monitor.audit.store.entries import MEASURED
from dosimeter.monitor.history.archive_part import NotAPart
from dosimeter.rules.atoms import Atom, Clause, Logic
from dosimeter.rules.language.expr import parse
from dosimeter.rules.policy import Exemption, Policy, Whose
from dosimeter.rules.program import Program
from tests.monitor.audit.reproduce_scene import LABELS, Kept, alerts
from tests.rules.rule_streams import atoms, literal, one, program_of, program_with, programs

QUICK = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
SHAPES = {
    "once": Atom(0, Scope.ANSWER, 1, "once", 1, 5),
    "once below": Atom(0, Scope.ANSWER, -1, "once", 1, -4),
    "for": Atom(0, Scope.ANSWER, 1, "for", 3, 0),
    "average": Atom(0, Scope.ANSWER, 1, "average", 4, 3),
    "at least": Atom(0, Scope.ANSWER, 1, "at_least", 5, 2, 3),
    "average of the scope": Atom(0, Scope.ANSWER, 1, "average_scope", 1, 1, least=2),
    "last average": Atom(0, Scope.ANSWER, 1, "average_last", 3, 2),
    "share": Atom(0, Scope.ANSWER, 1, "share", 1, 1, 40),
}


def some(program: Program, count: int = 5, **how: Any) -> list[Kept]:
    found: list[Kept] = []
    seed = 0
    while len(found) < count:
        found += alerts(program, seed, **how)
        seed += 1
        assert seed < 100
    return found


@QUICK
@given(program=programs(), seed=st.integers(0, 1000))
def test_whatever_a_program_decided_comes_out_the_same_by_the_whole_request(
    program: Program, seed: int
) -> None:
    for kept in alerts(program, seed):
        found = kept.again()
        assert (found.status, found.by, found.because) == ("same", BY_REQUEST, "")
        assert set(found.compared) == set(kept.core) - GIVEN


@QUICK
@given(program=programs(), seed=st.integers(0, 1000), cut=st.integers(0, 70))
def test_a_window_never_says_that_a_true_alert_differs(
    program: Program, seed: int, cut: int
) -> None:
    for kept in alerts(program, seed):
        assert kept.body is not None
        kept.archived = None
        assert kept.again().status != "differs"
        body = kept.body
        kept.body = replace(
            body, first=body.first + min(cut, len(body.codes)), codes=body.codes[cut:]
        )
        assert kept.again().status != "differs"


@QUICK
@given(of=st.lists(atoms(), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_a_rule_of_one_condition_comes_out_the_same_by_a_window_that_holds_its_scope(
    of: list[Atom], seed: int
) -> None:
    for kept in alerts(program_of(*of), seed, gaps=False):
        kept.archived = None
        found = kept.again()
        assert (found.status, found.by, found.because) == ("same", BY_WINDOW, "")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("by", [BY_REQUEST, BY_WINDOW])
def test_every_measured_value_that_was_changed_is_named(shape: str, by: str) -> None:
    for kept in some(program_of(SHAPES[shape]), gaps=False):
        if by == BY_WINDOW:
            kept.archived = None
        assert kept.again().status == "same"
        for name in ("start", "value_sum", "value_n", "threshold_code", "severity", "level"):
            was = kept.core[name]
            kept.core[name] = was + 1 if isinstance(was, int) else f"{was}x"
            found = kept.again()
            assert found.status == "differs", name
            assert name in found.because
            kept.core[name] = was
        for name in ("position", "clause", *["tokens_scored"] * (by == BY_REQUEST)):
            kept.core[name] += 1
            found = kept.again()
            assert found.status == "differs", name
            assert name in found.because
            kept.core[name] -= 1
        kept.core["event_id"] = "0" * 32
        assert "event_id: stored is `000" in kept.again().because


def test_an_alert_of_another_token_is_told_where_the_rule_fires() -> None:
    for kept in some(program_of(SHAPES["once"])):
        at = kept.core["position"]
        kept.core["position"] += 1
        assert kept.again().because == f"position: `r0` fires at {at}, not at {at + 1}"


def test_a_code_that_was_changed_in_the_evidence_or_the_archive_is_named_with_its_place() -> None:
    for kept in some(program_of(SHAPES["average"])):
        assert kept.body is not None
        assert kept.archived is not None
        row = kept.core["position"] - kept.body.first
        changed = kept.body.codes.copy()
        changed[row, 0] += 1
        whole, kept.body = kept.body, replace(kept.body, codes=changed)
        found = kept.again()
        assert found.status == "differs"
        assert f"the code of `f0` at {kept.core['position']} is {changed[row, 0]}," in found.because
        kept.archived = None
        assert "value_sum: stored" in kept.again().because
        kept.body = whole
    for kept in some(program_of(SHAPES["average"])):
        assert kept.archived is not None
        kept.body = None
        rows = np.concatenate([np.arange(s, s + n) for s, n, _ in kept.archived.runs.tolist()])
        at = int(np.flatnonzero(rows == kept.core["position"])[0])
        kept.archived.codes[at, 0] -= 1
        assert kept.again().status == "differs"


def test_a_code_that_would_have_let_the_rule_fire_sooner_is_noticed_in_the_window_alone() -> None:
    seen = 0
    for kept in some(program_of(SHAPES["once"]), 20, gaps=False):
        begins = kept.core["end"] - kept.core["tokens_scored"] - kept.core["tokens_unscored"]
        kept.archived = None
        assert kept.body is not None
        if begins == kept.core["position"]:
            continue
        codes = kept.body.codes.copy()
        codes[begins - kept.body.first, 0] = 99
        kept.body = replace(kept.body, codes=codes)
        assert kept.again().because == (
            f"position: `r0` fires at {begins} already, not at {kept.core['position']}"
        )
        seen += 1
    assert seen


def test_another_program_is_another_decision() -> None:
    program = program_of(SHAPES["once"])
    other = program_of(replace(SHAPES["once"], threshold=4))
    for kept in some(program):
        kept.program = other
        assert "program_sha256: stored is" in kept.again().because
        kept.under(other)
        assert kept.again().status == "differs"
    for kept in some(program):
        assert kept.archived is not None
        kept.archived = replace(kept.archived, program=other.digest)
        assert kept.again().because.endswith(f"it is `{other.digest}` by the archive")


def test_what_was_erased_or_pruned_is_said_and_not_guessed() -> None:
    for kept in some(program_of(SHAPES["average"])):
        body, kept.body = kept.body, None
        erased = kept.again()
        assert (erased.status, erased.by) == ("same", BY_REQUEST)
        assert "summary" not in erased.compared
        kept.archived = None
        assert kept.again().because == (
            "the score archive does not have the request; and its evidence is not there"
        )
        gone = reproduce(kept.core, None, kept.program, None)
        assert (gone.status, gone.because[:26]) == ("cannot", "there is no score archive;")
        kept.body = body
        assert kept.again().by == BY_WINDOW


def test_a_request_of_which_the_archive_lost_tokens_accuses_nobody() -> None:
    for kept in some(program_of(SHAPES["average"])):
        assert kept.archived is not None
        first = kept.archived.runs[:1].copy()
        first[:, 1] = 1
        kept.archived = replace(
            kept.archived, whole=False, codes=kept.archived.codes[:1], runs=first
        )
        found = kept.again()
        assert (found.status, found.by) == ("same", BY_WINDOW)
        kept.body = None
        lost = kept.again()
        assert lost.status == "cannot"
        assert "the archive lost tokens of this request" in lost.because


def test_rules_of_several_conditions_need_the_whole_request() -> None:
    of = [Atom(0, Scope.ANSWER, 1, "once", 1, 4), Atom(1, Scope.ANSWER, 1, "once", 1, 4)]
    clauses = tuple(Clause((literal(i),)) for i in range(2))
    for kept in some(program_with(of, [Logic(clauses), Logic(clauses, "sequence")])):
        assert kept.core["also"]
        assert kept.again().status == "same"
        kept.core["also"][0]["value_sum"] += 1
        assert "also[0].value_sum: stored is" in kept.again().because
        kept.core["also"][0]["value_sum"] -= 1
        kept.archived = None
        found = kept.again()
        assert found.status == "cannot"
        assert "the rule has several conditions" in found.because


def test_a_score_that_is_computed_is_computed_again() -> None:
    score = parse("f0 + f1")
    atom = replace(SHAPES["average"], column=3)
    plain = program_of(SHAPES["once"])
    program = replace(plain, atoms=(atom,), computed=(score,))
    for kept in some(program):
        assert kept.again().by == BY_REQUEST
        kept.archived = None
        assert (kept.again().status, kept.again().by) == ("same", BY_WINDOW)
        assert kept.body is not None
        kept.body = replace(kept.body, columns=("f0",), codes=kept.body.codes[:, :1])
        assert "the evidence has no codes of `f1`" in kept.again().because


def test_whom_a_rule_is_for_is_asked_again() -> None:
    plain = program_of(SHAPES["once"])
    mine = Whose.of({"tenant": ["city-post"], "user": ["user-7"]})
    exempt = Exemption(Whose.of({"tenant": ["city-post"]}), "known", "somebody", date(2027, 1, 1))
    for policy, decision, status in [
        (Policy(only=mine), "notified", "same"),
        (Policy(only=Whose.of({"tenant": ["another"]})), "notified", "differs"),
        (Policy(unless=(exempt,)), "exempt", "same"),
        (Policy(unless=(exempt,)), "notified", "differs"),
        (Policy(), "exempt", "differs"),
    ]:
        program = replace(plain, rules=(replace(plain.rules[0], policy=policy),))
        for kept in some(plain):
            kept.under(program)
            kept.core["decision"] = decision
            for archived in (kept.archived, None):
                kept.archived = archived
                assert kept.again().status == status


def test_a_rule_for_one_user_needs_the_label_that_was_erased() -> None:
    plain = program_of(SHAPES["once"])
    policy = Policy(only=Whose.of({"user": ["user-7"]}))
    program = replace(plain, rules=(replace(plain.rules[0], policy=policy),))
    for kept in some(plain):
        kept.under(program)
        kept.body = None
        found = kept.again()
        assert found.status == "cannot"
        assert "`user`, which the rule asks for, was erased" in found.because


def test_a_leaf_with_its_terms_is_the_record_again() -> None:
    of = [Atom(0, Scope.ANSWER, 1, "once", 1, 4), Atom(1, Scope.ANSWER, 1, "once", 1, 4)]
    logic = Logic(tuple(Clause((literal(i),)) for i in range(2)))
    for kept in some(program_with(of, [logic])):
        core = kept.core
        constant = ("rule", "feature", "level", "scope", "shape", "threshold_code", "model")
        terms: dict[str, Any] = {name: core[name] for name in constant}
        terms["also"] = [{n: v for n, v in a.items() if n not in MEASURED} for a in core["also"]]
        leaf = {n: v for n, v in core.items() if n not in (*constant, "event_id", "also")}
        leaf |= {
            "id": core["event_id"],
            "also": [{n: a[n] for n in MEASURED} for a in core["also"]],
        }
        assert claim_of(leaf, terms) == core | {"id": core["event_id"]}
        kept.core = claim_of(leaf, terms)
        assert kept.again().status == "same"


class Store:
    """A store of one alert."""

    def __init__(self, kept: Kept, blobs: dict[str, bytes]) -> None:
        self.kept, self.blobs = kept, blobs

    def record(self, event_id: str) -> None:
        raise AssertionError(event_id)

    def hits_of(self, rule: str, from_ns: int, to_ns: int) -> None:
        raise AssertionError(rule)

    def body(self, core: object) -> Any:
        return self.kept.body

    def blob(self, sha256: str) -> bytes | None:
        return self.blobs.get(sha256)


def test_the_program_is_the_one_that_the_record_names_or_nothing_is_said() -> None:
    kept = some(program_of(SHAPES["once"]))[0]
    sha = kept.core["program_sha256"]
    good = Reproducer(Store(kept, kept.program.blobs()), kept)  # type: ignore[arg-type]
    assert good(kept.core).status == "same"
    none = Reproducer(Store(kept, {}), kept)  # type: ignore[arg-type]
    assert none(kept.core).because == f"the program {sha[:12]} is not kept"
    other = Reproducer(Store(kept, {sha: b"{}"}), kept)  # type: ignore[arg-type]
    assert other(kept.core).because == f"what is stored as the program {sha[:12]} is another one"
    assert good({"kind": "shift"}).because == "of `shift` the input is not kept"
    for name in kept.core:
        core = {n: v for n, v in kept.core.items() if n != name}
        assert good(core).status in ("same", "cannot"), name
        for value in (None, 7, "x" * 40, [], 1 << 70):
            assert good(core | {name: value}).status in ("same", "differs", "cannot"), name


def test_an_archive_that_cannot_be_read_is_named() -> None:
    kept = some(program_of(SHAPES["once"]))[0]
    kept.body = None

    class Broken:
        def find(self, *_: object) -> None:
            raise NotAPart(Path("part-1"), "no Parquet file")

    found = reproduce(kept.core, None, kept.program, Broken())  # type: ignore[arg-type]
    assert found.status == "cannot"
    assert found.because.startswith("part-1: no Parquet file; move it")


def test_labels_of_the_archive_stand_before_those_that_may_have_been_cut() -> None:
    plain = program_of(SHAPES["once"])
    long = "t" * 300
    policy = Policy(only=Whose.of({"tenant": [long]}))
    program = replace(plain, rules=(replace(plain.rules[0], policy=policy),))
    for kept in some(program_of(SHAPES["once"])):
        assert kept.archived is not None
        kept.under(program)
        kept.archived = replace(kept.archived, vouched={"tenant": long})
        assert kept.again().status == "same"
        kept.archived = replace(kept.archived, vouched=dict(LABELS))
        assert "does not fire" in kept.again().because


def test_a_rule_that_fires_again_after_it_was_calm_comes_out_each_time() -> None:
    of = [Atom(0, Scope.ANSWER, 1, "once", 1, 5), Atom(0, Scope.ANSWER, -1, "for", 2, 6)]
    found = some(program_with(of, [one(0, clear=1)]), 30)
    keys = [(kept.core["key"], kept.core["epoch"]) for kept in found]
    assert len(set(keys)) < len(keys)
    for kept in found:
        assert kept.again().status == "same"
        kept.archived = None
        assert kept.again().status == "same"
