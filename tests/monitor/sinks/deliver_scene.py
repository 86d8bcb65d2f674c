"""`dosimeter deliver` as an operator runs it, beside a ledger that goes on taking alerts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord

PATIENCE_S = 60.0
COMMAND = (sys.executable, "-m", "dosimeter.monitor.cli.main", "deliver", "--config")


def wait_until(met: Callable[[], bool], what: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, f"not in time: {what()}"
        time.sleep(0.02)


class Delivering:
    """One ledger, and one process at a time that delivers it. Close it, and it ends by SIGTERM, with exit 0."""

    def __init__(self, folder: Path, sinks: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._config = folder, folder / "dosimeter.yaml"
        self._process: subprocess.Popen[bytes] | None = None
        self.ledger = Ledger(folder / "ledger.db")
        self.accepted: dict[str, bytes] = {}
        self.begin(sinks)

    def begin(self, sinks: dict[str, Any]) -> None:
        """With these sinks; the process before it ends as a service manager ends it."""
        self.end()
        text = json.dumps(
            {"version": 1, "data-dir": str(self._folder), "sinks": sinks}
        )  # YAML has JSON in it
        self._config.write_text(text)
        self._process = subprocess.Popen([*COMMAND, str(self._config)])

    def accept(self, records: Sequence[LedgerRecord]) -> None:
        self.ledger.append(records)
        self.accepted |= {one.event_id: one.core for one in records if one.deliverable}

    def sink(self, name: str = "kafka") -> dict[str, Any]:
        """Where it stands; accepted = delivered + dead + withheld + queued at every look."""
        folder = self._folder
        found = delivery_status(folder / "ledger.db", folder / "deliver.db", now_ns=time.time_ns())
        one: dict[str, Any] = found["sinks"].get(name, {"queued": -1, "last_error": None})
        assert one.get("conserved", True), one
        return one

    def said(self, *words: str) -> bytes:
        """What `dosimeter deliver` prints, with these words after its configuration."""
        command = [*COMMAND, str(self._config), *words]
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout

    def fails_with(self, *words: str, of: str = "kafka") -> None:
        """Wait until it has failed with all these words; it still runs, and has given nothing up."""

        def met() -> bool:
            said = str(self.sink(of)["last_error"])
            return all(word in said for word in words)

        wait_until(met, lambda: self.sink(of))
        assert self._process is not None
        assert self._process.poll() is None
        assert self.sink(of)["queued"] == len(self.accepted)

    def drained(self, name: str = "kafka") -> dict[str, Any]:
        wait_until(lambda: self.sink(name)["queued"] == 0, lambda: self.sink(name))
        return self.sink(name)

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(PATIENCE_S) == 0
            finally:
                process.kill()
                process.wait()

    def __enter__(self) -> Delivering:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.ledger.close()
