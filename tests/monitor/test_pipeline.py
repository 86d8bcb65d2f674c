"""The line as a whole, in one process: a real socket, real rules, a ledger that can be made to stall."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import ROWS
from dosimeter.monitor import alerts, status
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.history.evidence import decode_evidence
from dosimeter.monitor.history.records import Account, LedgerRecord
from dosimeter.monitor.history.refused import Refused
from dosimeter.monitor.pipeline import Pipeline
from dosimeter.monitor.receive import Receiver
from dosimeter.monitor.roster import GONE_NS
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.taps.sender import Sender
from dosimeter.monitor.taps.wire import Kind
from dosimeter.monitor.writer import LIMIT, Writer
from dosimeter.rules import native
from dosimeter.rules.engine import Hit
from tests.monitor.capture.test_notes import BEGAN

PACK = "ab" * 32
RULES = """\
version: 1
rules:
  - rule: rising
    when: {feature: deception, in: answer, above: z 2, average: 4 tokens}
    status: live
    severity: high
    owner: us
    summary: "rising"
  - rule: quiet
    when: {feature: deception, in: message, above: z 2, average: 4 tokens}
    status: shadow
    severity: low
    summary: "quiet"
"""


class Kept:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.records: list[LedgerRecord] = []
        self.accounts: dict[str, Account] = {}
        self.evidence: dict[str, list[bytes]] = {}
        self.blobs: dict[str, bytes] = {}

    def append(
        self,
        records: Sequence[LedgerRecord] = (),
        *,
        blobs: Mapping[str, bytes] | None = None,
        accounts: Sequence[Account] = (),
        evidence: Mapping[str, bytes] | None = None,
    ) -> None:
        self.records += records
        self.blobs.update(blobs or {})
        self.accounts |= {account.epoch: account for account in accounts}
        for event_id, body in (evidence or {}).items():
            self.evidence.setdefault(event_id, []).append(body)


class Line:
    """A pipeline with its socket, turned by hand; the writer commits when `commit` is called."""

    def __init__(
        self,
        folder: Path,
        accounts: dict[str, Account] | None = None,
        calibrations: Sequence[str] = ("calibration",),
    ) -> None:
        self.now = SimpleNamespace(ns=1_000_000_000, wall_ns=1_700_000_000_000_000_000)
        self.ledger = Kept()
        self.writer = Writer(self.ledger, Refused(folder / "refused.jsonl"))
        self.pipeline = Pipeline(
            Receiver(folder / "tap.sock"),
            Rulebook((folder / "rules.yaml",), [folder / name for name in calibrations]),
            self.writer,
            accounts or {},
            monotonic_ns=lambda: self.now.ns,
            time_ns=lambda: self.now.wall_ns,
            decisions=Decisions("ledger-1", lambda: self.now.wall_ns),
        )

    def read(self) -> None:
        self.now.ns += 1_000_000_000
        self.pipeline.turn(0)  # accepts who has connected
        while self.pipeline.turn(0):
            pass

    def commit(self) -> None:
        self.pipeline.flush()
        self.writer.start()
        assert self.writer.stop(10)

    @property
    def account(self) -> Account:
        (account,) = self.ledger.accounts.values()
        return account

    def close(self) -> None:
        self.pipeline.receiver.close()


class Server:
    """A model server with one tap."""

    def __init__(self, folder: Path, epoch: int = 5, columns: int = 1) -> None:
        self.live: dict[int, dict[str, Any]] = {}
        column = {"feature": "deception", "pack": PACK, "packName": "test"}
        self.hello: dict[str, Any] = {
            "role": "tap",
            "state": "live",
            "model": {"name": "m"},
            "columns": [column] * columns,
        }
        self.sender = Sender(
            folder / "tap.sock", epoch, lambda: self.hello, lambda: list(self.live.values())
        )
        self.sender.tick()

    def open(self, key: int, prompt: int, **trusted: str) -> None:
        labels = {"tenant": "acme"} | trusted
        record = {"key": key, "prompt_len": prompt, "labels": labels, "trusted": list(trusted)}
        self.live[key] = record
        self.sender.control(Kind.OPEN, record)

    def run(self, key: int, start: int, values: Sequence[float]) -> None:
        codes = np.array([[round(256 * value)] for value in values], np.int16)
        rows = np.array([(key, start, len(values), 0, 0)], ROWS)
        self.sender.step(rows, codes, 1, 2)

    def close(self, key: int, served: int, **more: object) -> None:
        del self.live[key]
        record = {"key": key, "outcome": "finished", "served": served, "emitted": served}
        self.sender.control(Kind.CLOSE, record | more)

    def beat(self) -> None:
        self.sender.tick()
        self.sender.tick()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES)
    Calibration(
        features=("deception",),
        packs=(PACK,),
        codes=np.random.default_rng(1).normal(0, 256, (2000, 1)).astype(np.int16),
        offsets=np.arange(21, dtype=np.int64) * 100,
        scopes=np.full(2000, 3, np.uint8),
        corpus="noise",
        date="2026-01-01",
    ).save(tmp_path / "calibration")
    return tmp_path


@pytest.fixture
def line(folder: Path) -> Iterator[Line]:
    one = Line(folder)
    assert one.pipeline.rulebook.error is None
    yield one
    one.close()


def test_what_a_server_runs_becomes_an_alert_that_says_how_much_was_seen(
    line: Line, folder: Path
) -> None:
    server = Server(folder)
    server.open(1, prompt=3)
    server.run(1, 0, [0, 0, 0, 0, 0])
    server.run(1, 5, [5, 5, 5, 5, 0])
    server.close(1, served=10)
    line.read()
    line.commit()
    (record,) = line.ledger.records
    core = json.loads(record.core)
    # Means of four: (0 0 0 5), (0 0 5 5): 2.5 sd is the first above 2.
    assert (core["rule"], core["start"], core["end"], core["position"]) == ("rising", 3, 7, 6)
    assert (core["value_sum"], core["value_n"], core["decision"]) == (10 * 256, 4, "notified")
    assert core["labels"] == {"tenant": "acme"}
    assert core["coverage"].startswith("10 of 10 tokens")
    assert (line.account.served, line.account.scored, line.account.unaccounted) == (10, 10, 0)
    assert {core["rule_sha256"], core["program_sha256"]} <= set(line.ledger.blobs)


POLICY = """\
    limit: 2 per minute
    group-by: [tenant]
    repeat-after: 1h
    unless:
      - {route: training, reason: course material, by: j.doe, until: 2099-01-31}
