"""The life of a request: one program each, one hit a rule, and no state left behind."""

from __future__ import annotations

import numpy as np
import pytest
from rule_streams import column, frame, program_of

from dosimeter.detectors.frames import SEGMENTS, Scope, ScoreFrame
from dosimeter.rules.atoms import Atom
from dosimeter.rules.engine import AlreadyOpenError, Engine
from dosimeter.rules.native import NativeKernel
from dosimeter.rules.program import Program

A = Scope.ANSWER


def above(threshold: int, shape: str = "once", n: int = 1) -> Atom:
    return Atom(0, A, 1, shape, n, threshold)


def program(*atoms: Atom) -> Program:
    return program_of(*atoms, columns=1)


def test_a_rule_fires_once_in_a_request_however_long_its_condition_holds() -> None:
    engine = Engine(program(above(5)))
    engine.open(1, {})
    fired = [engine.step(frame((1, p, A, column(9 if p % 3 else 0)))) for p in range(30)]
    assert [len(h) for h in fired] == [0, 1] + [0] * 28
    engine.open(2, {})
    assert len(engine.step(frame((2, 0, A, column(9))))) == 1


def test_a_hit_says_what_was_decided_and_why() -> None:
    engine = Engine(program(above(5)))
    engine.open(77, {"tenant": "acme"}, frozenset({"tenant"}))
    (hit,) = engine.step(frame((77, 4, A, column(3, 9))))
    assert (hit.rule, hit.key, hit.decided.literal.feature) == ("r0", 77, "deception")
    assert hit.decided.atom == above(5)
    assert (hit.start, hit.decided.end, hit.position) == (5, 6, 5)
    assert (hit.decided.value_sum, hit.decided.value_n) == (9, 1)
    assert (hit.decided.tokens_scored, hit.decided.tokens_unscored) == (2, 4)
    assert hit.program == engine.program.digest
    assert hit.compiled is engine.program.rules[0]


@pytest.mark.parametrize("finished", [True, False])
def test_what_waits_for_the_end_is_decided_also_when_the_client_leaves(finished: bool) -> None:
    """A cancel would otherwise be the way to keep an answer from ever being judged."""
    engine = Engine(program(above(5, "average_scope")))
    engine.open(1, {})
    engine.step(frame((1, 0, A, column(7, 7))))
    (hit,) = engine.close(1, finished=finished)
    assert (hit.decided.value_sum, hit.decided.value_n) == (14, 2)


def test_an_open_request_keeps_the_program_it_started_with() -> None:
    old, new = program(above(5)), program(above(50))
    engine = Engine(old)
    engine.open(1, {})
    engine.step(frame((1, 0, A, column(0))))
    engine.swap(new)
    engine.open(2, {})
    assert set(engine.programs) == {old.digest, new.digest}
    hits = engine.step(frame((1, 1, A, column(9)), (2, 0, A, column(9))))
    assert [(h.key, h.program) for h in hits] == [(1, old.digest)]
    hits = engine.step(frame((2, 1, A, column(60)), (1, 2, A, column(60))))
    assert [(h.key, h.program) for h in hits] == [(2, new.digest)]
    engine.close(1, finished=True)
    assert set(engine.programs) == {new.digest}


def test_runs_continue_through_a_swap() -> None:
    engine = Engine(program(above(5, "for", 4)))
    engine.open(1, {})
    engine.step(frame((1, 0, A, column(9, 9))))
    engine.swap(program(above(50)))
    (hit,) = engine.step(frame((1, 2, A, column(9, 9))))
    assert (hit.start, hit.decided.end) == (0, 4)


