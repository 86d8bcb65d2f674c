"""The processes of a sidecar: restarted when they die, drained when they are told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dosimeter.monitor import service
from dosimeter.monitor.chores import DAY_NS
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.config import ArchiveConfig, Config, HttpConfig, LedgerConfig
from dosimeter.monitor.history.counted import Counted
from dosimeter.monitor.history.erasure import erase_in_ledger, erasure_state
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.pipeline import Pipeline
from dosimeter.monitor.rulebook import Rulebook
from dosimeter.monitor.sinks.config import OtlpConfig, StdoutConfig
from dosimeter.monitor.supervising import ENVIRONMENT
from tests.monitor.test_pipeline import Line, Server, folder  # noqa: F401

pytestmark = pytest.mark.parts
PATIENCE_S = 20.0


def until(ready: Callable[[], Any]) -> Any:
    """The first true answer; the pace is that of the processes, not of a clock."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = ready()
        if found:
            return found
        threading.Event().wait(0.02)
    raise AssertionError("nothing happened in time")


class Sidecar:
    """`dosimeter sidecar` as a user starts it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = 0
        (root / "sidecar.yaml").write_text(
            "version: 1\ndata-dir: .\nrules: [rules.yaml]\ncalibrations: [calibration]\n"
            f"http: {{port: {free_port()}}}\nsinks: {{stdout: {{path: out.jsonl}}}}\n"
        )
        self.port = int((root / "sidecar.yaml").read_text().split("port: ")[1].split("}")[0])
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "dosimeter.monitor.cli.main", "sidecar"]
        self.process = subprocess.Popen([*command, "--config", str(self.root / "sidecar.yaml")])
        until(self.ready)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=5) as reply:
            found: dict[str, Any] = json.load(reply)
            return found

    def line_pid(self) -> int:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in listed.split():
            if "--line-only" in Path(f"/proc/{pid}/cmdline").read_text():
                return int(pid)
        raise AssertionError("no line is running")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE_S)


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def sidecar(folder: Path) -> Iterator[Sidecar]:  # noqa: F811
    one = Sidecar(folder)
    yield one
    if one.process.poll() is None:
        one.stop()


def alert(server: Server, key: int) -> None:
    server.open(key, prompt=1)
    server.run(key, 0, [0, 5, 5, 5, 5])


def test_killed_under_traffic_it_returns_loses_no_alert_and_counts_the_gap(
    sidecar: Sidecar,
    folder: Path,  # noqa: F811
) -> None:
    server = Server(folder)
    alert(server, 1)
    until(lambda: sidecar.status()["ledger"]["committed"] == 1)
    os.kill(sidecar.line_pid(), signal.SIGKILL)
    server.run(1, 5, [0, 0])  # into a socket that nobody reads, or into none
    handed = server.sender.counters()["rows_emitted"] - server.sender.counters()["rows_dropped"]
    until(sidecar.ready)
    until(lambda: server.sender.tick() or server.sender.connected)
    server.run(1, 7, [0, 0])
    unsent = 7 - handed
    errors = {"no_sidecar": unsent} if unsent else {}
    server.close(1, served=9, emitted=9 - unsent, errors=errors)
    server.beat()
    until(lambda: sidecar.status()["coverage"]["served"] == 9)
    coverage = sidecar.status()["coverage"]
    assert coverage["scored"] == 2
    assert sum(coverage["unscored"].values()) == 7
    assert coverage["unscored"]["sidecar_restart"] == handed
    assert coverage["unaccounted"] == 0
    alert(server, 2)
    until(lambda: sidecar.status()["ledger"]["committed"] == 1)
    assert sidecar.stop() == 0
    with LedgerReader(folder / "ledger.db") as reader:
        assert reader.count() == 2


def test_paused_by_command_it_looks_away_until_told_and_a_restart_changes_nothing(
    sidecar: Sidecar,
    folder: Path,  # noqa: F811
) -> None:
    which = ["--config", str(folder / "sidecar.yaml")]
    assert main(["pause", *which, "--for", "15m", "--reason", "INC-441"]) == 0
    os.kill(sidecar.line_pid(), signal.SIGKILL)
    until(lambda: sidecar.ready() and sidecar.status()["paused"])
    server = Server(folder)
    alert(server, 1)
    until(lambda: sidecar.status()["paused"]["tokens"] == 5)
    assert main(["resume", *which]) == 0
    server.close(1, served=5, emitted=5)
    server.beat()
    until(lambda: sidecar.status()["coverage"]["served"] == 5)
    assert sidecar.status()["coverage"]["unscored"] == {"paused": 5}
    alert(server, 2)
    until(lambda: sidecar.status()["alerts"])
    assert sidecar.stop() == 0
    with LedgerReader(folder / "ledger.db") as reader:
        kinds = [(one.record["kind"], one.record.get("state")) for one in reader.alerts_since()]
    assert kinds == [("pause", "began"), ("pause", "ended"), ("alert", None)]


def test_told_to_stop_it_takes_in_what_is_on_the_wire_and_leaves_no_socket(
    sidecar: Sidecar,
    folder: Path,  # noqa: F811
) -> None:
    server = Server(folder)
    os.kill(sidecar.line_pid(), signal.SIGSTOP)
    alert(server, 1)
    pid = sidecar.line_pid()
    sidecar.process.terminate()
    os.kill(pid, signal.SIGCONT)
    assert sidecar.process.wait(PATIENCE_S) == 0
    assert not (folder / "tap.sock").exists()
    with LedgerReader(folder / "ledger.db") as reader:
        assert reader.count() == 1


def test_a_supervisor_that_is_killed_leaves_nothing_behind(sidecar: Sidecar) -> None:
    listed = Path(f"/proc/{sidecar.process.pid}/task/{sidecar.process.pid}/children")
    pids = until(lambda: found if len(found := listed.read_text().split()) == 2 else None)
    sidecar.process.kill()
    sidecar.process.wait(PATIENCE_S)
    until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))
    sidecar.start()
    assert sidecar.stop() == 0


def test_alerts_reach_the_sink_of_the_second_process(sidecar: Sidecar, folder: Path) -> None:  # noqa: F811
    alert(Server(folder), 1)
    lines = until(lambda: (folder / "out.jsonl").exists() and (folder / "out.jsonl").read_text())
    assert json.loads(lines.splitlines()[0])["rule"] == "rising"


def test_a_second_sidecar_on_the_same_data_ends_and_says_why(
    sidecar: Sidecar,
    folder: Path,  # noqa: F811
) -> None:
    command = [sys.executable, "-m", "dosimeter.monitor.cli.main", "sidecar"]
    config = str(folder / "sidecar.yaml")
    second = subprocess.run(
        [*command, "--config", config], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert second.returncode == ENVIRONMENT
    assert "ledger.db: already being written" in second.stderr
    assert sidecar.ready()


def test_rules_that_do_not_load_refuse_the_first_start_with_their_place(folder: Path) -> None:  # noqa: F811
    (folder / "rules.yaml").write_text("version: 1\nrules: [{rule: X}]\n")
    (folder / "sidecar.yaml").write_text("version: 1\ndata-dir: .\nrules: [rules.yaml]\n")
    command = [sys.executable, "-m", "dosimeter.monitor.cli.main", "sidecar"]
    config = str(folder / "sidecar.yaml")
    found = subprocess.run(
        [*command, "--config", config], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert found.returncode == 4
    assert "rules.yaml:2:" in found.stderr


def test_an_archive_that_cannot_be_opened_costs_no_line_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive").write_text("a file where a folder should be")
    monkeypatch.setattr(service, "ARCHIVE_AGAIN_S", 0.02)
    config = Config(data_dir=tmp_path, archive=ArchiveConfig(), http=HttpConfig(port=free_port()))
    stop, seen = threading.Event(), list[object]()

    def ready(pipeline: Pipeline, _: int) -> None:
        status = pipeline.recorder.status() or {}
        seen.append(status["stalled"])
        (tmp_path / "archive").unlink()
        until(lambda: pipeline.recorder.spool is not None)
        seen.append((pipeline.recorder.status() or {})["stalled"])
        stop.set()

    assert service.run_line(config, stop, ready) == 0
    assert "archive" in str(seen[0])
    assert seen[1] is None


def test_who_looks_again_does_not_count_the_whole_ledger_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a million alerts each look took half a second of a core, and the metrics look every five, for nothing."""
    looks, measured = list[object](), list[dict[str, Any]]()

    def delivery(*files: Path, now_ns: int, counted: object = None) -> dict[str, Any]:
        looks.append(counted)
        return {"sinks": {}, "confirm": {}}

    def observe(*args: Any) -> Callable[[], None]:
        measured.append(args[2]())
        return lambda: None

    monkeypatch.setattr(service, "delivery_status", delivery)
    monkeypatch.setattr(service, "_observe", observe)
    config = Config(
        data_dir=tmp_path,
        sinks=(StdoutConfig("stdout", tmp_path / "out.jsonl"),),
        telemetry=OtlpConfig(),
        http=HttpConfig(port=0),
    )
    stop = threading.Event()

    def ready(_: Pipeline, port: int) -> None:
        for _ in range(2):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as reply:
                assert json.load(reply)["delivery"]["sinks"] == {}
        stop.set()

    assert service.run_line(config, stop, ready) == 0
    assert isinstance(looks[0], Counted)
    assert looks[1] is looks[0]
    assert "delivery" not in measured[0]


