"""The pages of a large history, asked for over a socket as a browser does: how long each takes, and how many bytes.

The history is a made-up one with a log of its length, and the newest alerts are a moment old. It owns which pages are
asked for; what is on them is the pages' own.
"""

from __future__ import annotations

import http.cookiejar
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import numpy as np

from dosimeter.monitor.answers.serve import Pages
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.audit.store.opening import KEY
from dosimeter.monitor.bench.audit_queries import sample
from dosimeter.monitor.bench.audit_rows import BEGIN_NS, DAY_NS, DAYS
from dosimeter.monitor.bench.audit_verify import write_log
from dosimeter.monitor.bench.figures import Figure
from dosimeter.monitor.config import Config
from dosimeter.monitor.config_history import HistoryConfig
from dosimeter.monitor.tlog.note import Signer

ASKED = 20
GOAL_MS, GOAL_KB = 100, 150
PUT_NAME = "INSERT INTO name (kind, tenant, value, id, owner) VALUES ('tenant', x'', ?, ?, NULL)"


def figures(data: Path) -> list[Figure]:
    """data: a data-dir whose `history` has sealed entries and no log yet."""
    folder = HistoryFolder(data / "history")
    tenants = _complete(folder)
    found = list[Figure]()
    with _served(data) as get:
        for page, paths in _paths(folder, tenants).items():
            get(paths[0])
            taken, sizes = zip(*map(get, paths), strict=True)
            middle, late = np.percentile(taken, (50, 95))
            found += [
                Figure(f"page {page}: median", float(middle), "ms", f"<= {GOAL_MS}"),
                Figure(f"page {page}: 95th percentile", float(late), "ms"),
                Figure(f"page {page}: at most", max(sizes) / 1000, "KB", f"<= {GOAL_KB}"),
            ]
    return found


def _complete(folder: HistoryFolder) -> dict[str, str]:
    """A log, and names for its tenants. Returns name -> id in hex of some."""
    signer = Signer.generate("bench")
    with HotStore(folder.hot) as hot:
        write_log(folder.log, signer, hot.size)
    signer.save(folder.signing_key)
    (folder.log / KEY).write_text(signer.verifier.vkey + "\n")
    KeyStore(folder.keys).close()
    _, ids = sample(folder, Random(3), ASKED)
    names = {f"tenant-{n:02d}": id_ for n, id_ in enumerate(dict.fromkeys(ids))}
    import sqlite3

    with closing(sqlite3.connect(folder.keys)) as db, db:
        db.executemany(PUT_NAME, [(name, bytes.fromhex(id_)) for name, id_ in names.items()])
    return names


def _paths(folder: HistoryFolder, tenants: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """Each ASKED times, of something else where there is something else."""
    dice = Random(2)
    ids, ours = sample(folder, dice, ASKED)
    names = [dice.choice(list(tenants)) for _ in range(ASKED)]
    rules = [f"team-{n % 4}.rule-{n % 20:02d}" for n in range(ASKED)]
    days = [_day(dice.randrange(DAYS - 2)) for _ in range(ASKED)]
    subjects = _subjects(folder, ids)
    return {
        "overview": ["/"] * ASKED,
        "queue": ["/queue"] * ASKED,
        "queue, one tenant": [f"/queue?tenant={name}" for name in names],
        "queue, one rule": [f"/queue?rule={rule}" for rule in rules],
        "queue, one day": [f"/queue?from={a}&to={b}" for a, b in days],
        "alert": [f"/alerts/{id_.hex()}" for id_ in ids],
        "case, a user": [f"/cases/user/{one}" for one in subjects],
        "case, a tenant": [f"/cases/tenant/{one}" for one in ours],
        "rules": ["/rules"] * ASKED,
        "rule": [f"/rules/{rule}" for rule in rules],
        "audit": ["/audit"] * ASKED,
    }


def _subjects(folder: HistoryFolder, ids: Sequence[bytes]) -> list[str]:
    from dosimeter.monitor.audit.queries.query import Queries

    with Queries(folder) as queries:
        rows = [queries.run("alert_by_id", prefix=one.hex()).dicts()[0] for one in ids]
    return [bytes(row["subject"]).hex() for row in rows if isinstance(row["subject"], bytes)]


def _day(n: int) -> tuple[str, str]:
    begin = (BEGIN_NS + n * DAY_NS) // 10**9
    each = (time.strftime("%Y-%m-%d", time.gmtime(at)) for at in (begin, begin + 86_400))
    first, second = each
    return first, second


@contextmanager
def _served(data: Path) -> Iterator[_Get]:
    now_ns = BEGIN_NS + DAYS * DAY_NS
    settings = HistoryConfig(port=0)
    pages = Pages(Config(data_dir=data, history=settings), settings, dict, lambda: now_ns)
    link = pages.start()
    try:
        yield _Get(link)
    finally:
        pages.stop()


class _Get:
    """One browser: (milliseconds, bytes) of a page."""

    def __init__(self, link: str) -> None:
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(jar)
        self._base = link.partition("/enter")[0]
        self._opener.open(link).read()

    def __call__(self, path: str) -> tuple[float, int]:
        began = time.perf_counter()
        body = self._opener.open(self._base + path).read()
        return 1000 * (time.perf_counter() - began), len(body)