def test_state_is_freed_at_close_and_reused_clean() -> None:
    """3 000 requests through a few slots: no growth, and nothing of one in the next."""
    engine = Engine(program(above(5, "for", 3), above(5, "average", 3), above(5, "average_scope")))
    kernel = engine._runs[-1].kernel
    for key in range(3_000):
        engine.open(key, {})
        assert engine.step(frame((key, 0, A, column(9, 9)))) == []
        assert [h.rule for h in engine.close(key, finished=bool(key % 2))] == ["r2"]
    assert (engine.open_requests, kernel.open_slots) == (0, 0)
    if isinstance(kernel, NativeKernel):  # the plain one holds nothing for slots that are free
        assert kernel._slots == 64
    assert not engine._requests
    assert not engine._runs[-1].slots
    assert not engine._runs[-1].keys


def test_a_thousand_reloads_leave_one_program_behind() -> None:
    engine = Engine(program(above(0)))
    engine.open(0, {})
    for i in range(1, 1000):
        engine.swap(program(above(i)))
        if i % 100 == 0:
            engine.open(i, {})
    assert len(engine.programs) == 11  # the first, nine with a request, the current one
    for i in range(0, 1000, 100):
        engine.close(i, finished=True)
    assert list(engine.programs) == [engine.program.digest]


def test_slots_grow_with_the_requests_that_are_open_and_keep_their_state() -> None:
    engine = Engine(program(above(5, "for", 2)))
    for key in range(1000):
        engine.open(key, {})
        engine.step(frame((key, 0, A, column(9))))
    hits = engine.step(frame(*[(key, 1, A, column(9)) for key in range(1000)]))
    assert [h.key for h in hits] == list(range(1000))
    assert engine._runs[-1].kernel.open_slots == 1000
    for key in range(1000):
        engine.close(key, finished=True)
    assert engine._runs[-1].kernel.open_slots == 0


def test_rows_of_a_key_that_is_not_open_are_counted_and_not_evaluated() -> None:
    engine = Engine(program(above(5)))
    engine.open(1, {})
    hits = engine.step(frame((9, 0, A, column(9, 9, 9)), (1, 0, A, column(9))))
    assert [h.key for h in hits] == [1]
    assert engine.rows_unknown == 3
    assert engine.close(9, finished=True) == []


def test_a_key_that_is_open_cannot_be_opened_again() -> None:
    engine = Engine(program(above(5)))
    engine.open(1, {})
    with pytest.raises(AlreadyOpenError, match="key 1 is open"):
        engine.open(1, {})


def test_keys_are_64_bits_wide() -> None:
    engine = Engine(program(above(5)))
    key = 2**64 - 1
    engine.open(key, {})
    (hit,) = engine.step(frame((key, 0, A, column(9))))
    assert hit.key == key


def test_labels_are_kept_while_the_request_is_open() -> None:
    engine = Engine(program(above(5)))
    engine.open(1, {"tenant": "acme"}, frozenset({"tenant"}))
    request = engine.request(1)
    assert request is not None
    assert (dict(request.labels), request.trusted) == ({"tenant": "acme"}, {"tenant"})
    engine.close(1, finished=True)
    assert engine.request(1) is None


def test_a_frame_that_contradicts_itself_is_refused_and_changes_nothing() -> None:
    engine = Engine(program(above(5)))
    engine.open(1, {})
    short = ScoreFrame(np.array([(1, 0, 3, 3)], SEGMENTS), column(9, 9), 0, 0)
    wide = ScoreFrame(np.array([(1, 0, 1, 3)], SEGMENTS), np.full((1, 2), 9, np.int16), 0, 0)
    negative = ScoreFrame(np.array([(1, 0, -1, 3), (1, 0, 2, 3)], SEGMENTS), column(9), 0, 0)
    for wrong in (short, wide, negative):
        with pytest.raises(ValueError, match=r"segments of|columns"):
            engine.step(wrong)
    assert len(engine.step(frame((1, 0, A, column(9))))) == 1


def test_an_empty_frame_and_an_empty_program_decide_nothing() -> None:
    engine = Engine(program())
    engine.open(1, {})
    assert engine.step(frame((1, 0, A, column(9)))) == []
    empty = ScoreFrame(np.zeros(0, SEGMENTS), np.zeros((0, 1), np.int16), 0, 0)
    assert engine.step(empty) == []
    assert engine.close(1, finished=True) == []
