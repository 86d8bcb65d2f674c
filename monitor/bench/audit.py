"""`dosimeter bench audit`: ingest, bytes at rest, questions, verification, pages and gaps of history, in one run.

Questions are asked of `rows` made-up entries, of which 10^7 is the stated size; pages of a million at most. What is
measured is in the files beside this one; it owns their order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.bench import (
    audit_ingest,
    audit_pages,
    audit_pods,
    audit_queries,
    audit_verify,
)
from dosimeter.monitor.bench.audit_rows import write_history
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed

ROWS, PAGED = 1_000_000, 1_000_000


def run(rows: int = ROWS) -> Result:
    undisturbed()
    return Result("audit", tuple(_figures(rows)))


def _figures(rows: int) -> Iterator[Figure]:
    yield from audit_ingest.figures()
    yield from audit_verify.figures()
    with tempfile.TemporaryDirectory(prefix="dosimeter-history-") as name:
        folder = _made(Path(name) / "large", rows)
        size = sum(path.stat().st_size for path in folder.core.iterdir())
        yield Figure("queries: entries", rows, "")
        yield Figure("queries: core at rest", size / rows, "B an entry", "<= 200")
        yield from audit_queries.figures(folder)
        paged = Path(name) / "large"
        if rows > PAGED:
            paged = Path(name) / "paged"
            _made(paged, PAGED)
        yield Figure("pages: entries", min(rows, PAGED), "")
        yield from audit_pages.figures(paged)
    yield from audit_pods.figures()


def _made(data: Path, rows: int) -> HistoryFolder:
    folder = HistoryFolder(data / "history").make()
    with HotStore(folder.hot) as hot:
        write_history(folder, hot, rows)
    return folder
