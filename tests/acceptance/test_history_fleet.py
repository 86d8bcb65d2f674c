"""One history for a fleet: sidecars ship what their ledgers say, history is fed by the topic, each a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.audit.store.hot import HotStore, StoreError, StoreStalled
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import Account, LedgerRecord
from dosimeter.monitor.lab.broker import EmbeddedBroker
from tests.acceptance.scene import until
from tests.monitor.audit.audit_scene import core, event_id, evidence

pytestmark = pytest.mark.parts
ALERTS = 40
PATIENCE_S = 90.0
"""History gives way to others (nice 5), and four processes start here."""


@contextmanager
def running(*arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `dosimeter` of our own, ended by SIGTERM; its exit code must be 0."""
    command = [sys.executable, "-m", "dosimeter.monitor.cli.main", *arguments]
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ})
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0, log.read_text()[-3000:]


def records(pod: int, first: int, past: int) -> list[LedgerRecord]:
    """Ids and times of one pod are no other's."""
    found = []
    for n in range(first, past):
        one = core(n)
        one["event_id"] = event_id(1000 * pod + n, one["time_ns"])
        data = json.dumps(one, sort_keys=True, separators=(",", ":")).encode()
        found.append(LedgerRecord(one["event_id"], data, evidence(n), deliverable=n % 3 > 0))
    return found


def entries(hot: Path, kind: str) -> list[dict[str, Any]]:
    try:
        with HotStore(hot, read_only=True) as store:
            rows = store.db.execute("SELECT leaf FROM entry WHERE kind = ? ORDER BY idx", (kind,))
            return [json.loads(leaf) for (leaf,) in rows.fetchall()]
    except (StoreError, StoreStalled):  # it has not come up yet
        return []


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_what_two_sidecars_accepted_is_in_one_log_shadow_hits_too_and_a_stop_loses_nothing(
    tmp_path: Path,
) -> None:
    hot = tmp_path / "fleet" / "history" / "hot.db"
    with EmbeddedBroker() as broker, ExitStack() as pods:
        topic = f"{{bootstrap: '{broker.bootstrap}'}}"
        config = written(
            tmp_path / "fleet.yaml",
            f"version: 1\ndata-dir: fleet\nhistory: {{kafka: {topic}, http: {{port: 0}}}}\n",
        )
        ledgers = []
        for pod in (1, 2):
            ledger = pods.enter_context(Ledger(tmp_path / f"pod-{pod}" / "ledger.db"))
            ledger.append(
                records(pod, 0, ALERTS // 2),
                accounts=[Account("aa" * 8, 1000, 990, 0, 5, 5, {"dropped": 10})],
            )
            ledgers.append(ledger)
            own = written(
                tmp_path / f"pod-{pod}.yaml",
                f"version: 1\ndata-dir: pod-{pod}\nhistory: {{name: pod-{pod}, ship: {topic}}}\n",
            )
            log = tmp_path / f"pod-{pod}.log"
            pods.enter_context(running("history", "--config", own, log=log))
        log = tmp_path / "fleet.log"
        with running("history", "--config", config, log=log):
            until(
                lambda: len(entries(hot, "alert")) == ALERTS,
                "the alerts of both",
                PATIENCE_S,
                left=lambda: log.read_text()[-2000:],
            )
        for pod, ledger in enumerate(ledgers, 1):  # while history is down
            ledger.append(records(pod, ALERTS // 2, ALERTS))
        with running("history", "--config", config, log=log):
            until(
                lambda: len(entries(hot, "alert")) == 2 * ALERTS,
                "the rest",
                PATIENCE_S,
                left=lambda: log.read_text()[-3000:],
            )
        found = entries(hot, "alert")
        wanted = {r.event_id for pod in (1, 2) for r in records(pod, 0, ALERTS)}
        assert {one["id"] for one in found} == wanted
        assert not entries(hot, "gap")
        assert not entries(hot, "refused")
        assert {one["name"] for one in entries(hot, "birth")} == {"pod-1", "pod-2"}
    told = json.loads((tmp_path / "pod-1" / "history.cursor").read_text())
    assert told["seq"] == ALERTS  # the sidecar need not keep anything for us
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "dosimeter.monitor.cli.main", "audit", "verify", "--json"),
            *("--data-dir", str(tmp_path / "fleet")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
