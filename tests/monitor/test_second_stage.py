"""The second stage in the line: real rules over a real socket, time by hand, and a ledger on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODE_UNSCORED, ROWS
from dosimeter.monitor import status
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.pipeline import Pipeline
from dosimeter.monitor.receive import Receiver
from dosimeter.monitor.recounting import recount
from dosimeter.monitor.restoring import restored
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.wire import Kind
from dosimeter.monitor.writer import Writer
from dosimeter.rules.correlate import Correlator

PACK = "ab" * 32
START = 1_700_000_000_000_000_000
S = 1_000_000_000
TOKENS = """
  - rule: rising
    when: {feature: deception, in: answer, above: z 2, average: 4 tokens}
    status: live
    severity: low
    owner: us
    summary: "rising"
"""
BURST = """
  - rule: burst
    when: {count: hits, of: [rising], more-than: 2, within: 1h}
    group-by: [tenant]
    repeat-after: 6h
    status: live
    severity: high
    owner: sre
    summary: "{count} {counted} of {tenant} in {within}"
"""
SILENT = """
  - rule: silent
    when: {absent: FEATURE, for: 1m, while: requests}
    status: live
    severity: critical
    owner: sre
    summary: "{feature}: {tokens} tokens of {model} without a score"
"""
SHIFTED = """
  - rule: shifted
    when: {shift: deception, in: answer}
    status: live
    severity: high
    owner: sre
    summary: "{feature} in {scope} of {model}: {direction}"
