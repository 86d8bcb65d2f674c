"""A pod that is deleted, and the next one: with its ledger on a volume, and with a ledger that was the pod's own.

What Kubernetes does with the folder is played by this test (it is left, or deleted between two lives); the processes'
end and what they find again is real. Not shown: a kubelet, a claim that moves to another node.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dosimeter.monitor.feed.items import Alert
from dosimeter.monitor.feed.ledger_feed import LedgerFeed
from dosimeter.monitor.feed.watcher import (
    GRACE_NS,
    SILENT_NS,
    Birth,
    Death,
    Finding,
    Gap,
    Watcher,
)
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.lane import Backoff, Lane
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, retry
from tests.monitor.conservation import conserved

PATIENCE_S = 30.0


class Consumer:
    """Takes so many alerts, and is away then. came: their ids, as often as they came."""

    name = "kafka"

    def __init__(self, most: int) -> None:
        self.most, self.came = most, list[str]()

    def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
        taken = batch[: self.most - len(self.came)]
        self.came += [alert.event_id for alert in taken]
        return [DELIVERED] * len(taken) + [retry("away")] * (len(batch) - len(taken))

    def close(self) -> None: ...


def deliver(folder: Path, to: Consumer) -> None:
    """Until it waits: for more alerts, or for a consumer that is away."""
    with (
        LedgerReader(folder / "ledger.db") as ledger,
        CursorStore(folder / "deliver.db", ledger_id=ledger.ledger_id) as store,
    ):
        store.register([to.name])
        lane = Lane(to, ledger, store, backoff=Backoff(0.1, 5.0), ask=lambda alert: None)
        while lane.step() == 0.0:
            pass


def shipped(folder: Path, watcher: Watcher, now_ns: int, alerts: int) -> tuple[int, list[Finding]]:
    """How many alerts came to history, at least so many, and what it finds in them and in the signs of life between."""
    feed, came, found = LedgerFeed(folder / "ledger.db", "pod"), 0, list[Finding]()
    while came < alerts:
        items = feed.read(now_ns, limit=min(100, alerts)).items
        came += sum(isinstance(item, Alert) for item in items)
        found += watcher.see(items, now_ns)
    feed.close()
    return came, found


def killed_after(folder: Path, life: int, alerts: int) -> set[str]:
    """A line's writer, killed with SIGKILL once it has said that it accepted so many; returns all that it said."""
    said = folder.with_name(f"said-{life}")
    with said.open("wb") as out:
        line = subprocess.Popen(
            [sys.executable, "-m", "dosimeter.monitor.chaos.kill_line",
             str(folder / "ledger.db"), str(life)],
            stdout=out,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE_S
        while said.read_bytes().count(b"\n") < alerts:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        line.kill()
        line.wait()
    return set(said.read_text().split("\n")[:-1])


@pytest.mark.parts
def test_on_a_volume_nothing_is_lost_with_the_pod(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    consumer = Consumer(most=20)
    accepted = killed_after(folder, 1, 40)
    deliver(folder, consumer)
    assert conserved(folder)["kafka"]["queued"] >= 20  # the pod was deleted with these
    accepted |= killed_after(folder, 2, 40)
    consumer.most = 1 << 30
    deliver(folder, consumer)
    assert accepted <= set(consumer.came)
    assert conserved(folder)["kafka"]["queued"] == 0


def test_what_is_lost_with_a_pod_that_had_the_ledger_to_itself_is_stated(
    tmp_path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    """300 accepted, 120 with the consumer, 200 or so with history: the rest is lost to both, and history says which."""
    folder, consumer, watcher = tmp_path / "data", Consumer(most=120), Watcher()
    now_ns = 10**18
    with Ledger(folder / "ledger.db", now_ns=lambda: now_ns) as ledger:
        ledger.append([record_of(n) for n in range(300)])
        deliver(folder, consumer)
        came, _ = shipped(folder, watcher, now_ns, 200)
        before = conserved(folder)["kafka"]
    assert (before["accepted"], before["delivered"], before["queued"]) == (300, 120, 180)

    shutil.rmtree(folder)  # an emptyDir ends with its pod
    now_ns += SILENT_NS
    with Ledger(folder / "ledger.db", now_ns=lambda: now_ns) as ledger:
        ledger.append([record_of(n) for n in range(1000, 1005)])
        consumer.most = 1 << 30
        deliver(folder, consumer)
        _, found = shipped(folder, watcher, now_ns, 5)
        after = conserved(folder)["kafka"]
    lost = {f"{n:032x}" for n in range(300)}.difference(consumer.came)
    assert lost == {f"{n:032x}" for n in range(120, 300)}
    assert (after["accepted"], after["delivered"]) == (5, 5)  # it knows of none before its own
    [birth] = [one for one in found if isinstance(one, Birth)]
    [death] = [one for one in found if isinstance(one, Death)]
    assert (birth.name, birth.first_seq, birth.resumed) == ("pod", 1, False)
    assert birth.source != death.source
    assert (death.reason, death.last_seq, death.received) == ("silent", 300, came)
    gaps = found + watcher.see([], now_ns + GRACE_NS)
    assert [one for one in gaps if isinstance(one, Gap)] == [Gap(death.source, came + 1, 300)]
