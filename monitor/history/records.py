"""What goes into the ledger and comes out of it: frozen records, one line per field.

They carry bytes and counts and know nothing of rules: the ledger stores any canonical record, and
reads from it only the few fields its schema names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """One alert on its way in."""

    event_id: str  # 32 hex characters, deterministic: the same decision has the same id
    core: bytes  # canonical JSON; these very bytes are stored, sent and hashed
    evidence: bytes | None  # codes around the span as far as they exist; may be replaced later
    deliverable: bool  # False: shadow, stored and never sent


@dataclass(frozen=True)
class StoredAlert:
    """One alert as it was committed."""

    seq: int  # position in the ledger; only grows
    event_id: str
    core: bytes  # without what was personal in it, once it is erased
    deliverable: bool
    committed_ns: int  # wall clock of the commit

    @cached_property
    def record(self) -> dict[str, Any]:
        """`core` parsed. For reading fields only: what is sent onwards is `core`."""
        parsed: dict[str, Any] = json.loads(self.core)
        return parsed

    @property
    def labels(self) -> Mapping[str, str]:
        found = self.record.get("labels")
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Account:
    """Coverage of one server process so far, in tokens. Totals only grow."""

    epoch: str  # the server process, hex
    served: int  # by the server's own count
    scored: int
    unaccounted: int  # served - scored - sum(unscored): must be 0
    requests: int  # opened
    closed: int
    unscored: Mapping[str, int] = field(default_factory=dict)  # by reason
    updated_ns: int = 0  # wall clock of the commit; set by the ledger
    served_by: Mapping[str, int] = field(default_factory=dict)  # by who counted


@dataclass(frozen=True, slots=True)
class Committed:
    """What one group commit did."""

    accepted: int  # new alerts, now durable
    duplicates: int  # alerts that were there already: the first one stands
    orphans: int  # evidence whose alert is not in the ledger, or erased; not stored
    last_seq: int  # of the ledger after the commit; 0 when it never had an alert


@dataclass(frozen=True, slots=True)
class Pruned:
    """What has gone from the front of a ledger because it was old, and every consumer was past it."""

    through: int = 0  # position of the last of them
    alerts: int = 0
    deliverable: int = 0