def test_ledger_and_spool_that_do_not_end_take_no_longer_than_the_supervisor_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, told = [0.0], list[str]()

    def hangs(who: str) -> Callable[[float], bool]:
        def stop(timeout_s: float) -> bool:
            told.append(who)
            now[0] += timeout_s
            return False

        return stop

    def turn(wait_s: float) -> int:
        now[0] += wait_s
        return 1

    monkeypatch.setattr(service, "time", SimpleNamespace(monotonic=lambda: now[0]))
    pipeline: Any = SimpleNamespace(
        receiver=SimpleNamespace(stop_accepting=lambda: None),
        turn=turn,
        flush=lambda: None,
        writer=SimpleNamespace(stop=hangs("ledger")),
        recorder=SimpleNamespace(spool=SimpleNamespace(stop=hangs("spool"), stalled="slow")),
    )
    assert not service._drain(pipeline)
    assert told[:2] == ["spool", "ledger"]  # both write at the same time
    assert now[0] < service.DRAIN_S + service.COMMIT_S + 1


def test_what_a_connection_said_that_was_not_accepted_yet_is_taken_in(folder: Path) -> None:  # noqa: F811
    line = Line(folder)
    alert(Server(folder), 1)
    line.writer.start()
    assert service._drain(line.pipeline)
    line.close()
    assert len(line.ledger.records) == 1