"""


def decided(line: Line) -> list[tuple[str, str, str]]:
    """Kind, decision and reason of what was committed, which is sent if it is told to somebody."""
    line.commit()
    cores = [(json.loads(record.core), record.deliverable) for record in line.ledger.records]
    for core, sent in cores:
        assert sent is (core.get("decision", "notified") == "notified")
    return [(c["kind"], c.get("decision", ""), c.get("reason", "")) for c, _ in cores]


def hits(server: Server, first: int, *trusted: dict[str, str]) -> None:
    """A request for each of these labels, and a hit of `rising` in it."""
    for key, labels in enumerate(trusted, start=first):
        server.open(key, prompt=1, **labels)
        server.run(key, 0, [0, 5, 5, 5, 5])


def test_what_becomes_of_hits_is_stored_with_each_and_only_what_notified_is_delivered(
    folder: Path,
) -> None:
    (folder / "rules.yaml").write_text(RULES.replace("    owner: us\n", "    owner: us\n" + POLICY))
    line = Line(folder)
    server = Server(folder)
    hits(server, 1, {"tenant": "a"}, {"tenant": "a"}, {"tenant": "b", "route": "training"})
    hits(server, 4, {"tenant": "b"}, {"tenant": "c"}, {"tenant": "d"})
    line.read()
    line.now.wall_ns += 120_000_000_000
    line.read()
    assert decided(line) == [
        ("alert", "notified", ""),
        ("alert", "deduped", "notified for this tenant less than 1h ago"),
        ("alert", "exempt", "course material (j.doe)"),
        ("alert", "notified", ""),
        ("alert", "limited", "beyond 2 per minute"),
        ("alert", "limited", "beyond 2 per minute"),
        ("digest", "", ""),
    ]
    digest = json.loads(line.ledger.records[-1].core)
    assert (digest["notified"], digest["limited"], digest["groups"]) == (2, 2, 2)
    found = status.line_status(line.pipeline, started_ns=0)["alerts"]
    counts = {alert["decision"]: alert["count"] for alert in found}
    assert counts == {"notified": 2, "deduped": 1, "exempt": 1, "limited": 2, "digest": 1}
    line.close()


def test_only_and_unless_believe_no_label_that_nobody_vouches_for(folder: Path) -> None:
    policy = "    only: {tenant: [a, b]}\n    unless:\n      - {tenant: b, reason: r, by: me, until: 2099-01-31}\n"
    (folder / "rules.yaml").write_text(RULES.replace("    owner: us\n", "    owner: us\n" + policy))
    line = Line(folder)
    server = Server(folder)
    hits(server, 1, {"tenant": "a"}, {"tenant": "b"}, {"tenant": "c"})
    record = {"key": 9, "prompt_len": 1, "labels": {"tenant": "a"}, "trusted": []}
    server.live[9] = record
    server.sender.control(Kind.OPEN, record)
    server.run(9, 0, [0, 5, 5, 5, 5])
    line.read()
    assert decided(line) == [("alert", "notified", ""), ("alert", "exempt", "r (me)")]
    line.close()


def test_a_defect_in_deciding_still_stores_and_tells(
    line: Line, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line.pipeline.decisions._decider, "decide", lambda *_: [][0])
    hits(Server(folder), 1, {})
    line.read()
    (found,) = decided(line)
    assert found[:2] == ("alert", "notified")
    assert found[2].startswith("not decided: IndexError")


def test_a_shadow_rule_is_recorded_and_not_delivered(line: Line, folder: Path) -> None:
    server = Server(folder)
    server.open(1, prompt=6)
    server.run(1, 0, [5] * 6)
    line.read()
    line.commit()
    (record,) = line.ledger.records
    assert not record.deliverable


def test_evidence_is_there_at_once_and_complete_when_the_request_ends(
    line: Line, folder: Path
) -> None:
    server = Server(folder)
    server.open(1, prompt=1)
    server.run(1, 0, [0, 5, 5, 5, 5])
    line.read()
    server.run(1, 5, [1, 2])
    server.close(1, served=7, tokens=["a", "b", "c", "d", "e", "f", "g"])
    line.read()
    line.commit()
    (record,) = line.ledger.records
    assert record.evidence is not None
    first = decode_evidence(record.evidence)
    assert first.codes[:, 0].tolist() == [0, *[5 * 256] * 4]
    (body,) = line.ledger.evidence[record.event_id]
    last = decode_evidence(body)
    assert last.codes[:, 0].tolist() == [0, *[5 * 256] * 4, 256, 512]
    assert last.tokens == ("a", "b", "c", "d", "e", "f", "g")


def test_evidence_is_complete_when_its_margin_has_come(line: Line, folder: Path) -> None:
    server = Server(folder)
    server.open(1, prompt=1)
    server.run(1, 0, [0, 5, 5, 5, 5])
    line.read()
    for start in range(5, 95):
        server.run(1, start, [1])
        line.read()
    line.commit()
    (record,) = line.ledger.records
    (body,) = line.ledger.evidence[record.event_id]
    end = json.loads(record.core)["end"]
    assert len(decode_evidence(body).codes) == end + 64


def test_a_hostile_message_costs_its_sender_the_connection_and_nobody_else(
    line: Line, folder: Path
) -> None:
    good, bad = Server(folder), Server(folder, epoch=6)
    line.read()
    good.open(1, prompt=1)
    bad.sender.control(Kind.OPEN, {"key": -4, "prompt_len": 1})
    line.read()
    good.run(1, 0, [0, 0])
    good.close(1, served=2)
    line.read()
    assert line.pipeline.receiver.hostile == 1
    assert "`key` is out of range" in str(line.pipeline.receiver.last_refusal)
    found = status.line_status(line.pipeline, started_ns=0)
    assert {tap["epoch"][-1]: tap["state"] for tap in found["taps"]} == {"5": "live", "6": "absent"}
    assert found["coverage"]["scored"] == 2


def test_a_defect_of_ours_costs_one_speaker_its_connection_and_not_the_line(
    line: Line, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = Server(folder), Server(folder, epoch=6)
    line.read()
    monkeypatch.setattr(line.pipeline.servers[6].engine, "step", lambda frame: [][0])
    for server in (bad, good):
        server.open(1, prompt=1)
        server.run(1, 0, [0, 0])
    good.close(1, served=2)
    line.read()
    found = status.line_status(line.pipeline, started_ns=0)
    assert (found["socket"]["failed"], found["socket"]["hostile"]) == (1, 0)
    assert "IndexError" in found["socket"]["last_refusal"]
    assert {tap["epoch"][-1]: tap["state"] for tap in found["taps"]} == {"5": "live", "6": "absent"}
    assert found["coverage"]["scored"] == 2


def test_a_hit_that_no_record_can_be_made_of_costs_no_other_hit(
    line: Line, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hits of one frame: the second could not be recorded, and once took the first with it."""
    server = Server(folder)
    for key in (1, 2):
        server.open(key, prompt=1)
    line.read()
    build = alerts.build_alert

    def broken(hit: Hit, *rest: Any) -> Any:
        if hit.key == 2:
            raise ZeroDivisionError("a defect of ours")
        return build(hit, *rest)

    monkeypatch.setattr(alerts, "build_alert", broken)
    rows = np.array([(1, 0, 5, 0, 0), (2, 0, 5, 0, 0)], ROWS)
    server.sender.step(rows, np.array([0, 5, 5, 5, 5] * 2, np.int16)[:, None] * 256, 1, 2)
    line.read()
    line.commit()
    (record,) = line.ledger.records
    assert json.loads(record.core)["rule"] == "rising"
    (kept,) = [json.loads(row) for row in (folder / "refused.jsonl").read_text().splitlines()]
    assert (kept["hit"]["rule"], kept["hit"]["key"]) == ("rising", 2)
    assert "a defect of ours" in kept["error"]
    found = status.line_status(line.pipeline, started_ns=0)
    assert (found["ledger"]["refused"], found["socket"]["failed"]) == (1, 0)


