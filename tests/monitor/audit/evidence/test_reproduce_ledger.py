"""A sidecar's own files are enough: every alert of its ledger comes out the same, with the archive and without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.frames import SEGMENTS, Scope, ScoreFrame
from dosimeter.monitor.audit.evidence.reproduce import BY_REQUEST, BY_WINDOW
from dosimeter.monitor.audit.evidence.reproduce_ledger import from_ledger
from dosimeter.monitor.evidence import body
from dosimeter.monitor.history.archive import Archiver
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.rules.alert import AlertContext, build_alert
from dosimeter.rules.decide import Decision
from dosimeter.rules.engine import Engine, Hit
from tests.monitor.history.score_traffic import EPOCH, NOON_NS, Traffic, spooled, traffic

FEATURES = ("feature_0", "feature_1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    made = traffic(200, seed=6, threshold=500)
    archive = ArchiveFolder(folder / "archive")
    spooled(archive, made.records, 4)
    archiver = Archiver(archive, 1)
    while archiver.step():
        pass
    archiver.close()
    with Ledger(folder / "ledger.db") as ledger:
        ledger.append([_record(made, hit) for hit in _hits(made)], blobs=made.program.blobs())
    return folder


def _hits(made: Traffic) -> list[Hit]:
    engine, found = Engine(made.program), list[Hit]()
    for key, truth in made.truth.items():
        engine.open(key, {})
        message, answer = Scope.MESSAGE, Scope.ANSWER
        rest = len(truth.codes) - truth.prompt
        rows = [(key, 0, truth.prompt, int(message)), (key, truth.prompt, rest, int(answer))]
        found += engine.step(ScoreFrame(np.array(rows, SEGMENTS), truth.codes, 0, 0))
        found += engine.close(key, finished=True)
    return found


def _record(made: Traffic, hit: Hit) -> LedgerRecord:
    context = AlertContext(NOON_NS, EPOCH, "lab", "ab" * 32, {"user": "u"}, frozenset(("user",)))
    alert = build_alert(hit, context, Decision("notified", True, ""))
    evidence = body(0, FEATURES, made.truth[hit.key].codes[: hit.position + 65])
    return LedgerRecord(alert.event_id, alert.canonical, evidence, alert.deliverable)


@pytest.mark.parametrize("by", [BY_REQUEST, BY_WINDOW])
def test_every_alert_of_a_ledger_comes_out_the_same(data: Path, by: str) -> None:
    with LedgerReader(data / "ledger.db") as reader:
        again = from_ledger(reader, data / "archive" if by == BY_REQUEST else None)
        alerts = reader.alerts_since(0)
        assert len(alerts) > 10
        for alert in alerts:
            found = again(alert.record)
            assert (found.status, found.by, found.because) == ("same", by, "")
            changed = alert.record | {"value_sum": alert.record["value_sum"] - 1}
            assert again(changed).because.startswith("value_sum: stored is")


def test_a_count_and_the_hits_of_a_window_are_read_from_the_ledger(data: Path) -> None:
    with LedgerReader(data / "ledger.db") as reader:
        store = from_ledger(reader, None).store
        alert = reader.alerts_since(0)[0]
        assert store.record(alert.event_id) == alert.record | {"source": reader.ledger_id}
        assert store.record("0" * 32) is None
        rule, time_ns = alert.record["rule"], alert.record["time_ns"]
        assert [r["event_id"] for r in store.hits_of(rule, time_ns, time_ns + 1)] == [
            one.event_id for one in reader.alerts_since(0)
        ]
        assert list(store.hits_of(rule, time_ns + 1, time_ns + 2)) == []
