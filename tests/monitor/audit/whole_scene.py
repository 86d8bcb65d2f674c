"""A whole history as a person finds it: alerts of two pods, coverage, a gap, signed; for what people ask of it."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.feed.items import Alive, Batch, Blob, Coverage, Hello, Item
from dosimeter.rules.canonical import canonical, digest
from tests.monitor.audit.audit_scene import HOUR_NS, SOURCE, T0, alert, evidence, opened

RULE = canonical({"id": "scam-written", "when": "average('scam') > z 2"})
PROGRAM = canonical({"v": 1, "made": "for tests"})
DAY_NS = 24 * HOUR_NS


def covered(hour: int, served: int, scored: int) -> Coverage:
    begin = T0 + hour * HOUR_NS
    unscored = {"dropped": served - scored} if served != scored else {}
    return Coverage(
        SOURCE, "00000000000000aa", begin, begin + HOUR_NS, served, {"usage": served}, scored, unscored, 0, 9, 9
    )  # fmt: skip


def items(count: int = 12) -> list[Item]:
    """Alerts a minute apart from T0 on, of three tenants; every third in shadow; position 5 is missing."""
    found: list[Item] = [
        Hello(SOURCE, "pod-7", T0 - HOUR_NS, first_seq=1, exact_after=0, last_seq=0),
        Blob(digest(RULE), RULE),
        Blob(digest(PROGRAM), PROGRAM),
    ]
    for n in range(count):
        shadow = n % 3 == 2
        changes: dict[str, Any] = {
            "time_ns": T0 + n * 60 * 10**9,
            "rule_sha256": digest(RULE),
            "program_sha256": digest(PROGRAM),
            "labels": {"tenant": f"tenant-{n % 3}", "user": f"user-{n}", "conversation": f"chat-{n}"},
            "rule": "lies-told" if shadow else "scam-written",
            "feature": "deception" if shadow else "scam",
            "status": "shadow" if shadow else "live",
            "decision": "shadow" if shadow else "notified",
        }  # fmt: skip
        if n != 4:
            found.append(alert(n, body=evidence(n), **changes))
    found += [covered(0, 1000, 1000), covered(1, 1000, 900), covered(2, 500, 500)]
    found.append(Alive(SOURCE, count, T0 + 3 * HOUR_NS))
    return found


@dataclass
class Whole:
    """data: the data-dir; its history is under `history`."""

    data: Path

    @property
    def folder(self) -> HistoryFolder:
        return HistoryFolder(self.data / "history")

    def args(self, *words: str) -> list[str]:
        """A command line, whose first word is the subcommand."""
        return ["audit", words[0], "--data-dir", str(self.data), *words[1:]]

    def ids(self) -> list[str]:
        """Of its alerts, in the order of the log."""
        with HotStore(self.folder.hot, read_only=True) as hot:
            found = hot.db.execute("SELECT id FROM entry WHERE kind = 'alert' ORDER BY idx")
            return [id_.hex() for (id_,) in found.fetchall()]

    def kinds(self) -> list[str]:
        with HotStore(self.folder.hot, read_only=True) as hot:
            return [k for (k,) in hot.db.execute("SELECT kind FROM entry ORDER BY idx").fetchall()]


def whole(data: Path, count: int = 12) -> Whole:
    """Taken in from a feed, and signed. Made once for each count, written anew for each that asks."""
    root = HistoryFolder(data / "history").make().root
    for name, (mode, content) in _made(count).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    return Whole(data)


@functools.cache
def _made(count: int) -> dict[str, tuple[int, bytes]]:
    """Of every file its mode and bytes, by the path in the folder of history."""
    with tempfile.TemporaryDirectory() as name:
        folder = HistoryFolder(Path(name))
        with opened(folder.root, T0 + 3 * HOUR_NS) as appender:
            ingest = Ingest(appender, T0 + 3 * HOUR_NS)
            ingest.take(Batch(tuple(items(count)), {"at": 1}), T0 + 3 * HOUR_NS)
            keeper = Keeper(folder, appender.hot)
            keeper.turn(now=True)
            keeper.close()
        return {
            str(path.relative_to(folder.root)): (path.stat().st_mode, path.read_bytes())
            for path in folder.root.rglob("*")
            if path.is_file()
        }