def test_what_a_tap_said_before_it_hung_up_comes_before_what_it_says_anew(
    line: Line, folder: Path
) -> None:
    """Steps unread on the old connection once ended requests that the new one had not announced yet."""
    server = Server(folder)
    for key in range(1, 31):
        server.open(key, prompt=1)
    line.read()
    for position in range(40):
        for key in range(1, 31):
            server.run(key, position, [0.0])
    with server.sender._lock:
        server.sender._disconnect()
    server.sender.tick()
    for key in range(1, 31):
        server.run(key, 40, [0.0])
    line.read()
    server.beat()
    line.read()
    (tap,) = status.line_status(line.pipeline, started_ns=0)["taps"]
    assert (tap["requests_live"], tap["late_rows"], tap["rows"]) == (30, 0, 30 * 41)
    assert line.pipeline.receiver.hostile == 0


def test_a_second_tap_under_one_epoch_is_refused_while_the_first_is_connected(
    line: Line, folder: Path
) -> None:
    """Two engines that inherit one epoch mint the same keys: one's rows would be the other's."""
    first, second = Server(folder), Server(folder)
    line.read()
    assert line.pipeline.receiver.hostile == 1
    assert "another connection" in (line.pipeline.receiver.last_refusal or "")
    first.open(1, prompt=1)
    first.run(1, 0, [0.0])
    second.open(1, prompt=1)
    line.read()
    (tap,) = status.line_status(line.pipeline, started_ns=0)["taps"]
    assert (tap["state"], tap["rows"]) == ("live", 1)


