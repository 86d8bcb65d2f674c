"""Pauses and captures on the overview: from the records that sidecar and tap have made of them, by way of history."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dosimeter.monitor import pause_file
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.canary import FIRST_NS, Canary
from dosimeter.monitor.capture.notes import CaptureNotes
from dosimeter.monitor.feed.items import Alert, Batch
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.pages import shown_overview
from dosimeter.monitor.pausing import Pausing
from dosimeter.monitor.records import Hello
from tests.monitor.answers.answers_scene import ALL, NOW_NS, ONE, Answers, answers
from tests.monitor.audit.audit_scene import SOURCE
from tests.monitor.capture.test_notes import BEGAN, ENDED

MINUTE_NS = 60 * 10**9
BEGIN_NS = NOW_NS - 40 * MINUTE_NS
UID = os.getuid()
UNTIL_NS = BEGIN_NS + 60 * MINUTE_NS
OVER_NS = BEGIN_NS + 30 * MINUTE_NS


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Answers]:
    with answers(tmp_path / "data") as found:
        yield found


Arrives = Callable[[list[LedgerRecord]], None]


@pytest.fixture
def arrives(scene: Answers) -> Arrives:
    seqs = itertools.count(100)
    ingest = Ingest(scene.history.appender, NOW_NS)

    def take(records: list[LedgerRecord]) -> None:
        items = [Alert(SOURCE, next(seqs), r.event_id, r.core, None, True) for r in records]
        ingest.take(Batch(tuple(items), {"at": 2}), NOW_NS)

    return take


@pytest.fixture
def sidecar(tmp_path: Path) -> tuple[Pausing, SimpleNamespace]:
    """It pauses when told to, by a clock in hand."""
    at = SimpleNamespace(ns=BEGIN_NS)
    return Pausing(tmp_path, "led", monotonic_ns=lambda: at.ns, time_ns=lambda: at.ns), at


def test_a_pause_is_shown_with_who_why_and_until_when_and_then_with_what_it_cost(
    scene: Answers, arrives: Arrives, tmp_path: Path, sidecar: tuple[Pausing, SimpleNamespace]
) -> None:
    assert scene.source.overview(ALL, "UTC").pauses == ()
    pausing, at = sidecar
    until_ns = BEGIN_NS + 60 * MINUTE_NS
    pause_file.ask(tmp_path, "INC-441", BEGIN_NS, until_ns)
    arrives(pausing.look())
    (found,) = scene.source.overview(ALL, "UTC").pauses
    assert found == shown_overview.Interval(
        "pod-7", "warn", "INC-441", UID, BEGIN_NS, until_ns, 0,
        "paused now: what arrives is counted, and not looked at",
    )  # fmt: skip
    scene.now_ns = until_ns + MINUTE_NS
    (found,) = scene.source.overview(ALL, "UTC").pauses
    assert (found.state, found.ended_ns) == ("warn", 0)
    assert (
        found.said == "its time is up, and nothing says that it ended: is the sidecar still there?"
    )
    pausing.tokens, at.ns = 41_200, until_ns
    arrives(pausing.look())
    (found,) = scene.source.overview(ALL, "UTC").pauses
    assert (found.state, found.ended_ns) == ("ok", until_ns)
    assert found.said == "over: its time is up; 41,200 tokens were not looked at"


def test_who_sees_some_tenants_is_told_that_nobody_looked_and_not_who_and_why(
    scene: Answers, arrives: Arrives, tmp_path: Path, sidecar: tuple[Pausing, SimpleNamespace]
) -> None:
    """Found by review on 2026-11-30: a reason is an operator's sentence, and may name another tenant."""
    pausing, at = sidecar
    until_ns = BEGIN_NS + 60 * MINUTE_NS
    pause_file.ask(tmp_path, "tenant-2 asked for it", BEGIN_NS, until_ns)
    arrives(pausing.look())
    (found,) = scene.source.overview(ONE, "UTC").pauses
    assert found == shown_overview.Interval(
        "pod-7", "warn", "", -1, BEGIN_NS, until_ns, 0,
        "paused now: what arrives is counted, and not looked at", whole=False,
    )  # fmt: skip
    pausing.tokens, at.ns = 41_200, until_ns
    arrives(pausing.look())
    (found,) = scene.source.overview(ONE, "UTC").pauses
    assert (found.reason, found.by_uid, found.ended_ns) == ("", -1, until_ns)
    assert found.said == "over: 41,200 tokens were not looked at"


def test_of_a_pause_whose_beginning_is_not_here_its_end_is_shown(
    scene: Answers, arrives: Arrives, tmp_path: Path, sidecar: tuple[Pausing, SimpleNamespace]
) -> None:
    pausing, at = sidecar
    pause_file.ask(tmp_path, "first", BEGIN_NS, BEGIN_NS + MINUTE_NS)
    pausing.look()
    at.ns = BEGIN_NS + MINUTE_NS
    arrives(pausing.look())
    at.ns += MINUTE_NS
    pause_file.ask(tmp_path, "second", at.ns, at.ns + MINUTE_NS)
    arrives(pausing.look())
    newest, oldest = scene.source.overview(ALL, "UTC").pauses
    assert (newest.reason, oldest.reason) == ("second", "first")
    assert (oldest.since_ns, oldest.until_ns) == (0, 0)
    assert oldest.ended_ns == BEGIN_NS + MINUTE_NS


