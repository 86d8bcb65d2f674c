"""Two hundred made-up requests in an archive, and a `dosimeter deliver` beside the outbox of what it keeps."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.history.archive import Archiver, status
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_reader import open_archive
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.scores.outbox import Account, Outbox
from dosimeter.monitor.scores.packed import hand_on
from tests.monitor.history.score_traffic import spooled, traffic
from tests.monitor.sinks.deliver_scene import COMMAND

ALERTS, SCORES = "alerts", "scores"

SAMPLE = 4
MADE = traffic(200, seed=11, features=3, threshold=600, most=1500)
"""Up to 1500 tokens of 3 features: 1365 fit into one record."""


def archived(path: Path, outbox: Outbox, pieces: int = 4) -> dict[str, int]:
    """What the archive says that it did."""
    folder = ArchiveFolder(path)
    spooled(folder, MADE.records, pieces)
    archiver = Archiver(folder, SAMPLE, partial(hand_on, outbox))
    try:
        while archiver.step():
            pass
        return status(archiver)
    finally:
        archiver.close()


def content(folder: Path) -> dict[int, Any]:
    """All that an archive says of each request, by its key."""
    found: dict[int, Any] = {}
    for part in open_archive(folder).parts(["feature_0", "feature_1", "feature_2"]):
        for a, key in enumerate(part.key.tolist()):
            rows = slice(part.offsets[a], part.offsets[a + 1])
            assert key not in found
            found[key] = (
                [codes[rows].tolist() for codes in part.codes],
                [run[1:] for run in part.runs.tolist() if run[0] == a],
                [getattr(part, name)[a].item() for name in PLAIN],
                [getattr(part, n).names[getattr(part, n).of[a]] for n in ("tenant", "route", "program")],
                (part.about.bank, part.about.one_in),
            )  # fmt: skip
    return found


PLAIN = (
    "epoch",
    "first_ns",
    "last_ns",
    "one_in",
    "stratum",
    "uniform",
    "whole",
    "served",
)


class Sidecar:
    """A data-dir with its ledger, its outbox and one `dosimeter deliver`. Close it, and it ends by SIGTERM."""

    def __init__(self, folder: Path, **kafka: object) -> None:
        self.folder, self.config = folder, folder / "sidecar.yaml"
        kafka = {"topic": ALERTS, "scores": SCORES, **kafka}
        text = {"version": 1, "data-dir": ".", "archive": {}, "sinks": {"kafka": kafka}}
        self.config.write_text(json.dumps(text))
        self.outbox = Outbox(folder / "archive" / "outbox")
        self.ledger = Ledger(folder / "ledger.db")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([*COMMAND, str(self.config)])

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(how)
            assert process.wait(60) == (0 if how == signal.SIGTERM else -how)

    @property
    def account(self) -> Account:
        found = self.outbox.account()
        assert found is not None
        return found

    @property
    def alerts(self) -> dict[str, Any]:
        found = delivery_status(
            self.folder / "ledger.db", self.folder / "deliver.db", now_ns=time.time_ns()
        )
        one: dict[str, Any] = found["sinks"].get("kafka", {"queued": -1, "conserved": True})
        assert one["conserved"]
        return one

    def close(self) -> None:
        self.end()
        self.ledger.close()