def test_a_server_whose_tap_is_gone_is_absent_though_its_front_speaks(
    line: Line, folder: Path
) -> None:
    server = Server(folder)
    hello = {"role": "front", "state": "blind", "reason": "no tap yet"}
    front = Sender(folder / "tap.sock", 5, lambda: hello, list)
    front.tick()
    line.read()
    with server.sender._lock:
        server.sender._disconnect()
    for _ in range(3):
        front.tick()
        line.read()
    (tap,) = status.line_status(line.pipeline, started_ns=0)["taps"]
    assert (tap["state"], tap["connections"]) == ("absent", 1)


def test_early_rows_of_columns_that_changed_before_their_open_do_not_end_the_line(
    line: Line, folder: Path
) -> None:
    server = Server(folder)
    server.run(1, 0, [0, 5, 5, 5, 5])
    columns = [{"feature": name, "pack": PACK, "packName": "test"} for name in ("deception", "x")]
    server.sender.control(Kind.HELLO, {"role": "tap", "state": "live", "columns": columns})
    server.open(1, prompt=1)
    line.read()
    (tap,) = status.line_status(line.pipeline, started_ns=0)["taps"]
    assert (tap["state"], tap["features"], tap["rows_without_open"]) == (
        "live",
        ["deception", "x"],
        5,
    )
    assert line.pipeline.receiver.failed == 0


def test_evidence_keeps_the_columns_it_was_decided_on(line: Line, folder: Path) -> None:
    server = Server(folder)
    server.open(1, prompt=1)
    server.run(1, 0, [0, 5, 5, 5, 5])
    server.sender.control(Kind.HELLO, {"role": "tap", "state": "live", "columns": []})
    server.close(1, served=5)
    line.read()
    line.commit()
    (record,) = line.ledger.records
    assert record.evidence is not None
    assert decode_evidence(record.evidence).codes[:, 0].tolist() == [0, *[5 * 256] * 4]
    assert line.ledger.evidence == {}


def test_what_a_tap_says_of_its_own_failures_is_in_the_status(line: Line, folder: Path) -> None:
    server = Server(folder)
    server.hello |= {"errors": 2, "last_error": "KeyError('x')", "packs_refused": "no room"}
    server.sender.failed(3)
    server.open(1, prompt=1)
    server.close(1, served=4, served_source="usage", text={"answer": "x" * 200_000})
    server.beat()
    line.read()
    (tap,) = status.line_status(line.pipeline, started_ns=0)["taps"]
    assert (tap["rows_error"], tap["records_cut"], tap["records_lost"]) == (3, 1, 0)
    assert (tap["errors"], tap["last_error"]) == (2, "KeyError('x')")
    assert tap["packs_refused"] == "no room"
    assert tap["rows_not_evaluated"] == 0
    assert tap["coverage"]["served_by"] == {"usage": 4}


def test_a_role_that_nobody_has_is_refused(line: Line, folder: Path) -> None:
    server = Server(folder)
    server.sender.control(Kind.HELLO, {"role": "tap2", "state": "live"})
    line.read()
    assert "`role` is `tap2`" in str(line.pipeline.receiver.last_refusal)


def test_columns_other_than_the_greeting_said_are_refused(line: Line, folder: Path) -> None:
    server = Server(folder, columns=2)
    server.open(1, prompt=1)
    server.run(1, 0, [0])
    line.read()
    assert "1 columns in a step, 2 in the greeting" in str(line.pipeline.receiver.last_refusal)


def test_packs_loaded_after_the_first_greeting_are_scored_from_then_on(
    line: Line, folder: Path
) -> None:
    server = Server(folder, columns=0)
    server.open(1, prompt=1)
    line.read()
    column = {"feature": "deception", "pack": PACK, "packName": "test"}
    server.sender.control(Kind.HELLO, {"role": "tap", "state": "live", "columns": [column]})
    server.run(1, 0, [0, 5, 5, 5, 5])
    server.close(1, served=5)
    line.read()
    line.commit()
    assert [json.loads(record.core)["rule"] for record in line.ledger.records] == ["rising"]
    assert line.account.scored == 5


def test_rows_behind_the_greeting_of_another_pack_are_decided_and_recorded_as_that_packs(
    folder: Path,
) -> None:
    """The same feature, in the middle of an answer. No window reaches from one pack's scores into the other's."""
    other = "cd" * 32
    known = Calibration.load(folder / "calibration")
    replace(known, packs=(other,)).save(folder / "other")
    line, server = Line(folder, calibrations=("calibration", "other")), Server(folder)
    server.open(1, prompt=1)
    server.run(1, 0, [0, 5, 5, 5, 5, 0, 0, 0, 0, 5])
    columns = [{"feature": "deception", "pack": other, "packName": "test"}]
    server.sender.greet(lambda: server.hello.update(columns=columns))
    server.run(1, 10, [5, 0, 0, 0, 0, 5, 5, 5, 5])
    server.close(1, served=19)
    line.read()
    line.commit()
    line.close()
    cores = [json.loads(record.core) for record in line.ledger.records]
    assert [core["pack_sha256"] for core in cores] == [PACK, other]
    assert cores[1]["start"] > 10
    assert (line.account.scored, line.account.unaccounted) == (19, 0)


def test_a_stalled_writer_stops_the_reading_and_loses_no_alert(line: Line, folder: Path) -> None:
    server = Server(folder)
    server.open(1, prompt=1)
    line.read()
    filler = LedgerRecord("0" * 32, b"{}", None, False)
    line.writer.put([(filler, 0)] * LIMIT)
    server.run(1, 0, [0, 5, 5, 5, 5])
    assert line.pipeline.turn(0) == 0
    assert line.pipeline.servers[5].rows == 0
    line.writer.start()
    assert line.writer.stop(10)
    line.read()
    assert line.pipeline.servers[5].rows == 5
    assert line.writer.waiting > 0