def test_of_a_record_that_is_no_whole_pause_the_page_shows_what_there_is(
    scene: Answers, arrives: Arrives
) -> None:
    """As another release, or whoever else may write to the feed, may say it."""
    odd: list[dict[str, Any]] = [
        {"state": "began", "until_ns": "soon", "by_uid": "root"},
        {"pause": ["p"], "state": "ended", "tokens": "many"},
        {"pause": "q", "reason": "INC-442", "until_ns": True},
    ]
    for n, fields in enumerate(odd, 1):
        core = {"v": 1, "event_id": f"{n:032x}", "kind": "pause", "time_ns": BEGIN_NS + n}
        record = json.dumps(core | {"summary": ""} | fields).encode()
        arrives([LedgerRecord(f"{n:032x}", record, None, deliverable=False)])
    found = scene.source.overview(ALL, "UTC").pauses
    assert [(one.reason, one.by_uid, one.until_ns) for one in found] == [
        ("INC-442", -1, 0), ("", -1, 0), ("", -1, 0)
    ]  # fmt: skip
    assert found[1].said == "over: not said why; 0 tokens were not looked at"


def test_the_last_canary_that_came_is_shown_and_none_of_another_day(
    scene: Answers, arrives: Arrives
) -> None:
    assert scene.source.overview(ALL, "UTC").canary_ns == 0
    canary = Canary("led", monotonic_ns=lambda: 0, time_ns=lambda: BEGIN_NS)
    arrives(canary.look(FIRST_NS))
    assert scene.source.overview(ALL, "UTC").canary_ns == BEGIN_NS
    scene.now_ns = BEGIN_NS + 25 * 60 * MINUTE_NS
    assert scene.source.overview(ALL, "UTC").canary_ns == 0


def told(one: dict[str, Any], **more: Any) -> list[LedgerRecord]:
    times = {"since_ns": BEGIN_NS, "until_ns": UNTIL_NS}
    body = {"state": "live", "capture": one | times | more}
    return CaptureNotes("led").heard("ff", Hello.parse(body))


def test_a_capture_is_shown_with_who_why_and_until_when_and_then_with_what_left(
    scene: Answers, arrives: Arrives
) -> None:
    assert scene.source.overview(ALL, "UTC").captures == ()
    arrives(told(BEGAN))
    (found,) = scene.source.overview(ALL, "UTC").captures
    assert found == shown_overview.Interval(
        "pod-7", "warn", "INC-441: refit", 1000, BEGIN_NS, UNTIL_NS, 0, "activations leave the server now"
    )  # fmt: skip
    scene.now_ns = UNTIL_NS + MINUTE_NS
    (found,) = scene.source.overview(ALL, "UTC").captures
    assert (found.state, found.ended_ns) == ("warn", 0)
    assert found.said.startswith("its time is up, and nothing says that it ended: ")
    arrives(told(ENDED, ended_ns=OVER_NS))
    (found,) = scene.source.overview(ALL, "UTC").captures
    assert (found.state, found.ended_ns) == ("ok", OVER_NS)
    assert found.said == "over: its time is up; 40 tokens' activations of 3 requests have left"


def test_of_a_server_that_went_away_the_page_says_so_and_that_nobody_here_knows_what_left(
    scene: Answers, arrives: Arrives
) -> None:
    notes = CaptureNotes("led")
    hello = {"state": "live", "capture": BEGAN | {"since_ns": BEGIN_NS, "until_ns": UNTIL_NS}}
    arrives(notes.heard("ff", Hello.parse(hello)))
    arrives(notes.look(set(), 0, OVER_NS, 0))
    (found,) = scene.source.overview(ALL, "UTC").captures
    assert (found.state, found.ended_ns) == ("ok", OVER_NS)
    unknown = "what had left by then only whoever asked knows"
    assert found.said == f"over: its server went away; {unknown}"
    late = (
        OVER_NS - MINUTE_NS
    )  # it was cut off, ended its capture meanwhile, and says so when it is back
    arrives(told(ENDED, ended_ns=late))
    (found,) = scene.source.overview(ALL, "UTC").captures
    assert (found.ended_ns, "40 tokens' activations" in found.said) == (late, True)


def test_who_sees_some_tenants_is_told_that_there_was_one_and_not_who_and_why(
    scene: Answers, arrives: Arrives
) -> None:
    arrives(told(ENDED, reason="tenant-2 asked for it", ended_ns=OVER_NS))
    (found,) = scene.source.overview(ONE, "UTC").captures
    assert (found.reason, found.by_uid, found.whole) == ("", -1, False)
    assert found.said == "over: 40 tokens' activations of 3 requests have left"


def test_an_auditor_finds_each_with_all_that_was_asked(scene: Answers, arrives: Arrives) -> None:
    arrives(told(ENDED, ended_ns=OVER_NS))
    found = scene.history.rows("entries", kind="capture")
    more = [json.loads(row["more"]) for row in found]
    assert [(row["reason"], row["epoch"]) for row in found] == [("INC-441: refit", "ff")] * 2
    assert [one["state"] for one in more] == ["began", "ended"]
    assert more[1]["layers"] == [1, 4]
    assert (more[1]["bytes"], more[1]["lost"]) == (1280, {"slow_reader": 1})
    assert more[1]["out"] == "/srv/captured"
