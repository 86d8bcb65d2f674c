"""A real small history behind the source of the pages: alerts of three tenants, and scores of quiet requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.answers.source import HistorySource
from dosimeter.monitor.audit.history import History, dicts
from dosimeter.monitor.config import Config
from dosimeter.monitor.config_history import HistoryConfig
from dosimeter.monitor.history.archive import Archiver
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.pages.source import Reader
from tests.monitor.audit.audit_scene import HOUR_NS, T0
from tests.monitor.audit.whole_scene import Whole, whole
from tests.monitor.history.score_traffic import NOON_NS, spooled, traffic

NOW_NS = T0 + 3 * HOUR_NS
QUIET_NS = NOON_NS + HOUR_NS
"""The same day as the quiet requests, which is months before the alerts."""
ROLES = frozenset({"viewer", "reviewer", "author", "approver", "auditor", "operator"})
ALL = Reader("rita", None, ROLES)
REVIEWER = frozenset({"reviewer"})
ONE = Reader("otto", frozenset({"tenant-1"}), REVIEWER)
"""Sees tenant-1 alone: alerts 1, 7 and 10 of the scene."""


@dataclass
class Answers:
    """source: what is tried. now_ns: what it takes for now; said: what the process that writes says of itself."""

    whole: Whole
    history: History
    source: HistorySource = field(init=False)
    asked: Asked = field(init=False)
    now_ns: int = NOW_NS
    said: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = Config(data_dir=self.whole.data)
        self.asked = Asked(
            self.history, config, HistoryConfig(), lambda: self.said, lambda: self.now_ns
        )
        self.source = HistorySource(self.asked)

    def rows(self, name: str, **params: Any) -> list[dict[str, Any]]:
        return dicts(self.history.queries.run(name, **params))

    def alerts(self) -> list[dict[str, Any]]:
        """In order of time: number n of the scene is of tenant n % 3, and number 4 is missing."""
        return self.rows("alerts", limit=1000)[::-1]

    def alert(self, n: int) -> dict[str, Any]:
        (found,) = [row for row in self.alerts() if row["key"] == f"{n:016x}"]
        return found

    def accesses(self) -> list[dict[str, Any]]:
        """Those since the beginning, in order, with what was asked."""
        found = self.rows("access", limit=1000)[::-1]
        return [row | {"what": json.loads(row["more"])["what"]} for row in found if row["more"]]


@contextmanager
def answers(data: Path, count: int = 12) -> Iterator[Answers]:
    scene = whole(data, count)
    with History.open(scene.folder.root) as history:
        yield Answers(scene, history)


def with_quiet_requests(data: Path) -> None:
    """An archive of 60 requests, of tenants `tenant-0` to `tenant-2` by their key; a few of them raised alerts."""
    folder = ArchiveFolder(data / "archive")
    spooled(folder, traffic(60, seed=4, threshold=500).records, 2)
    archiver = Archiver(folder, 1)
    while archiver.step():
        pass
    archiver.close()


def failing(error: Exception) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails
