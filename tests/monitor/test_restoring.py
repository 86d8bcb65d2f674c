"""A sidecar that died decides as if it had not: what it needs to know is in its ledger."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.monitor import alerts
from dosimeter.monitor.coverage import Positions
from dosimeter.monitor.decisions import LATE_NS, Decisions
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.records import Hello, Open
from dosimeter.monitor.restoring import restored
from dosimeter.rules.engine import Condition, Hit
from dosimeter.rules.language.schema import RuleSet, parse_rules
from dosimeter.rules.program import Program, compile_program

S = 10**9
MINUTE, HOUR, DAY = 60 * S, 3600 * S, 86_400 * S
START = 20_000 * DAY
PACK = "ab" * 32
RULE = """
  - rule: {name}
    when: {{feature: scam, in: answer, above: z 2}}
    status: {status}
    severity: high
    owner: us
    summary: "found"
"""
POLICIES = {
    "burst": "    limit: 3 per minute\n    group-by: [tenant]\n    labels: {team: fraud, kind: digest}\n",
    "once": "    group-by: [tenant, user]\n    repeat-after: 10m\n    limit: 20 per hour\n",
    "quiet": "    group-by: [tenant]\n    quiet-when: [once]\n",
    "plain": "",
    "trial": "    limit: 2 per minute\n    quiet-when: [burst]\n",
}


def rules() -> RuleSet:
    text = "version: 1\nrules:"
    for name, policy in POLICIES.items():
        status = "shadow" if name == "trial" else "live"
        text += RULE.format(name=name, status=status) + policy
    return parse_rules(text)


RULES = rules()


def program() -> Program:
    benign = Calibration(
        features=("scam",),
        packs=(PACK,),
        codes=np.random.default_rng(1).normal(0, 256, (2000, 1)).astype(np.int16),
        offsets=np.arange(21, dtype=np.int64) * 100,
        scopes=np.full(2000, 3, np.uint8),
        corpus="noise",
        date="2026-01-01",
    )
    return compile_program(RULES, [Column("scam", PACK, "test")], [benign])


PROGRAM = program()


@dataclass(frozen=True)
class One:
    """A hit to come, this long after START."""

    at: int
    rule: str
    key: int
    tenant: str
    user: str


class Sidecar:
    """Decides and commits one hit after the other, and asks for digests as the line does."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, START
        self.ledger = Ledger(path, now_ns=lambda: self.now)
        self.decisions = self._begin()
        self.ledger.append(blobs={rule.sha256: rule.canonical for rule in RULES.rules})

    def _begin(self) -> Decisions:
        with LedgerReader(self.path) as reader:
            found = restored(reader, [r.policy for r in RULES.rules], self.now)
        found._time_ns = lambda: self.now
        found.expect(PROGRAM)
        return found

    def dies(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.path, now_ns=lambda: self.now)
        self.decisions = self._begin()

    def decide(self, one: One, ahead: int = 0) -> str:
        """ahead: of the server's clock."""
        self.now = START + one.at
        rule = PROGRAM.rule(one.rule)
        literal = next(rule.logic.literals)
        met = Condition(0, literal, PROGRAM.atoms[literal.atom], 0, 1, 600, 1, 1, 0)
        hit = Hit(one.rule, one.key, 0, met, (), PROGRAM.digest, rule)
        labels = {"tenant": one.tenant, "user": one.user}
        body: dict[str, Any] = {"key": one.key, "prompt_len": 0, "labels": labels}
        opened = Open.parse(body | {"trusted": list(labels)})
        hello = Hello.parse({"role": "tap", "state": "live", "model": {"name": "m"}})
        decision = self.decisions.decide(hit, opened, 7, "m", self.now + ahead)
        found = alerts.decide(
            hit,
            decision,
            epoch=7,
            hello=hello,
            opened=opened,
            positions=Positions(),
            time_ns=self.now + ahead,
            evidence=b"",
        )
        assert found.record is not None
        self.ledger.append([found.record])
        return found.decision

    def digests(self) -> list[LedgerRecord]:
        found = [one.record for one in self.decisions.digests(self.now)]
        return [record for record in found if record is not None]

    def commit_digests(self) -> list[bytes]:
        found = self.digests()
        self.ledger.append(found)
        return [record.core for record in found]

    def stored(self) -> list[dict[str, Any]]:
        with LedgerReader(self.path) as reader:
            return [alert.record for alert in reader.alerts_since(limit=10_000)]


