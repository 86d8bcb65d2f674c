"""What a second look said of alerts, in the dispatcher's own file, and what that cost.

A verdict and the totals beside it change in one commit, and the first verdict of an alert stands. It knows nothing of
who is asked or how, and nothing of sinks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from dosimeter.monitor.history.ledger import PACKAGE
from dosimeter.monitor.history.named_sql import load_sql
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.history.sqlite_file import transaction

SQL = load_sql(PACKAGE, "verdict_queries.sql")
FIELD = b'"confirm":'
"""In canonical JSON no text can contain it; a key of someone's own labels can be it."""

Word = Literal["yes", "no", "unanswered"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of one alert. Only `no` keeps it from the sinks."""

    seq: int
    confirmer: str
    answer: Word
    reason: str
    cost: float  # in the confirmer's own unit
    ms: int  # from the first question to here
    asked: int  # questions put: 0 where there was nobody to ask
    at_ns: int  # wall clock


@dataclass(frozen=True, slots=True)
class ConfirmerTotals:
    """One confirmer's verdicts so far."""

    name: str
    asked: int
    yes: int
    no: int
    unanswered: int
    cost: float
    ms: int


def confirmer_of(alert: StoredAlert) -> str | None:
    """Who is to look a second time; None for most alerts, and for a record that nobody can read."""
    if FIELD not in alert.core:
        return None
    try:
        found = alert.record.get("confirm")
    except (ValueError, AttributeError):  # no JSON object: the sinks say what is wrong with it
        return None
    return found if isinstance(found, str) and found else None


class Verdicts:
    """The part of the dispatcher's file that holds them, over a connection of the caller's."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def register(self, confirmers: Iterable[str]) -> None:
        """Give each a row, so that it shows before its first answer."""
        for name in confirmers:
            self._db.execute(SQL["add_confirmer"], {"confirmer": name})

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """In one commit. Of an alert that has one already, nothing is stored and nothing counted."""
        with transaction(self._db):
            for verdict in verdicts:
                row = asdict(verdict)
                if self._db.execute(SQL["add_verdict"], row).rowcount:
                    self._db.execute(SQL["add_confirmer"], {"confirmer": verdict.confirmer})
                    self._db.execute(SQL["count_verdict"], row)

    def of(self, seq: int) -> Verdict | None:
        row = self._db.execute(SQL["get_verdict"], {"seq": seq}).fetchone()
        return None if row is None else Verdict(*row)

    def between(self, first: int, last: int) -> dict[int, Word]:
        """Answers by position, both ends included."""
        return dict(self._db.execute(SQL["answers_between"], {"first": first, "last": last}))

    def totals(self) -> list[ConfirmerTotals]:
        """Of every confirmer that was ever set up or asked for."""
        return [ConfirmerTotals(*row) for row in self._db.execute(SQL["confirmers"]).fetchall()]


def stored_verdict(store: Path, seq: int) -> Verdict | None:
    """For whoever only reads: None also where there is no file yet, or one without verdicts."""
    if not store.exists():
        return None
    db = sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True, timeout=2.0)
    try:
        return Verdicts(db).of(seq)
    except sqlite3.OperationalError:  # of an earlier version, or being made at this moment
        return None
    finally:
        db.close()
