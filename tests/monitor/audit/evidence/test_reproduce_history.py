"""What a history keeps is enough: every alert of it comes out the same, sealed or not, until it is erased."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.frames import SEGMENTS, Scope, ScoreFrame
from dosimeter.monitor.audit.evidence.reproduce import BY_WINDOW
from dosimeter.monitor.audit.evidence.reproduce_history import HistoryStore, from_history
from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.audit.store.sealing import Sealer
from dosimeter.monitor.evidence import body
from dosimeter.monitor.feed.items import Alert, Batch, Blob
from dosimeter.rules.alert import AlertContext, build_alert
from dosimeter.rules.decide import Decision
from dosimeter.rules.engine import Engine, Hit
from tests.monitor.audit.audit_scene import SOURCE, T0, opened
from tests.monitor.history.score_traffic import Traffic, traffic

FEATURES = ("feature_0", "feature_1")
LABELS = {"tenant": "city-post", "user": "user-7", "conversation": "talk"}


def items(made: Traffic, count: int) -> Iterator[Alert]:
    """As the engine decides them on that traffic."""
    engine, hits = Engine(made.program), list[Hit]()
    for key, truth in made.truth.items():
        engine.open(key, {})
        rest = len(truth.codes) - truth.prompt
        rows = [
            (key, 0, truth.prompt, int(Scope.MESSAGE)),
            (key, truth.prompt, rest, int(Scope.ANSWER)),
        ]
        hits += engine.step(ScoreFrame(np.array(rows, SEGMENTS), truth.codes, 0, 0))
        hits += engine.close(key, finished=True)
    for seq, hit in enumerate(hits[:count], 1):
        context = AlertContext(T0 + seq, 7, "lab", "ab" * 32, LABELS, frozenset(LABELS), "all")
        alert = build_alert(hit, context, Decision("notified", True, ""))
        kept = body(0, FEATURES, made.truth[hit.key].codes[: hit.position + 65])
        yield Alert(SOURCE, seq, alert.event_id, alert.canonical, kept, True)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = traffic(60, seed=6, threshold=500)
    blobs = [Blob(sha256, data) for sha256, data in made.program.blobs().items()]
    with opened(tmp_path / "history") as appender:
        Ingest(appender, "feed").take(Batch((*blobs, *items(made, 6)), {}), T0)
    with History.open(tmp_path / "history") as found:
        found.settle()
        yield found


def again(history: History) -> list[tuple[str, str]]:
    reproducer = from_history(history, None)
    rows = history.rows("alerts")
    found = [reproducer(history.whole(row).record) for row in rows]
    return [(one.status, one.by) for one in found]


def test_every_alert_comes_out_the_same_sealed_or_not(history: History) -> None:
    before = again(history)
    assert Counter(before) == {("same", BY_WINDOW): 6}
    sealer = Sealer(history.hot, history.folder, grace_ns=0)
    assert sealer.seal(history.log.size, history.log.size) is not None
    assert again(history) == before


def test_what_was_erased_cannot_be_decided_again(history: History) -> None:
    subject = history.whole(history.rows("alerts")[0]).entry["subject"]
    store = HistoryStore(history)
    record = history.whole(history.rows("alerts")[0]).record
    labelled = store.record(str(record["event_id"]))
    assert labelled is not None
    assert labelled["labels"] == LABELS
    history.keys.destroy(bytes.fromhex(subject))
    assert {status for status, _ in again(history)} == {"cannot"}
    bare = store.record(str(record["event_id"]))
    assert bare is not None
    assert "labels" not in bare


def test_hits_of_a_rule_come_in_the_order_of_acceptance(history: History) -> None:
    rule = str(history.rows("alerts")[0]["rule"])
    found = list(HistoryStore(history).hits_of(rule, T0 + 2, T0 + 5))
    assert [one["time_ns"] for one in found] == [T0 + 2, T0 + 3, T0 + 4]
    assert HistoryStore(history).record("ff" * 16) is None
