"""That activations left a server, on the overview and in the log: from what its tap said of it, by way of history."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.capture.notes import CaptureNotes
from dosimeter.monitor.feed.items import Alert, Batch
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.pages import shown_overview
from dosimeter.monitor.records import Hello
from tests.monitor.answers.answers_scene import ALL, NOW_NS, ONE, Answers, answers
from tests.monitor.audit.audit_scene import SOURCE
from tests.monitor.capture.test_notes import BEGAN, ENDED

MINUTE_NS = 60 * 10**9
BEGIN_NS = NOW_NS - 40 * MINUTE_NS
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


def said(one: dict[str, Any], **more: Any) -> list[LedgerRecord]:
    times = {"since_ns": BEGIN_NS, "until_ns": UNTIL_NS}
    body = {"state": "live", "capture": one | times | more}
    return CaptureNotes("led").heard("ff", Hello.parse(body))


def test_a_capture_is_shown_with_who_why_and_until_when_and_then_with_what_left(
    scene: Answers, arrives: Arrives
) -> None:
    assert scene.source.overview(ALL, "UTC").captures == ()
    arrives(said(BEGAN))
    (found,) = scene.source.overview(ALL, "UTC").captures
    assert found == shown_overview.Capture(
        "pod-7", "warn", "INC-441: refit", 1000, BEGIN_NS, UNTIL_NS, 0, "activations leave the server now"
    )  # fmt: skip
    scene.now_ns = UNTIL_NS + MINUTE_NS
    (found,) = scene.source.overview(ALL, "UTC").captures
    assert (found.state, found.said) == ("warn", "its time is up, and nothing says that it ended")
    arrives(said(ENDED, ended_ns=OVER_NS))
    (found,) = scene.source.overview(ALL, "UTC").captures
    assert (found.state, found.ended_ns) == ("ok", OVER_NS)
    assert found.said == "over: its time is up; 40 tokens' activations of 3 requests have left"


def test_who_sees_some_tenants_is_told_that_there_was_one_and_not_who_and_why(
    scene: Answers, arrives: Arrives
) -> None:
    arrives(said(ENDED, reason="tenant-2 asked for it", ended_ns=OVER_NS))
    (found,) = scene.source.overview(ONE, "UTC").captures
    assert (found.reason, found.by_uid, found.whole) == ("", -1, False)
    assert found.said == "over: 40 tokens' activations of 3 requests have left"


def test_an_auditor_finds_each_with_all_that_was_asked(scene: Answers, arrives: Arrives) -> None:
    arrives(said(ENDED, ended_ns=OVER_NS))
    found = scene.history.rows("entries", kind="capture")
    more = [json.loads(row["more"]) for row in found]
    assert [(row["reason"], row["epoch"]) for row in found] == [("INC-441: refit", "ff")] * 2
    assert [one["state"] for one in more] == ["began", "ended"]
    assert more[1]["layers"] == [1, 4]
    assert (more[1]["bytes"], more[1]["lost"]) == (1280, {"slow_reader": 1})
    assert more[1]["out"] == "/srv/captured"
