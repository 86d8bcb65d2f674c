"""What counts as the monitor having said something: new words, by place, and never what is no gap."""

from __future__ import annotations

from typing import Any

from dosimeter.monitor.chaos.voice import Look, Voice, voice
from tests.monitor.chaos.test_run import status


def tap(**changes: Any) -> dict[str, Any]:
    counts = ("late_rows", "rows_without_open", "counted_twice", "rows_not_evaluated", "errors")
    known = dict.fromkeys((*counts, "rows_dropped", "records_lost", "records_cut"), 0)
    coverage = {"unaccounted": 0}
    return (
        {
            "pid": 7,
            "state": "live",
            "reason": None,
            "last_error": None,
            "coverage": coverage,
        }
        | known
        | changes
    )


def said(**changes: Any) -> list[str]:
    return voice(Look("ok", status() | changes)).since(voice(Look("ok", status())))


def test_a_sidecar_that_is_well_says_nothing() -> None:
    assert said(taps=[tap()]) == []


def test_tokens_of_a_prefix_cache_are_no_gap() -> None:
    coverage = {"unscored": {"prefix_cache": 900}, "unaccounted": 0}
    assert said(coverage=coverage) == []


def test_every_other_reason_is() -> None:
    coverage = {"unscored": {"dropped": 12}, "unaccounted": 0}
    assert said(coverage=coverage) == ["coverage.unscored.dropped +12"]


def test_a_tap_that_is_not_live_is_named_with_its_reason() -> None:
    assert said(taps=[tap(state="blind", reason="five failed steps")]) == [
        "tap of pid 7: blind: five failed steps"
    ]


def test_unaccounted_tokens_of_two_servers_do_not_cancel_out() -> None:
    taps = [tap(coverage={"unaccounted": 3}), tap(pid=8, coverage={"unaccounted": -3})]
    assert said(taps=taps) == [
        "coverage.unaccounted of pid 7 +3",
        "coverage.unaccounted of pid 8 +3",
    ]


def test_no_answer_is_a_word_and_so_is_the_end_of_the_process() -> None:
    silent = voice(Look("no answer", None, exit_code=3, log=("ERROR it broke",)))
    assert silent.since(Voice()) == ["livez: no answer", "sidecar ended with 3", "ERROR it broke"]


def test_counts_of_a_restarted_line_begin_anew() -> None:
    before = Voice(counts={"socket.hostile": 5})
    assert Voice(counts={"socket.hostile": 1}).since(before) == ["socket.hostile +1"]
    assert Voice(counts={"socket.hostile": 0}).since(before) == []
