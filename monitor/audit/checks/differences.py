"""Where a store and its log differ, entry by entry: what is listed, and how much more there is.

Owns the list and how a row is named in it. It never learns how a difference is found.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from dosimeter.monitor.audit.store.columns import Value

MOST = 1000
"""Findings that are listed; the rest is counted."""
Row = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """log, store: hashes of what each has for this entry, in hex; empty where it has nothing."""

    index: int | None
    what: str
    log: str = ""
    store: str = ""


@dataclass
class Differences:
    listed: list[Difference] = field(default_factory=list)
    more: int = 0

    def add(self, index: int | None, what: str, log: str = "", store: str = "") -> None:
        if len(self.listed) < MOST:
            self.listed.append(Difference(index, what, log, store))
        else:
            self.more += 1


def row_hash(row: Row) -> str:
    """Of a row's values, for naming a difference."""
    plain = [v.hex() if isinstance(v, bytes) else v for v in row]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()
