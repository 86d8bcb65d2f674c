"""The kit's own arithmetic, on requests made by hand: the code of position p of sequence s is 1000 s + 10 p.

Figures here are what operators are told of their server; each is worked out beside the case that makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dosimeter.detectors.frames import CODE_UNSCORED, ROW_REUSED
from dosimeter.monitor.conformance.asked import Asked
from dosimeter.monitor.conformance.compare import compare
from dosimeter.monitor.conformance.ear import Sequence as Told
from dosimeter.monitor.conformance.findings import Findings
from dosimeter.monitor.coverage import Account


class ByHand:
    """A reference that tells a sequence by its first token, and no two rows alike."""

    def codes(self, ids: Sequence[int]) -> np.ndarray:
        rows = 1000 * ids[0] + 10 * np.arange(len(ids))
        return np.stack([rows, -rows], axis=1).astype(np.int16)

    def off(self, found: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        apart = np.abs(found.astype(int) - expected.astype(int)).max(axis=1)
        return apart, apart > 1


def rows(sequence: int, start: int, n: int) -> np.ndarray:
    return ByHand().codes([sequence] * (start + n))[start:]


def told(key: int, parts: list[tuple[int, np.ndarray, int]], **closed: Any) -> Told:
    """A request of 3 prompt tokens and 3 generated ones: 5 are served."""
    end = {"served": 5, "emitted": 5, "cached": 0, "errors": {}, "outcome": "finished", **closed}
    opened = {"labels": {"conversation": f"call-{key}"}, "prompt_len": 3}
    return Told(key, opened, end, parts)


def asked(key: int, **changes: Any) -> Asked:
    return Asked(f"call-{key}", (key, 0, 0), **{"answer": (0, 0, 0), **changes})


def found(mine: list[Asked], theirs: list[Told], **account: Any) -> Findings:
    return compare(mine, theirs, Account(**account), ByHand(), lambda one, other: None)  # type: ignore[arg-type]


def faults(findings: Findings) -> dict[str, int]:
    return findings.faults(repeats=False, scored=True)


def test_rows_that_are_their_own_in_any_chunks_conform() -> None:
    parts = [(0, rows(1, 0, 3), 0), (3, rows(1, 3, 1) + 1, 0), (4, rows(1, 4, 1), 0)]
    findings = found([asked(1)], [told(1, parts)], served=5, scored=5)
    assert (findings.compared, findings.worst, findings.served) == (5, 1, 5)
    assert faults(findings) == {}


def test_a_row_of_another_request_is_named_as_such() -> None:
    one = told(1, [(0, rows(1, 0, 4), 0), (4, rows(2, 4, 1), 0)])
    other = told(2, [(0, rows(2, 0, 5), 0)])
    findings = found([asked(1), asked(2)], [one, other])
    assert faults(findings) == {"differ": 1, "misattributed": 1}
    assert findings.examples == ["`call-1` key 1 position 4: is `call-2` key 2 position 4"]


def test_a_row_that_is_nobodys_is_wrong_and_not_misattributed() -> None:
    parts = [(0, rows(1, 0, 4), 0), (4, rows(7, 4, 1), 0)]
    findings = found([asked(1)], [told(1, parts)])
    assert faults(findings) == {"differ": 1}
    assert findings.worst == 6000


def test_a_gap_needs_a_reason_and_the_reason_must_be_none_of_the_taps_own() -> None:
    part = [(0, rows(1, 0, 4), 0)]
    silent = found([asked(1)], [told(1, part, emitted=4)])
    assert faults(silent) == {"missing": 1}
    named = found([asked(1)], [told(1, part, emitted=4, errors={"not_finite": 1})])
    assert faults(named) == {}
    own = found([asked(1)], [told(1, part, emitted=4, errors={"tap_error": 1})])
    assert faults(own) == {"failed": 1}
    cached = [(2, rows(1, 2, 3), 0)]
    assert faults(found([asked(1)], [told(1, cached, emitted=3, cached=2)])) == {}


def test_rows_that_came_twice_are_counted_and_compared_both_times() -> None:
    parts = [(0, rows(1, 0, 5), 0), (2, rows(1, 2, 2), 0)]
    findings = found([asked(1)], [told(1, parts)])
    assert (findings.twice, findings.compared) == (2, 7)
    assert faults(findings) == {"twice": 2}
    assert findings.faults(repeats=True, scored=True) == {}
    wrong = [(0, rows(1, 0, 5), 0), (2, rows(1, 3, 2), 0)]  # the second time one position off
    assert found([asked(1)], [told(1, wrong)]).differ == 2


def test_three_counts_of_one_request_must_agree() -> None:
    parts = [(0, rows(1, 0, 5), 0)]
    over = found([asked(1, usage=(3, 2))], [told(1, parts)])  # the reply counted 4
    assert faults(over) == {"counts_differ": 1}
    more = found([asked(1)], [told(1, parts, emitted=10)])  # the tap counts every row twice
    assert faults(more) == {"counts_differ": 1}
    stated = found(
        [asked(1)], [told(1, parts, errors={"dropped": 1})]
    )  # a reason for what is there
    assert faults(stated) == {"counted_over": 1}


def test_one_row_may_be_run_ahead_of_the_end_and_no_more() -> None:
    """An asynchronous server starts the next step before it knows that the answer is over."""
    ahead = found([asked(1)], [told(1, [(0, rows(1, 0, 6), 0)], emitted=6)])
    assert faults(ahead) == {}
    beyond = found([asked(1)], [told(1, [(0, rows(1, 0, 7), 0)], emitted=7)])
    assert faults(beyond) == {"counts_differ": 1}


def test_a_request_that_nobody_made_or_that_never_ended_is_a_stray() -> None:
    parts = [(0, rows(1, 0, 5), 0)]
    assert faults(found([asked(1)], [told(1, parts), told(9, [])])) == {"strays": 1}
    assert faults(found([asked(1), asked(2)], [told(1, parts)])) == {"strays": 1}
    endless = told(1, parts)
    endless.closed = None
    assert faults(found([asked(1)], [endless])) == {"strays": 1, "nothing_compared": 1}


def test_a_call_given_up_before_the_server_began_it_is_no_stray() -> None:
    findings = found([asked(1, ended=False, answer=None)], [])
    assert (findings.never_begun, findings.strays) == (1, 0)


def test_answers_of_one_call_are_told_apart_by_what_they_are() -> None:
    mine = [
        Asked("call-1", (1, 0, 0), (0, 0, 0), place=None),
        Asked("call-1", (2, 0, 0), (0, 0, 0), place=None),
    ]
    theirs = [told(1, [(0, rows(2, 0, 5), 0)]), told(2, [(0, rows(1, 0, 5), 0)])]
    for one in theirs:
        assert one.opened is not None
        one.opened["labels"] = {"conversation": "call-1"}
    assert faults(found(mine, theirs)) == {}


def test_a_refused_mode_must_be_counted_to_the_last_token_and_score_nothing() -> None:
    one = asked(1, scored=False)
    right = told(1, [], emitted=0, errors={"unsupported": 5})
    findings = found([one], [right])
    assert findings.faults(repeats=False, scored=False) == {}
    assert findings.faults(repeats=False, scored=True) == {"nothing_compared": 1}
    scored = told(1, [(0, rows(1, 0, 1), 0)], emitted=1, errors={"unsupported": 4})
    assert found([one], [scored]).failed == 1


def test_a_token_without_a_score_is_not_compared_and_a_reused_one_is() -> None:
    codes = rows(1, 0, 5)
    codes[1] = CODE_UNSCORED
    findings = found([asked(1)], [told(1, [(0, codes, ROW_REUSED)])])
    assert (findings.compared, findings.reused) == (4, 5)
    assert faults(findings) == {}


def test_what_the_line_left_unaccounted_fails_whatever_its_sign() -> None:
    parts = [(0, rows(1, 0, 5), 0)]
    for served in (4, 6):
        findings = found([asked(1)], [told(1, parts)], served=served, scored=5)
        assert faults(findings) == {"unaccounted": 1}


def test_rounds_add_up_and_the_largest_difference_is_the_largest() -> None:
    total = Findings()
    total.add(Findings(requests=2, worst=1, unscored={"dropped": 3}, examples=["a"]))
    total.add(Findings(requests=1, worst=0, unscored={"dropped": 1}, unaccounted=2))
    assert (total.requests, total.worst, total.unaccounted) == (3, 1, 2)
    assert (total.unscored, total.examples) == ({"dropped": 4}, ["a"])