def test_a_sidecar_that_died_and_came_back_agrees_with_the_servers_own_count(folder: Path) -> None:
    """One request ends while nobody is there, one lives through it, one is lost in memory."""
    first = Line(folder)
    server = Server(folder)
    for key in (1, 2, 3):
        server.open(key, prompt=2)
        server.run(key, 0, [0, 0, 0])
    first.read()
    first.commit()
    server.close(3, served=3)
    first.read()  # taken in, never committed
    first.close()
    server.run(1, 3, [0, 0])  # fails: the connection is gone
    server.close(1, served=5, emitted=3, errors={"no_sidecar": 2})
    second = Line(folder, {"0000000000000005": first.account})
    server.sender.tick()
    second.read()
    server.run(2, 3, [0, 0])
    server.close(2, served=5)
    server.beat()
    second.read()
    second.commit()
    account = second.account
    assert account.served == 5 + 5 + 3
    assert account.scored == 2
    assert account.unscored == {"no_sidecar": 2, "sidecar_restart": 3 + 3 + 3}
    assert account.served_by == {"tap": 5 + 5, "counters": 3}
    assert (account.unaccounted, account.closed) == (0, 3)
    second.close()


def test_rules_that_change_apply_to_requests_that_open_afterwards(line: Line, folder: Path) -> None:
    server = Server(folder)
    server.open(1, prompt=1)
    line.read()
    (folder / "rules.yaml").write_text(RULES.replace("z 2, average", "z 9, average"))
    assert line.pipeline.rulebook.refresh()
    line.read()
    server.open(2, prompt=1)
    for key in (1, 2):
        server.run(key, 0, [0, 5, 5, 5, 5])
    line.read()
    line.commit()
    assert [json.loads(record.core)["key"][-1] for record in line.ledger.records] == ["1"]


def test_rules_with_a_mistake_change_nothing_and_say_where_it_is(line: Line, folder: Path) -> None:
    server = Server(folder)
    line.read()
    (folder / "rules.yaml").write_text(RULES.replace("severity: high", "severity: hi"))
    assert not line.pipeline.rulebook.refresh()
    server.open(1, prompt=1)
    server.run(1, 0, [0, 5, 5, 5, 5])
    line.read()
    found = status.line_status(line.pipeline, started_ns=0)
    assert "rules.yaml:6:15" in found["rules"]["error"]
    assert found["rules"]["active"] == ["quiet", "rising"]
    assert found["alerts"][0]["count"] == 1
    (folder / "rules.yaml").write_text(RULES)
    assert line.pipeline.rulebook.refresh()
    assert line.pipeline.rulebook.error is None


def test_a_probe_that_was_not_calibrated_may_not_alert_and_says_so(folder: Path) -> None:
    one = Line(folder)
    one.pipeline.rulebook = Rulebook((folder / "rules.yaml",))
    server = Server(folder)
    server.open(1, prompt=1)
    server.run(1, 0, [0, 5, 5, 5, 5])
    one.read()
    found = status.line_status(one.pipeline, started_ns=0)
    assert set(found["rules"]["inactive"]) == {"quiet", "rising"}
    assert found["rules"]["kernel"] == ("c" if native.found else "reference")
    assert found["alerts"] == []
    one.close()


def test_a_server_that_is_gone_for_good_frees_its_requests_and_keeps_its_account(
    line: Line, folder: Path
) -> None:
    server = Server(folder)
    server.open(1, prompt=1)
    server.open(2, prompt=1)
    server.run(2, 0, [0])
    server.close(2, served=1)
    line.read()
    server.sender.close()
    line.read()
    line.now.ns += GONE_NS
    line.read()
    assert line.pipeline.servers == {}
    assert status.coverage(line.pipeline).served == 1


def test_a_capture_whose_server_is_gone_for_good_is_over_on_record(
    line: Line, folder: Path
) -> None:
    server = Server(folder)
    server.hello["capture"] = BEGAN
    server.sender.greet()
    line.read()
    server.sender.close()
    line.read()
    line.commit()
    assert [json.loads(one.core)["state"] for one in line.ledger.records] == ["began"]
    line.now.ns += GONE_NS
    line.read()
    line.commit()
    core = json.loads(line.ledger.records[-1].core)
    assert (core["state"], core["why"]) == ("ended", "its server went away")
    assert core["time_ns"] == line.now.wall_ns
    assert core["epoch"] == f"{5:016x}"


def test_the_line_is_alive_while_the_disk_stalls_and_not_when_the_loop_stops(line: Line) -> None:
    line.read()
    assert status.alive(line.pipeline)
    line.now.ns += 6_000_000_000
    assert not status.alive(line.pipeline)