def test_an_erasure_that_is_asked_for_while_it_runs_is_done_by_the_line(
    sidecar: Sidecar,
    folder: Path,  # noqa: F811
) -> None:
    server = Server(folder)
    server.open(1, prompt=1, user="planted-4711")
    server.run(1, 0, [0, 5, 5, 5, 5])
    until(lambda: (folder / "out.jsonl").exists() and (folder / "out.jsonl").read_text())
    with LedgerReader(folder / "ledger.db") as reader:
        (stored,) = reader.alerts_since()
    assert stored.labels["user"] == "planted-4711"
    request = erase_in_ledger(folder, [stored.event_id], time.time_ns())
    until(lambda: erasure_state(folder, request) == "done")
    until(lambda: sidecar.status()["ledger"]["erased"] == 1)
    found = sidecar.status()["ledger"]
    assert (found["pruned"], found["held_by"], found["upkeep_error"]) == (0, None, None)
    assert found["oldest_s"] > 0
    for path in folder.glob("*.db*"):
        assert b"planted-4711" not in path.read_bytes()
    assert sidecar.stop() == 0


COUNTED = """
  - rule: {rule}-often
    when: {{count: hits, of: [{rule}], more-than: 2, within: 20d}}
    group-by: [tenant]
    status: live
    severity: high
    owner: sre
    summary: "{{count}} {{counted}} of {{tenant}} in {{within}}"
"""


def test_what_a_count_reads_back_after_a_restart_is_kept(folder: Path) -> None:  # noqa: F811
    config = Config(data_dir=folder, ledger=LedgerConfig(days=2))
    path = folder / "rules.yaml"
    book = Rulebook((path,), (folder / "calibration",))
    assert service._keep_ns(config, book) == 2 * DAY_NS
    rule = path.read_text().split("rule: ")[1].split()[0]
    path.write_text(path.read_text() + COUNTED.format(rule=rule))
    book = Rulebook((path,), (folder / "calibration",))
    assert service._keep_ns(config, book) == 20 * DAY_NS
