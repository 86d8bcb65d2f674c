"""Front and tap in processes of their own: the reply's count is held against the tap's, in any order."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from dosimeter.detectors.frames import ROWS, StepFrame
from dosimeter.monitor.calls import MAX_REQUESTS
from dosimeter.monitor.join import Join
from dosimeter.monitor.records import Close, Open, Usage
from dosimeter.monitor.taps.wire import COUNTERS, WireError

PROMPT = 4


class Line:
    """A join that is told of requests of one call; key k ran PROMPT + answers[k] - 1 rows."""

    def __init__(self, answers: dict[int, int]) -> None:
        self.join = Join(1, None)
        self.answers = answers
        for key in answers:
            self.open(key)

    def open(self, key: int) -> None:
        self.join.open(Open.parse({"key": key, "prompt_len": PROMPT, "call": "c"}), "tap")

    def rows(self) -> None:
        for key in self.answers:
            self.row(key)

    def row(self, key: int) -> None:
        n = self.ran(key)
        table = np.array([(key, 0, n, 0, 1)], ROWS)
        self.join.step(StepFrame(table, np.zeros((n, 1), np.int16), 1, 1))

    def ran(self, key: int) -> int:
        return PROMPT + self.answers[key] - 1

    def close(self, key: int) -> None:
        n = self.ran(key)
        body = {"key": key, "outcome": "finished", "served": n, "emitted": n}
        self.join.close(Close.parse(body))

    def usage(self, completion: int, prompt: int = PROMPT) -> None:
        body = {"call": "c", "prompt_tokens": prompt, "completion_tokens": completion}
        body["requests"] = len(self.answers)
        self.join.usage(Usage.parse(body))

    def reconcile(self) -> None:
        zero = dict.fromkeys(COUNTERS.names or (), 0)
        served = sum(self.ran(key) for key in self.answers)
        counters = zero | {"served_closed": served, "requests_closed": len(self.answers)}
        self.join.counters("tap", counters)


@pytest.mark.parametrize("order", list(permutations([1, 2, "usage"])))
def test_either_half_may_come_first(order: tuple[object, ...]) -> None:
    line = Line({1: 3, 2: 5})
    line.rows()
    for what in order:
        line.usage(3 + 5) if what == "usage" else line.close(what)
    line.reconcile()
    account = line.join.account
    assert account.as_dict()["served_by"] == {"usage": 14}
    assert (account.served, account.scored, account.unaccounted) == (14, 14, 0)
    assert (account.requests, line.join.excess) == (2, 0)


def test_tokens_that_the_reply_counts_and_the_tap_never_saw_are_unaccounted() -> None:
    """The tap's own count would have called this complete: that is why the reply's is asked."""
    line = Line({1: 3})
    line.rows()
    line.close(1)
    assert line.join.account.unaccounted == 0
    line.usage(completion=9)
    line.reconcile()
    assert (line.join.account.served, line.join.account.unaccounted) == (12, 6)
    line.reconcile()
    assert line.join.account.served == 12


def test_rows_beyond_what_the_reply_counts_are_after_the_end() -> None:
    """A stop string is found behind the engine: it has run more than it served."""
    line = Line({1: 6})
    line.rows()
    line.close(1)
    line.usage(completion=4)
    line.reconcile()
    account = line.join.account
    assert (account.served, account.scored, account.after_end) == (7, 7, 2)
    assert (account.unaccounted, line.join.excess) == (0, 0)


def test_without_the_other_half_the_taps_count_stands() -> None:
    line = Line({1: 3})
    line.rows()
    line.close(1)
    line.reconcile()
    assert line.join.account.as_dict()["served_by"] == {"tap": 6}
    line.join.usage(Usage("of another call", 100, 100))
    assert line.join.account.served == 6


def test_a_reply_that_was_cut_off_has_no_count_and_the_taps_stands() -> None:
    """A front says so of every client that hangs up: refusing it once cost the front its connection."""
    line = Line({1: 3})
    line.rows()
    line.join.usage(Usage.parse({"call": "c", "outcome": "cancelled"}))
    line.close(1)
    line.reconcile()
    assert line.join.account.as_dict()["served_by"] == {"tap": 6}
    assert line.join.account.unaccounted == 0
    with pytest.raises(WireError, match="completion_tokens"):
        Usage.parse({"call": "c", "prompt_tokens": 4})


def test_a_call_of_several_prompts_counts_each_of_them_once() -> None:
    """Two prompts, one answer each: a sum taken for one prompt of two answers once counted both twice."""
    line = Line({1: 3, 2: 5})
    line.rows()
    line.close(1)
    line.close(2)
    line.join.usage(Usage("c", 2 * PROMPT, 8, prompts=2, requests=2))
    line.reconcile()
    account = line.join.account
    assert (account.served, account.scored, account.unaccounted) == (14, 14, 0)


def test_a_sum_waits_for_requests_that_have_not_even_begun() -> None:
    """The two halves come on two connections: a sum held against the first of two answers counted the second twice."""
    line = Line({})
    line.answers = {1: 3, 2: 5}
    for key in line.answers:
        if key == 2:
            line.usage(3 + 5)
        line.open(key)
        line.row(key)
        line.close(key)
    line.reconcile()
    account = line.join.account
    assert (account.served, account.scored, account.unaccounted) == (14, 14, 0)
    assert account.as_dict()["served_by"] == {"usage": 14}


def test_a_sum_for_requests_that_ended_before_this_process_says_nothing() -> None:
    """A sidecar that restarts amid a call knows one of its two answers, and the reply counts both."""
    line = Line({2: 5})
    line.rows()
    line.close(2)
    line.join.usage(Usage("c", PROMPT, 3 + 5, requests=2))
    account = line.join.account
    assert (account.served, account.unaccounted) == (8, 0)
    assert account.as_dict()["served_by"] == {"tap": 8}


def test_a_call_of_more_requests_than_wait_keeps_the_taps_count() -> None:
    """What was left of such a call, after it had given way, was once charged with all of its answers."""
    answers = dict.fromkeys(range(1, MAX_REQUESTS + 45), 3)
    line = Line(answers)
    line.rows()
    for key in answers:
        line.close(key)
    line.usage(3 * len(answers))
    line.reconcile()
    account = line.join.account
    assert (account.served, account.unaccounted) == (6 * len(answers), 0)
    assert account.as_dict()["served_by"] == {"tap": 6 * len(answers)}
