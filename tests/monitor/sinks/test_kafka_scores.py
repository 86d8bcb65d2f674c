"""Scores on a broker of Apache Kafka that does not take them: no alert waits, none of them is lost before its time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.lab.readback import read_back
from dosimeter.monitor.scores.packed import unpack
from tests.monitor.scores.scores_scene import Sidecar, archived
from tests.monitor.sinks.apache_scene import Guarded
from tests.monitor.sinks.deliver_scene import wait_until

pytestmark = pytest.mark.parts
ALERTS, SCORES = "alerts-beside-scores", "scores-beside-alerts"


def test_a_login_that_may_not_write_scores_delivers_alerts_and_sends_them_once_it_may(
    guarded: Guarded, tmp_path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    where = guarded.kafka.bootstrap("SECURE")
    sidecar = Sidecar(
        tmp_path, bootstrap=where, topic=ALERTS, scores=SCORES, security=guarded.security()
    )
    for topic in (ALERTS, SCORES):
        init_topic(guarded.kafka.bootstrap(), topic)
    guarded.grant(ALERTS)
    try:
        done = archived(tmp_path / "archive", sidecar.outbox)
        sidecar.start()
        wait_until(lambda: sidecar.account.last_error is not None, lambda: sidecar.account)
        for number in range(1, 6):
            sidecar.ledger.append([record_of(number)])
            wait_until(lambda: sidecar.alerts["queued"] == 0, lambda: sidecar.alerts)
        error = sidecar.account.last_error
        assert error is not None
        assert f"topic `{SCORES}`" in error
        assert "Write and Describe" in error
        assert sidecar.account.waiting == sidecar.account.archived == done["kept_tokens"]
        guarded.grant(SCORES)
        wait_until(lambda: sidecar.account.waiting == 0, lambda: sidecar.account)
        assert sidecar.account.sent == done["kept_tokens"]
    finally:
        sidecar.close()
    found = [unpack(one.value, "x") for one in read_back(guarded.kafka.bootstrap(), SCORES)]
    tokens = {(one.opened.key, one.piece.part): len(one.rows.codes) for one in found}
    assert sum(tokens.values()) == done["kept_tokens"]
    assert len({one.event_id for one in read_back(guarded.kafka.bootstrap(), ALERTS)}) == 5
