"""Questions over a sealed history of any size: by id, a day of one tenant, and over all of it, warm and cold.

Warm: asked again and again, each time of something else. Cold: by a process that has just begun, of files that the
kernel was told to forget. It makes no history itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dosimeter.monitor.audit.queries.beside import THREADS
from dosimeter.monitor.audit.queries.query import Queries
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.bench.audit_rows import BEGIN_NS, DAY_NS, DAYS
from dosimeter.monitor.bench.figures import Figure

ASKED, COLD = 24, 3
GOALS = {
    "by id": 20,
    "a day of one tenant": 150,
    "the newest 100 of a tenant's day": 150,
    "all of history": 1000,
    "people of all of history": 1000,
}
"""Milliseconds, at 10^7 entries on two cores."""
Question = tuple[str, Mapping[str, Any]]


def figures(folder: HistoryFolder, asked: int = ASKED) -> list[Figure]:
    found = [Figure("queries: threads of DuckDB", THREADS, "")]
    for kind, each in _questions(folder, asked).items():
        cold = [_cold(folder, one) for one in each[:COLD]]
        with Queries(folder) as queries:
            queries.run(each[0][0], **each[0][1])
            warm = [_timed(partial(queries.run, one[0], **one[1])) for one in each]
        middle, late = np.percentile(warm, (50, 95))
        found += [
            Figure(f"{kind}: median of {len(warm)}", float(middle), "ms", f"<= {GOALS[kind]}"),
            Figure(f"{kind}: 95th percentile", float(late), "ms"),
            Figure(f"{kind}: cold, median of {len(cold)}", float(np.median(cold)), "ms"),
        ]
    return found + _people(folder)


def _people(folder: HistoryFolder) -> list[Figure]:
    """How many different users and conversations: the first time that a process is asked, and again."""
    kind, found = "people of all of history", list[Figure]()
    with Queries(folder) as queries:
        for turn in ("the first time", "again"):
            core = time.process_time()
            taken = _timed(partial(queries.run, "people", kind="alert"))
            core = 1000 * (time.process_time() - core)
            found += [
                Figure(f"{kind}: {turn}", taken, "ms", f"<= {GOALS[kind]}"),
                Figure(f"{kind}: {turn}, of the cores", core, "ms"),
            ]
    return found


def _questions(folder: HistoryFolder, asked: int) -> dict[str, Sequence[Question]]:
    dice = Random(1)
    ids, tenants = sample(folder, dice, asked)
    days = [BEGIN_NS + dice.randrange(DAYS) * DAY_NS for _ in range(asked)]
    bounded = [
        {"kind": "alert", "tenant": tenant, "from_ns": day, "to_ns": day + DAY_NS}
        for tenant, day in zip(tenants, days, strict=True)
    ]
    whole = [{"kind": "alert", "limit": 5 + n} for n in range(asked)]
    return {
        "by id": [("alert_by_id", {"prefix": one.hex()}) for one in ids],
        "a day of one tenant": [("count_by_severity", one) for one in bounded],
        "the newest 100 of a tenant's day": [("alerts", one | {"limit": 100}) for one in bounded],
        "all of history": [("top_rules", one) for one in whole],
    }


def sample(folder: HistoryFolder, dice: Random, count: int) -> tuple[list[bytes], list[str]]:
    """Ids of alerts anywhere in it, and the tenants of these in hex."""
    ids, tenants = list[bytes](), list[str]()
    paths = sorted(folder.core.glob("*.parquet"))
    while len(ids) < count:
        with pq.ParquetFile(dice.choice(paths)) as file:
            group = dice.randrange(file.num_row_groups)
            table = file.read_row_group(group, columns=["id", "tenant"]).to_pydict()
        at = dice.randrange(len(table["id"]))
        if table["tenant"][at] is not None:
            ids.append(table["id"][at])
            tenants.append(table["tenant"][at].hex())
    return ids, tenants


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def _cold(folder: HistoryFolder, one: Question) -> float:
    for path in (*folder.core.glob("*.parquet"), folder.hot):
        _forget(path)

    def ask() -> None:
        with Queries(folder) as queries:
            queries.run(one[0], **one[1])

    return _timed(ask)


def _forget(path: Path) -> None:
    """What is on disk of it is read from there next time."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
        os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(opened)