def storm(seed: int, hits: int) -> list[One]:
    rng = np.random.default_rng(seed)
    at, found = 0, []
    for key in range(1, hits + 1):
        at += int(rng.integers(0, 4 * S))
        rule = str(rng.choice(list(POLICIES)))
        tenant, user = f"t{rng.integers(3)}", f"u{rng.integers(4)}"
        found.append(One(at, rule, key // 3, tenant, user))
    return found


def run(folder: Path, hits: Sequence[One], deaths: set[int]) -> tuple[list[str], list[bytes]]:
    """What was decided of each hit, and the digests."""
    folder.mkdir()
    sidecar = Sidecar(folder / "ledger.db")
    words, digests = [], []
    for number, one in enumerate(hits):
        sidecar.now = START + one.at
        if number in deaths:
            sidecar.dies()
        digests += sidecar.commit_digests()
        words.append(sidecar.decide(one))
    sidecar.now += 2 * HOUR
    digests += sidecar.commit_digests()
    with LedgerReader(folder / "ledger.db") as reader:
        identity = reader.ledger_id.encode()
    sidecar.ledger.close()
    assert identity  # of each run its own, so ids of digests differ between runs
    return words, [without_id(core) for core in digests]


def without_id(core: bytes) -> bytes:
    record = json.loads(core)
    del record["event_id"]
    return json.dumps(record).encode()


@pytest.mark.parametrize("seed", range(4))
def test_a_restart_changes_no_decision_and_no_digest(tmp_path: Path, seed: int) -> None:
    hits = storm(seed, 250)
    deaths = set(np.random.default_rng(seed).integers(0, 250, 6).tolist())
    expected, digests = run(tmp_path / "whole", hits, set())
    assert {"notified", "limited", "deduped", "silenced", "shadow"} <= set(expected)
    assert digests
    assert run(tmp_path / "dying", hits, deaths) == (expected, digests)


def limited(sidecar: Sidecar) -> None:
    """Three are told, four are not."""
    words = [sidecar.decide(One(n, "burst", n, "t", f"u{n}")) for n in range(7)]
    assert words == ["notified"] * 3 + ["limited"] * 4
    sidecar.now = START + MINUTE + LATE_NS


def digests_in(sidecar: Sidecar) -> list[tuple[int, int]]:
    found = [record for record in sidecar.stored() if record["kind"] == "digest"]
    return [(record["notified"], record["limited"]) for record in found]


def test_a_digest_that_was_not_committed_is_made_again(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "ledger.db")
    limited(sidecar)
    (lost,) = sidecar.digests()
    sidecar.dies()
    (made,) = sidecar.digests()
    assert made == lost
    sidecar.ledger.append([made])
    committed = sidecar.ledger.append(
        [lost]
    )  # of a writer that did not know whether it was in time
    assert (committed.accepted, committed.duplicates) == (0, 1)
    assert digests_in(sidecar) == [(3, 4)]
    sidecar.ledger.close()


def test_a_digest_that_was_committed_does_not_come_again(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "ledger.db")
    limited(sidecar)
    assert len(sidecar.commit_digests()) == 1
    sidecar.dies()
    assert sidecar.commit_digests() == []
    assert digests_in(sidecar) == [(3, 4)]
    sidecar.ledger.close()


def test_a_window_that_ends_while_nobody_is_there_has_its_digest(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "ledger.db")
    limited(sidecar)
    sidecar.now = START + 30 * S
    sidecar.dies()
    assert sidecar.digests() == []
    sidecar.now = START + MINUTE + 50 * S
    sidecar.dies()
    assert len(sidecar.commit_digests()) == 1
    (digest,) = [record for record in sidecar.stored() if record["kind"] == "digest"]
    assert (digest["severity"], digest["owner"], digest["limited"]) == ("high", "us", 4)
    sidecar.ledger.close()


@pytest.mark.parametrize("hours", [1, 30, 1000])
@pytest.mark.parametrize("gone", [False, True])
def test_a_digest_is_owed_however_long_nobody_was_there_and_though_its_rule_is_gone(
    tmp_path: Path, hours: int, gone: bool
) -> None:
    sidecar = Sidecar(tmp_path / "ledger.db")
    limited(sidecar)
    sidecar.ledger.close()
    now = START + hours * HOUR
    policies = [] if gone else [r.policy for r in RULES.rules]
    with LedgerReader(sidecar.path) as reader:
        decisions = restored(reader, policies, now)
    (made,) = decisions.digests(now)
    assert made.record is not None
    digest = json.loads(made.record.core)
    assert (digest["rule"], digest["from_ns"]) == ("burst", START)
    assert (digest["notified"], digest["limited"]) == (3, 4)


def test_a_second_digest_of_a_window_is_another_after_a_restart_too(tmp_path: Path) -> None:
    """The clock was ten minutes ahead: of the hour, one digest was made when that was put right."""
    sidecar = Sidecar(tmp_path / "ledger.db")
    hits = [One(20 * MINUTE + n, "once", n, f"t{n}", "u") for n in range(23)]
    assert [sidecar.decide(one) for one in hits].count("limited") == 3
    sidecar.now = START + 10 * MINUTE
    assert len(sidecar.commit_digests()) == 1
    assert [sidecar.decide(One(10 * MINUTE + n, "once", 100 + n, f"s{n}", "u")) for n in range(25)][
        20:
    ] == (["limited"] * 5)
    sidecar.now = START + 25 * MINUTE
    sidecar.dies()
    assert sidecar.commit_digests() == []
    sidecar.now = START + HOUR + LATE_NS
    assert len(sidecar.commit_digests()) == 1
    assert digests_in(sidecar) == [(20, 3), (20, 5)]
    sidecar.ledger.close()


def test_a_server_whose_clock_was_ahead_held_nothing_back_and_does_not_after_a_restart(
    tmp_path: Path,
) -> None:
    sidecar = Sidecar(tmp_path / "ledger.db")
    one = One(0, "once", 1, "t", "u")
    assert sidecar.decide(one, ahead=DAY) == "notified"
    sidecar.now = START + 11 * MINUTE
    sidecar.dies()
    assert sidecar.decide(replace(one, at=11 * MINUTE, key=2)) == "notified"
    sidecar.ledger.close()


def test_what_lies_further_back_than_any_rule_remembers_is_not_read(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "ledger.db")
    for n in range(5):
        sidecar.decide(One(n * DAY, "plain", n, "t", "u"))
    with LedgerReader(sidecar.path) as reader:
        assert [reader.first_since(START + n * DAY) for n in range(6)] == [1, 2, 3, 4, 5, 6]
        assert reader.first_since(0) == 1
        assert len(list(reader.decided_since(4))) == 2
    sidecar.ledger.close()


def test_a_record_that_cannot_be_read_costs_the_memory_and_not_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar = Sidecar(tmp_path / "ledger.db")
    limited(sidecar)
    sidecar.ledger.append([LedgerRecord("f" * 32, b'{"kind":"digest","v":9}', None, True)])
    with caplog.at_level(logging.ERROR):
        sidecar.dies()
    assert "some may be notified again" in caplog.text
    assert sidecar.decide(One(8, "burst", 9, "t", "u9")) == "notified"
    sidecar.ledger.close()


def test_a_rule_whose_text_is_gone_costs_its_own_memory_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar = Sidecar(tmp_path / "ledger.db")
    words = [sidecar.decide(One(0, rule, 1, "t", "u")) for rule in ("burst", "once")]
    assert words == ["notified"] * 2
    gone = PROGRAM.rule("burst").sha256
    sidecar.ledger._db.execute("DELETE FROM blob WHERE sha256 = ?", (gone,))
    sidecar.dies()
    assert gone[:12] in caplog.text
    words = [sidecar.decide(One(n, "burst", n, "t", "u")) for n in (1, 2, 3, 4)]
    assert words == ["notified"] * 3 + ["limited"]
    assert sidecar.decide(One(5, "once", 9, "t", "u")) == "deduped"
    sidecar.ledger.close()