"""


class Line:
    """A pipeline turned by hand over a ledger that outlives it."""

    def __init__(
        self, folder: Path, rules: str, at_s: int = 0, *, counted_here: bool = True
    ) -> None:
        (folder / "rules.yaml").write_text("version: 1\nrules:" + rules)
        self.folder = folder
        self.now = SimpleNamespace(s=at_s)
        self.ledger = Ledger(folder / "ledger.db")
        with LedgerReader(folder / "ledger.db") as reader:
            rulebook = Rulebook((folder / "rules.yaml",), (folder / "calibration",))
            assert rulebook.error is None
            self.writer = Writer(self.ledger, Refused(folder / "refused.jsonl"))
            self.pipeline = Pipeline(
                Receiver(folder / "tap.sock"),
                rulebook,
                self.writer,
                monotonic_ns=lambda: self.now.s * S,
                time_ns=lambda: START + self.now.s * S,
                decisions=restored(reader, rulebook.policies, START + at_s * S),
                counted_here=counted_here,
            )
            self.recounted = recount(self.pipeline.counts, reader, START + at_s * S)

    def read(self, seconds: int = 1) -> None:
        self.now.s += seconds
        self.pipeline.turn(0)
        while self.pipeline.turn(0):
            pass

    def end(self) -> list[dict[str, Any]]:
        """Commit, and all that was ever committed."""
        self.pipeline.flush()
        self.writer.start()
        assert self.writer.stop(10)
        self.pipeline.receiver.close()
        self.ledger.close()
        with LedgerReader(self.folder / "ledger.db") as reader:
            return [alert.record for alert in reader.alerts_since()]

    @property
    def rules(self) -> dict[str, Any]:
        return status.rules_status(self.pipeline)


class Server:
    """A model server with one tap and one column."""

    def __init__(self, line: Line, epoch: int = 5, feature: str = "deception") -> None:
        self.line = line
        columns = [{"feature": feature, "pack": PACK, "packName": "test"}]
        hello = {"role": "tap", "state": "live", "model": {"name": "m"}, "columns": columns}
        self.sender = Sender(line.folder / "tap.sock", epoch, lambda: hello, list)
        self.sender.tick()
        line.read()

    def request(self, key: int, codes: Sequence[int], **labels: str) -> None:
        """One that comes, runs and ends at this second."""
        record = {"key": key, "prompt_len": 1, "labels": labels, "trusted": list(labels)}
        self.sender.control(Kind.OPEN, record)
        rows = np.array([(key, 0, len(codes) + 1, 0, 0)], ROWS)
        at = START + self.line.now.s * S
        self.sender.step(rows, np.array([codes[0], *codes], np.int16)[:, None], 1, at)
        n = len(codes) + 1
        self.sender.control(
            Kind.CLOSE, {"key": key, "outcome": "finished", "served": n, "emitted": n}
        )
        self.line.read()


HIGH = [5 * 256] * 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    calibrate(tmp_path, 200, None)
    return tmp_path


def calibrate(folder: Path, requests: int, per_day: int | None) -> None:
    Calibration(
        features=("deception",),
        packs=(PACK,),
        codes=np.random.default_rng(1).normal(0, 256, (requests * 10, 1)).astype(np.int16),
        offsets=np.arange(requests + 1, dtype=np.int64) * 10,
        scopes=np.full(requests * 10, 3, np.uint8),
        corpus="noise",
        date="2026-01-01",
        answers_per_day=per_day,
    ).save(folder / "calibration")


@pytest.fixture
def lines(folder: Path) -> Iterator[list[Line]]:
    made: list[Line] = []
    yield made
    for line in made:
        line.pipeline.receiver.close()


def test_a_sidecar_whose_hits_a_fleet_counts_counts_none(folder: Path) -> None:
    """Else the fleet and each sidecar would tell of the same burst."""
    line = Line(folder, TOKENS + BURST, counted_here=False)
    server = Server(line)
    for key in range(1, 6):
        server.request(key, HIGH, tenant="a")
    assert {record["kind"] for record in line.end()} == {"alert"}


def test_the_hit_that_is_one_too_many_is_recorded_with_the_count_that_it_exceeds(
    folder: Path,
) -> None:
    line = Line(folder, TOKENS + BURST)
    server = Server(line)
    for key, tenant in enumerate("abaabba", 1):
        server.request(key, HIGH, tenant=tenant)
    records = line.end()
    assert [r["kind"] for r in records] == [
        *["alert"] * 4,
        "count",
        *["alert"] * 2,
        "count",
        "alert",
    ]
    counts = [r for r in records if r["kind"] == "count"]
    assert [c["summary"] for c in counts] == ["3 hits of a in 1h", "3 hits of b in 1h"]
    alerts = [r for r in records if r["kind"] == "alert"]
    for count in counts:
        (tenant,) = count["labels"].values()
        of = [a["event_id"] for a in alerts if a["labels"]["tenant"] == tenant]
        assert count["hits"] == of[:3]
        assert (count["decision"], count["trusted"]) == ("notified", ["tenant"])
    with LedgerReader(folder / "ledger.db") as reader:
        text = json.loads(reader.blob(counts[0]["rule_sha256"]) or b"")
        assert text["rule"] == "burst"
        assert reader.count_deliverable() == (9, 9)


def test_after_a_restart_it_counts_on_and_remembers_whom_it_notified(folder: Path) -> None:
    one = Line(folder, TOKENS + BURST)
    server = Server(one)
    server.request(1, HIGH, tenant="a")
    server.request(2, HIGH, tenant="a")
    assert len(one.end()) == 2
    other = Line(folder, TOKENS + BURST, at_s=600)
    assert other.recounted == 2
    server = Server(other, epoch=6)
    server.request(1, HIGH, tenant="a")  # the third of this hour
    assert [r["kind"] for r in other.end()] == ["alert", "alert", "alert", "count"]
    last = Line(folder, TOKENS + BURST, at_s=3 * 3600)
    server = Server(last, epoch=7)
    for key in range(1, 4):
        server.request(key, HIGH, tenant="a")
    count = last.end()[-1]
    assert (count["kind"], count["decision"]) == ("count", "deduped")  # it notified three hours ago


def test_a_defect_in_counting_costs_no_hit(
    folder: Path, lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(folder, TOKENS + BURST)
    monkeypatch.setattr(Correlator, "add", lambda *_: [][0])
    Server(line).request(1, HIGH, tenant="a")
    assert line.rules["second_errors"] == 1
    assert [r["kind"] for r in line.end()] == ["alert"]


def test_the_status_says_what_counts_remember_and_which_rules_run(
    folder: Path, lines: list[Line]
) -> None:
    line = Line(folder, TOKENS + BURST + SILENT.replace("FEATURE", "deception") + SHIFTED)
    lines.append(line)
    server = Server(line)
    server.request(1, HIGH, tenant="a")
    server.request(2, HIGH)
    (count,) = line.rules["counts"]
    assert count == {
        "rule": "burst", "groups": 1, "entries": 1, "evicted": 0, "late": 0, "unattributed": 1
    }  # fmt: skip
    assert line.rules["active"] == ["burst", "rising", "silent"]
    assert "--answers-per-day" in line.rules["inactive"]["shifted"]


@pytest.mark.parametrize("feature", ["deception", "flattery"])
def test_a_feature_that_no_token_has_a_score_of_is_told_once_with_what_was_served(
    folder: Path, feature: str
) -> None:
    """Scored by no pack, or by one whose codes are all missing."""
    line = Line(folder, TOKENS + SILENT.replace("FEATURE", feature))
    server = Server(line)
    missing = [CODE_UNSCORED] * 4
    for key in range(1, 80):
        server.request(key, missing if feature == "deception" else [0] * 4)
        if key == 1:
            line.read(10)  # no requests: not silent
    (record,) = line.end()
    assert (record["kind"], record["rule"], record["epoch"]) == ("absent", "silent", f"{5:016x}")
    assert record["lasted_ns"] == 60 * S
    assert record["summary"] == f"{feature}: {record['tokens_served']} tokens of m without a score"
    assert record["tokens_served"] in range(58 * 5, 62 * 5)


def test_a_server_that_scores_is_not_silent(folder: Path) -> None:
    line = Line(folder, TOKENS + SILENT.replace("FEATURE", "deception"))
    server = Server(line)
    for key in range(1, 80):
        server.request(key, [0] * 4)
    assert line.end() == []


def test_scores_that_are_no_longer_those_of_the_calibration_are_told_once(folder: Path) -> None:
    calibrate(folder, 3000, 100)
    line = Line(folder, TOKENS + SHIFTED)
    server = Server(line)
    rng = np.random.default_rng(3)
    for key in range(1, 400):
        mean = 0 if key < 100 else 200
        server.request(key, rng.normal(mean, 256, 10).astype(np.int16).tolist())
    (drift,) = line.rules["shifts"]
    assert (drift["rule"], drift["model"], drift["drifted"]) == ("shifted", "m", True)
    records = [r for r in line.end() if r["kind"] == "shift"]
    (record,) = records
    assert record["summary"] == "deception in answer of m: up"
    assert 100 < record["requests"] < 300
    assert abs(record["since_request"] - 100) < 30
    assert record["decision"] == "notified"
