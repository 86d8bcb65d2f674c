"""Second looks in a delivery process of its own: asked over HTTP, killed in the middle, and away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.delivery import DeliveryConfig, run_delivery
from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.history.verdicts import stored_verdict
from dosimeter.monitor.sinks.config import StdoutConfig
from tests.monitor.conservation import conserved

RecordOf = Callable[..., LedgerRecord]
PATIENCE_S = 60.0

CHILD = """
import sys
from pathlib import Path
from dosimeter.monitor.cli.deliver import stop_on_signals
from dosimeter.monitor.confirm.config import ConfirmerConfig
from dosimeter.monitor.delivery import DeliveryConfig, run_delivery
from dosimeter.monitor.sinks.config import StdoutConfig
folder, url = Path(sys.argv[1]), sys.argv[2]
config = DeliveryConfig(
    folder / "ledger.db",
    folder / "deliver.db",
    sinks=(StdoutConfig(path=folder / "out.jsonl"),),
    confirmers=(ConfirmerConfig("second-look", url=url, timeout_s=60),),
)
run_delivery(config, stop_on_signals())
"""


class Reviewer(ThreadingHTTPServer):
    """Says no to every third alert. Holds answers back while the gate is shut."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[int] = []
        self.answered: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Reviewer

    def do_POST(self) -> None:
        record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = record["time_ns"] - 1_000_000_000
        self.server.asked.append(number)
        self.server.gate.wait(PATIENCE_S)
        body = json.dumps({"confirm": number % 3 != 0, "reason": "looked", "cost": 0.5}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.answered.append(number)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def reviewer() -> Iterator[Reviewer]:
    with Reviewer() as reviewer:
        thread = threading.Thread(target=reviewer.serve_forever, args=(0.01,))
        thread.start()
        yield reviewer
        reviewer.gate.set()
        reviewer.shutdown()
        thread.join()


def start(folder: Path, url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(folder), url])


def status(folder: Path) -> dict[str, Any]:
    if not (folder / "deliver.db").exists():
        return {}
    conserved(folder)
    return delivery_status(folder / "ledger.db", folder / "deliver.db", now_ns=time.time_ns())


def wait_until(met: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def drained(folder: Path) -> bool:
    sinks = status(folder).get("sinks", {})
    return bool(sinks) and all(sink["queued"] == 0 for sink in sinks.values())


def test_killed_in_the_middle_no_alert_that_was_answered_is_asked_about_again(
    tmp_path: Path, reviewer: Reviewer, record_of: RecordOf
) -> None:
    """Ten are answered and stored; the next ten are under way at kill -9, and are asked about again."""
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.append([record_of(n, confirm="second-look") for n in range(1, 11)])
        child = start(tmp_path, reviewer.url)
        wait_until(lambda: drained(tmp_path))
        reviewer.gate.clear()
        ledger.append([record_of(n, confirm="second-look") for n in range(11, 21)])
        ledger.append([record_of(21)])
        wait_until(lambda: len(reviewer.asked) > 10)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        reviewer.gate.set()
        child = start(tmp_path, reviewer.url)
        try:
            wait_until(lambda: drained(tmp_path))
            child.send_signal(signal.SIGTERM)
            assert child.wait(PATIENCE_S) == 0
        finally:
            child.kill()
            child.wait()
    found = status(tmp_path)
    sink, look = found["sinks"]["stdout"], found["confirm"]["second-look"]
    assert (sink["accepted"], sink["delivered"], sink["withheld"]) == (21, 15, 6)
    assert (look["yes"], look["no"], look["unanswered"]) == (14, 6, 0)
    assert (look["asked"], look["cost"]) == (20, 10.0)
    for number in range(1, 11):
        assert reviewer.asked.count(number) == 1
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    sent = [line["time_ns"] - 1_000_000_000 for line in lines]
    assert sent == [n for n in range(1, 22) if n % 3 != 0 or n == 21]
    verdict = stored_verdict(tmp_path / "deliver.db", 3)
    assert verdict is not None
    assert (verdict.answer, verdict.reason) == ("no", "looked")


def test_without_any_confirmer_everything_goes_out_and_the_status_says_unconfirmed(
    tmp_path: Path, record_of: RecordOf
) -> None:
    out = tmp_path / "out.jsonl"
    config = DeliveryConfig(
        tmp_path / "ledger.db", tmp_path / "deliver.db", (StdoutConfig(path=out),), poll_s=0.01
    )
    stop = threading.Event()
    with Ledger(config.ledger) as ledger:
        ledger.append([record_of(1, confirm="second-look"), record_of(2)])
        thread = threading.Thread(target=run_delivery, args=(config, stop))
        thread.start()
        try:
            wait_until(lambda: drained(tmp_path))
        finally:
            stop.set()
            thread.join(PATIENCE_S)
    found = status(tmp_path)
    assert len(out.read_bytes().splitlines()) == found["sinks"]["stdout"]["delivered"] == 2
    assert found["confirm"] == {
        "second-look": {
            "asked": 0, "yes": 0, "no": 0, "unanswered": 1, "cost": 0.0, "seconds": 0.0,
        }
    }  # fmt: skip
