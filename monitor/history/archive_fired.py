"""What running rules decided on requests as they came, out of the archive: the live side of a comparison.

Every request on which one fired is kept, so these are all of them. It never looks at a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dosimeter.rules.backtesting.backtest import HITS
from dosimeter.rules.backtesting.estimate import REQUESTS, Found

EXEMPT = "exempt"
"""The decision on a hit for which an `unless` holds."""
COLUMNS = ("epoch", "key", "last_ns", "one_in", "tenant", "route", "fired")


def fired_in(path: Path, since_ns: int | None = None, until_ns: int | None = None) -> Found:
    """Requests of one file whose last token came since (inclusive) and until (exclusive), with what fired on them."""
    table = pq.read_table(path, columns=list(COLUMNS))
    mask = pc.greater(pc.fill_null(pc.list_value_length(table["fired"]), 0), 0)
    if since_ns is not None:
        mask = pc.and_(mask, pc.greater_equal(table["last_ns"], since_ns))
    if until_ns is not None:
        mask = pc.and_(mask, pc.less(table["last_ns"], until_ns))
    rows = table.filter(mask).to_pylist()
    tenants, routes = _names([r["tenant"] for r in rows]), _names([r["route"] for r in rows])
    rules = _names([one["rule"] for r in rows for one in r["fired"]])
    requests, hits = (
        np.zeros(len(rows), REQUESTS),
        np.zeros(sum(len(r["fired"]) for r in rows), HITS),
    )
    for index, row in enumerate(rows):
        names = tenants[row["tenant"] or ""], routes[row["route"] or ""]
        requests[index] = (row["epoch"], row["key"], row["last_ns"], row["one_in"], *names)
    every = ((index, one) for index, row in enumerate(rows) for one in row["fired"])
    for at, (index, one) in enumerate(every):
        exempt = one["decision"] == EXEMPT
        hits[at] = (index, one["position"], rules[one["rule"]], exempt)
    return Found(tuple(rules), requests, hits, tuple(tenants), tuple(routes))


def _names(found: Sequence[str | None]) -> dict[str, int]:
    """Name -> index."""
    return {name: i for i, name in enumerate(dict.fromkeys(name or "" for name in found))}
