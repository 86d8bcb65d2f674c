"""A stage says why it waits, and that it does not turn, before anybody restarts it; what is set for a ledger holds."""

from __future__ import annotations

import json
import queue
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from kafka.errors import KafkaConnectionError

from dosimeter.monitor.config import Config, HttpConfig, LedgerConfig
from dosimeter.monitor.config_fleet import FleetConfig
from dosimeter.monitor.fleet.service import STUCK_S, Turning, run_fleet

PATIENCE_S = 60.0


class Hangs:
    """Its step ends when it is let go."""

    def __init__(self) -> None:
        self.stepping, self.let_go = threading.Event(), threading.Event()

    def step(self, timeout_s: float) -> int:
        self.stepping.set()
        self.let_go.wait(30)
        return 0

    def close(self) -> None: ...


def test_a_stage_that_hangs_says_so_after_a_while_and_not_while_it_is_told_to_end() -> None:
    stage, stop = Hangs(), threading.Event()
    turning = Turning("counting", stage, stop)
    assert stage.stepping.wait(30)
    assert (turning.trouble, turning.alive) == (None, True)
    turning.turned -= STUCK_S
    assert turning.trouble == "it has not turned for 60 s and more: see its log"
    assert not turning.alive
    stop.set()
    assert turning.trouble is None
    stage.let_go.set()
    turning.join(30)


def test_the_quota_of_the_ledger_holds_for_a_member_too(tmp_path: Path) -> None:
    """Until 2026-11-30 it was read, and meant nothing: a member filled the disk."""
    http = HttpConfig(port=0)
    config = Config(tmp_path, http=http, ledger=LedgerConfig(quota=1), fleet=FleetConfig())
    stop, found = threading.Event(), list[Any]()
    ports: queue.SimpleQueue[int] = queue.SimpleQueue()

    def away(*_: object) -> Any:
        raise KafkaConnectionError("away")

    member = threading.Thread(
        target=lambda: found.append(run_fleet(config, stop, ports.put, connect=away))
    )
    member.start()
    try:
        port, error = ports.get(timeout=PATIENCE_S), None
        deadline = time.monotonic() + PATIENCE_S
        while error is None and time.monotonic() < deadline:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as reply:
                error = json.load(reply)["counting"]["error"]
    finally:
        stop.set()
        member.join(PATIENCE_S)
    assert "`ledger.quota`" in error
    assert found == [0]
