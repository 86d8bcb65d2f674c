"""Each thing that can be wrong in a status is found, alone, and leads to a section that exists."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.status_findings import findings
from tests.monitor.cli.status_scene import ran, status_of
from tests.monitor.test_pipeline import Line, folder, line

__all__ = ["folder", "line"]
DOCS = Path(__file__).resolve().parents[2]
PAUSED = {"until_ns": 10**18, "reason": "INC-441"}
STALLED = {"stalled": "disk full"}
SINK: dict[str, Any] = {
    "conserved": True,
    "unaccounted": 0,
    "queued": 0,
    "oldest_queued_s": 0.0,
    "dead": 0,
    "canary_s": 3600.0,
    "last_ack_ns": 5,
    "last_error": None,
    "last_error_ns": None,
}


def sink(**changes: Any) -> tuple[tuple[Any, ...], Any]:
    return ("delivery", "sinks", "kafka"), SINK | changes


@pytest.mark.parametrize(
    ("place", "value", "name"),
    [
        *((("taps", 0, "state"), state, "DosimeterBlind") for state in ("blind", "absent", "idle")),
        (("taps", 0, "packs_refused"), "no room", "packs"),
        (("servers", "missing"), "1 of 2 are live", "DosimeterServersMissing"),
        (("coverage", "unaccounted"), 3, "DosimeterTokensUnaccounted"),
        (("coverage", "unaccounted"), -3, "DosimeterTokensUnaccounted"),
        (("ledger", "stalled"), "disk full", "DosimeterLedgerStalled"),
        (("socket", "lost"), "tap.sock is gone", "DosimeterFilesLost"),
        (("ledger", "lost"), "ledger.db is gone", "DosimeterFilesLost"),
        (("disk", "free_bytes"), 10**9, "DosimeterDiskFilling"),
        (("archive",), STALLED, "DosimeterSpoolStalled"),
        (("ledger", "upkeep_error"), "locked", "upkeep"),
        (("rules", "error"), "unknown key", "rules"),
        (("rules", "unconfirmed"), ["second-look"], "confirmers"),
        (("delivery", "error"), "not ours", "DosimeterDeliveryUnaccounted"),
        (*sink(conserved=False, unaccounted=2), "DosimeterDeliveryUnaccounted"),
        (*sink(queued=1, last_error="refused"), "DosimeterDeliveryLagging"),
        (*sink(queued=1, oldest_queued_s=301.0), "DosimeterDeliveryLagging"),
        (*sink(dead=1), "DosimeterDeadLetters"),
        (*sink(canary_s=7801.0), "DosimeterCanaryMissing"),
        (("canary", "error"), "0 came out", "DosimeterCanaryMissing"),
        (("paused",), PAUSED, "DosimeterPaused"),
        (("ledger", "refused"), 1, "defect"),
        (("socket", "failed"), 1, "defect"),
        (("rules", "second_errors"), 1, "defect"),
        (("taps", 0, "counted_twice"), 1, "defect"),
    ],
)
def test_one_thing_that_is_wrong_is_one_finding(
    line: Line, folder: Path, place: tuple[Any, ...], value: Any, name: str
) -> None:
    ran(line, folder)
    body = copy.deepcopy(status_of(line, folder, expected=1))
    assert findings(body) == []
    inside = body
    for step in place[:-1]:
        inside = inside[step]
    inside[place[-1]] = value
    [found] = findings(body)
    assert found.name == name
    page, _, anchor = found.page.partition("#")
    heads = re.findall(r"^##+ (.+)$", (DOCS / page).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("changes", [{"queued": 1}, {"last_error": "refused"}])
def test_a_sink_that_has_recovered_or_owes_nothing_is_well(
    line: Line, folder: Path, changes: dict[str, Any]
) -> None:
    body = status_of(line, folder)
    body["delivery"] = {"sinks": {"kafka": SINK | changes}, "confirm": {}}
    assert findings(body) == []


def test_a_line_that_does_not_turn_comes_first(line: Line, folder: Path) -> None:
    body = status_of(line, folder, expected=1)
    names = [one.name for one in findings(body, alive=False)]
    assert names == ["DosimeterSidecarSilent", "DosimeterServersMissing"]
