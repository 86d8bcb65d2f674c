"""Whatever leaves a server is on record, whoever asked: the tap says so in its greeting, and the line takes note."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dosimeter.monitor.audit.store.entries import from_record
from dosimeter.monitor.capture.notes import CaptureNotes
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.records import Hello
from dosimeter.monitor.taps.wire import WireError
from dosimeter.rules.canonical import canonical

BEGAN = {
    "id": "ab" * 16, "state": "began", "reason": "INC-441: refit", "by_uid": 1000, "since_ns": 5 * 10**9,
    "until_ns": 65 * 10**9, "layers": [1, 4], "sample_ppm": 10_000, "max_bytes": 10**9, "max_requests": 100,
    "for_s": 60, "out": "/srv/captured",
}  # fmt: skip
ENDED = BEGAN | {
    "state": "ended", "ended_ns": 70 * 10**9, "why": "its time is up", "requests": 3, "rows": 40, "bytes": 1280,
    "lost": {"slow_reader": 1},
}  # fmt: skip


def hello(capture: dict[str, Any] | None, role: str = "tap+front") -> Hello:
    return Hello.parse({"role": role, "state": "live", "capture": capture})


def cores(records: list[LedgerRecord]) -> list[dict[str, Any]]:
    assert not any(record.deliverable for record in records)
    return [json.loads(record.core) for record in records]


def test_beginning_and_end_are_a_record_each_and_said_once() -> None:
    notes = CaptureNotes("led")
    (began,) = cores(notes.heard("ff", hello(BEGAN)))
    assert (began["kind"], began["state"], began["time_ns"]) == ("capture", "began", 5 * 10**9)
    assert (began["reason"], began["by_uid"], began["out"]) == (
        "INC-441: refit",
        1000,
        "/srv/captured",
    )
    assert notes.heard("ff", hello(BEGAN)) == []
    (ended,) = cores(notes.heard("ff", hello(ENDED)))
    assert (ended["state"], ended["why"], ended["time_ns"]) == (
        "ended",
        "its time is up",
        70 * 10**9,
    )
    assert (ended["requests"], ended["rows"], ended["lost"]) == (3, 40, {"slow_reader": 1})
    assert notes.heard("ff", hello(ENDED)) == []


def test_an_end_that_is_heard_alone_brings_its_beginning() -> None:
    """The sidecar was away while it ran."""
    found = cores(CaptureNotes("led").heard("ff", hello(ENDED)))
    assert [one["state"] for one in found] == ["began", "ended"]


def test_a_line_that_begins_anew_says_the_same_of_it() -> None:
    """So that the ledger keeps one of each."""
    notes = CaptureNotes("led")
    before = [
        record.event_id
        for record in notes.heard("ff", hello(BEGAN)) + notes.heard("ff", hello(ENDED))
    ]
    assert [record.event_id for record in CaptureNotes("led").heard("ff", hello(ENDED))] == before
    assert CaptureNotes("other").heard("ff", hello(BEGAN))[0].event_id not in before


def test_of_a_server_that_went_away_the_end_is_put_on_record_once() -> None:
    """2026-11-30: one that was killed in a capture left a beginning without an end for ever."""
    notes = CaptureNotes("led")
    notes.heard("ff", hello(BEGAN))
    assert notes.look({"ff"}, 0, 80 * 10**9, 10) == []
    assert notes.look({"ee"}, 9, 80 * 10**9, 10) == []  # we have not been here for long
    (ended,) = cores(notes.look({"ee"}, 10, 81 * 10**9, 10))
    assert (ended["state"], ended["why"]) == ("ended", "its server went away")
    assert (ended["capture"], ended["epoch"], ended["time_ns"]) == ("ab" * 16, "ff", 81 * 10**9)
    assert not {"rows", "requests", "bytes", "lost"} & ended.keys()  # 0 would be a lie
    assert notes.look({"ee"}, 99, 82 * 10**9, 10) == []


def test_an_end_that_the_tap_has_said_is_not_said_again_and_one_that_comes_late_is_heard() -> None:
    notes = CaptureNotes("led")
    notes.heard("ff", hello(BEGAN))
    notes.heard("ff", hello(ENDED))
    assert notes.look(set(), 0, 80 * 10**9, 0) == []
    notes = CaptureNotes("led")
    notes.heard("ff", hello(BEGAN))
    notes.look(set(), 0, 80 * 10**9, 0)
    (ended,) = cores(notes.heard("ff", hello(ENDED)))  # its server was cut off, and is back
    assert (ended["why"], ended["rows"]) == ("its time is up", 40)


def test_a_line_that_begins_anew_ends_what_nobody_came_back_for() -> None:
    """Server and sidecar went together: the ledger knows what had begun."""
    before = CaptureNotes("led")
    other = BEGAN | {"id": "cd" * 16}
    kept = [
        *before.heard("ff", hello(BEGAN)),
        *before.heard("ff", hello(ENDED)),
        *before.heard("ee", hello(other)),
    ]
    kept += [*before.heard("dd", hello(BEGAN))]
    notes = CaptureNotes("led", [record.core for record in kept])
    found = cores(notes.look({"dd"}, 0, 80 * 10**9, 0))
    assert [(one["epoch"], one["capture"]) for one in found] == [("ee", "cd" * 16)]
    assert from_record(canonical(found[0]), "0" * 32, 1).entry.kind == "capture"


def test_a_front_and_a_tap_without_one_say_nothing() -> None:
    assert CaptureNotes().heard("ff", hello(None)) == []
    assert CaptureNotes().heard("ff", hello(BEGAN, role="front")) == []


def test_history_takes_it_with_everything_an_auditor_asks_for() -> None:
    for record in CaptureNotes("led").heard("ff", hello(ENDED)):
        taken = from_record(record.core, "0" * 32, 1)
        assert taken.entry.kind == "capture"
        assert "unread" not in taken.entry.fields  # nothing of it is left to the evidence
        assert {
            "reason",
            "by_uid",
            "layers",
            "sample_ppm",
            "max_bytes",
            "epoch",
            "out",
        } <= taken.entry.fields.keys()
        assert not taken.labels


def test_what_a_speaker_says_of_it_is_harmless_on_a_terminal() -> None:
    (one,) = cores(
        CaptureNotes().heard("ff", hello(BEGAN | {"reason": "a\x1b[2Jb", "out": "\x07"}))
    )
    assert "\x1b" not in one["reason"] + one["summary"]
    assert "\x07" not in one["out"]


@pytest.mark.parametrize(
    "wrong", [{"by_uid": -1}, {"state": "paused"}, {"layers": ["x"]}, {"rows": "many"}, {"reason": 7}, {"lost": []}]
)  # fmt: skip
def test_what_makes_no_sense_costs_the_speaker_its_connection(wrong: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        hello(ENDED | wrong)
