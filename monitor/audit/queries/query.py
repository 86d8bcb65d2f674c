"""Answers to the named queries over the whole of history: what is sealed, and what is not yet.

Owns the snapshot: the list of sealed files and the rows beside them are read in one transaction of SQLite, so an entry
that is being sealed is seen once. What can only be in SQLite is answered there; all else by DuckDB, over the files that
may hold it and the rows of SQLite kept beside them in memory. It never writes, and knows no names and no evidence.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal
from zoneinfo import ZoneInfo

import duckdb

from dosimeter.monitor.audit.queries.beside import (
    ENTRY,
    FEW,
    LABEL,
    Beside,
    Rows,
    Snapshot,
)
from dosimeter.monitor.audit.queries.bounds import MAX, Bounds
from dosimeter.monitor.audit.queries.by_day import by_day
from dosimeter.monitor.audit.queries.different import (
    FILES_AT_ONCE,
    Different,
    Known,
    both,
    ids_of,
    more,
)
from dosimeter.monitor.audit.queries.folded import base_of, folded
from dosimeter.monitor.audit.queries.labelled import Labelled
from dosimeter.monitor.audit.queries.named_queries import JUDGED, Asked, query_named
from dosimeter.monitor.audit.queries.narrowed import Narrowed
from dosimeter.monitor.audit.queries.remembered import Part, Remembered, added
from dosimeter.monitor.audit.store.entries import MANY
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, Segment

__all__ = ["Queries", "Rows"]

_BY_IDX, _BY_TIME, _NEWEST = (
    (("idx",), False),
    (("time_ns", "idx"), False),
    (("time_ns", "idx"), True),
)
_APART: Mapping[str, tuple[tuple[str, ...], bool]] = {
    **dict.fromkeys(
        (
            "alert_by_id",
            "entries",
            "entries_about",
            "ingested",
            "neighbours",
            "sample_labels",
            "subject_entries",
            "watched",
        ),
        _BY_IDX,
    ),
    **dict.fromkeys(("coverage", "gaps"), _BY_TIME),
    **dict.fromkeys(("alerts", "access"), _NEWEST),
}
"""Queries that show entries: the rows of the two halves, in this order (and whether it is reversed), are the answer."""
_OF_FEW = frozenset({"coverage", "gaps", "watched", "access", "sample_labels"})
"""Queries of rare kinds alone, whatever they are asked for."""
_OF_LABELLED = frozenset({"count_by_verdict", "labels_by_rule"})
"""Queries whose answer has entries with labels alone."""
_WIDER = (2, 8, 32)


class Queries:
    """Several threads may ask at once."""

    def __init__(self, folder: HistoryFolder) -> None:
        """Raises StoreError, StoreStalled."""
        self.folder = folder
        self._hot = HotStore(folder.hot, read_only=True)
        self._lock = threading.Lock()
        views = {"entry": ENTRY, "few": FEW, "label": LABEL, "judged": JUDGED}
        for view, text in views.items():
            self._hot.db.execute(f"CREATE TEMP VIEW {view} AS {text}")
        self._beside = Beside()
        self._labelled, self._learning = Labelled(self._beside), threading.Lock()
        self._remembered, self._ids = Remembered(), Different()
        self._asks_of_labels = False

    def run(self, name: str, **given: Any) -> Rows:
        """Raises QueryError for what there is not. Ids may be bytes or hex; None is as good as not given."""
        return self._run(name, given)

    def _run(self, name: str, given: Mapping[str, Any], *, steady: bool = False) -> Rows:
        """steady: its bounds are those of every such question, so that what it counts is remembered."""
        asked = query_named(name).asked(given)
        base = base_of(asked)
        if base is not None and self._remembered.fits(base):
            return folded(asked, self._found(base))
        found = self._found(asked, steady)
        if name == "alert_by_id" and not found.rows:
            # Its time is not in its id, which only some entry of another release can do: look everywhere.
            found = self._found(asked.but(from_ns=None, to_ns=None))
        return found

    def by_day(self, name: str, zone: ZoneInfo, **given: Any) -> Rows:
        """One of the queries that count by day, by days of a zone: their clocks may change on the way."""
        columns = self._columns_of(name, given)
        whole = given.get("from_ns") is None and given.get("to_ns") is None

        def run(name: str, **part: Any) -> Rows:
            return self._run(name, part, steady=whole)

        return by_day(run, self._times(), columns, name, zone, given)

    def different(self, column: Literal["subject", "conversation"], **given: Any) -> int:
        """How many different ones the entries have: `kind`, and what else `entries` takes but bounds and labels."""
        try:
            return self._different(column, query_named("entries").asked(given))
        except duckdb.IOException:
            return self._different(column, query_named("entries").asked(given))  # as in `_found`

    def _different(self, column: str, asked: Asked) -> int:
        with self._lock:
            with self._reading():
                segments = self._hot.segments()
                self._beside.follow(self._hot, segments, entries=True, labels=False)
            gone, key = self._gone(segments), (column, asked.key)
            known = self._ids.of(key, gone)
            sealed, rest = (Snapshot(self._beside, beside=beside) for beside in (False, True))
        try:
            new = [s for s in segments if not s.gone and s.first >= known.past]
            for at in range(0, len(new), FILES_AT_ONCE):
                some = new[at : at + FILES_AT_ONCE]
                ids = ids_of(sealed.ids(asked, self._paths(some), column))
                known = Known(some[-1].past, both(known.ids, ids))
            if new:
                with self._lock:
                    self._ids.keep(key, known, gone)
            return len(known.ids) + more(known.ids, ids_of(rest.ids(asked, (), column)))
        finally:
            sealed.close()
            rest.close()

    @contextmanager
    def narrowed(self, **given: Any) -> Iterator[Narrowed]:
        """Many questions about the same entries: `kind` and what else `entries` takes, looked for once."""
        try:
            snapshot = self._narrow(given)
        except duckdb.IOException:
            snapshot = self._narrow(given)  # as in `_found`
        try:
            yield Narrowed(snapshot, given, self._times(), self._columns_of("per_day", given))
        finally:
            snapshot.close()

    def _narrow(self, given: Mapping[str, Any]) -> Snapshot:
        asked = query_named("entries").asked(given)
        bounds = Bounds.of(asked.values)
        with self._lock:
            with self._reading():
                segments = self._hot.segments()
                files = [s for s in segments if not s.gone and bounds.may_hold(s)]
                self._beside.follow(self._hot, segments, entries=True, labels=True)
            snapshot = Snapshot(self._beside, beside=True)
        try:
            snapshot.narrow(asked, self._paths(files))
        except BaseException:
            snapshot.close()
            raise
        return snapshot

    def learn(self) -> None:
        """The entries that have labels: counts of verdicts need no file for them from now on.

        Files are looked into without the lock: other threads are answered meanwhile.
        """
        self._asks_of_labels = True
        with self._learning:
            with self._lock, self._reading():
                segments = self._hot.segments()
                there = [s for s in segments if not s.gone]
                if not there:
                    return
                self._beside.follow(self._hot, segments, entries=False, labels=True)
                ids = self._beside.unknown()
                if not ids:
                    return
                left = self._labelled.find(self._hot, ids)
            times = [int.from_bytes(one[:6], "big") * 1_000_000 for one in ids]
            bounds = Bounds(min(times), max(times) + 1_000_000)
            near = [s for s in there if bounds.may_hold(s)]
            left = self._labelled.find_sealed(left, self._paths(near))
            # As of `alert_by_id`: an id may not tell its time.
            far = [s for s in there if not bounds.may_hold(s)]
            left = self._labelled.find_sealed(left, self._paths(far))
            with self._lock, self._reading():
                if self._gone(self._hot.segments()) == self._gone(segments):
                    self._labelled.keep(left)

    def close(self) -> None:
        with self._lock:
            self._hot.close()
            self._labelled.close()
            self._beside.close()

    def __enter__(self) -> Queries:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _found(self, asked: Asked, steady: bool = False) -> Rows:
        try:
            return self._once(asked, steady)
        except duckdb.IOException:
            return self._once(asked, steady)  # retention has removed a file after it was listed

    def _once(self, asked: Asked, steady: bool) -> Rows:
        bounds, query = Bounds.of(asked.values), asked.query
        order = _APART.get(query.name)
        here = None
        labelled = query.name in _OF_LABELLED and self._learnt(bounds)
        with self._lock:
            with self._reading():
                segments = self._hot.segments()
                files = [s for s in segments if not s.gone and bounds.may_hold(s)]
                if not asked.reads("entry"):
                    files = []  # labels are never only in files
                few = _of_few(asked) and all(one.few for one in files)
                if few or order or not files:
                    here = self._in_sqlite(asked, "few" if few else "entry")
                if here is not None and (few or not files):
                    return here
                beside = not order and self._any_hot(bounds)
                labels = asked.reads("label", "judged")
                self._beside.follow(self._hot, segments, entries=False, labels=labels)
                labelled = labelled and not self._beside.unknown()
                if beside and not labelled:
                    self._beside.follow(self._hot, segments, entries=True, labels=False)
            snapshot = Snapshot(self._beside, beside=beside)
            gone = self._gone(segments)
            known = self._remembered.of(asked, gone, steady)
        try:
            if labelled:
                return snapshot.run_labelled(asked)
            if known is not None:
                return self._with_known(snapshot, asked, files, known, gone)
            if order is None or here is None:
                return snapshot.run(asked, self._paths(files))
            if "limit" in asked.values:
                return self._newest(snapshot, asked, files, here)
            return _merged(here, snapshot.run(asked, self._paths(files)), order)
        finally:
            snapshot.close()

    def _with_known(
        self,
        snapshot: Snapshot,
        asked: Asked,
        files: Sequence[Segment],
        known: Part,
        gone: frozenset[int],
    ) -> Rows:
        """Counted anew: files that were sealed since, and what is not sealed."""
        new = [one for one in files if one.first >= known.past]
        if new:
            sealed = Snapshot(self._beside, beside=False)
            try:
                found = added(asked, known.rows, sealed.run(asked, self._paths(new)))
            finally:
                sealed.close()
            known = Part(new[-1].past, found)
            with self._lock:
                self._remembered.keep(asked, known, gone)
        return added(asked, known.rows, snapshot.run(asked, ())) if snapshot.beside else known.rows

    def _learnt(self, bounds: Bounds) -> bool:
        """Whether the entries with labels were learnt; those may be unknown whose labels came since.

        To learn them costs more than an answer out of the files, so it is done for who asks over all of history again.
        """
        whole, again = bounds == Bounds(), self._asks_of_labels
        self._asks_of_labels = again or whole
        if whole and again:
            self.learn()
        return again

    @staticmethod
    def _gone(segments: Sequence[Segment]) -> frozenset[int]:
        """By their first positions."""
        return frozenset(one.first for one in segments if one.gone)

    def _any_hot(self, bounds: Bounds) -> bool:
        """So that a question about last March reads nothing of today's rows."""
        found = self._hot.db.execute(
            "SELECT 1 FROM entry WHERE time_ns >= ? AND time_ns < ? LIMIT 1",
            (bounds.from_ns, bounds.to_ns),
        )
        return found.fetchone() is not None

    def _newest(
        self, snapshot: Snapshot, asked: Asked, files: Sequence[Segment], here: Rows
    ) -> Rows:
        """Of the files with the newest events first, as long as an older one may hold a newer row."""
        limit, floor = asked.values["limit"], asked.values.get("from_ns", -MAX)
        if len(here.rows) >= limit > 0:
            floor = max(floor, here.dicts()[-1]["time_ns"])
        newest = sorted((s for s in files if s.to_ns >= floor), key=lambda s: -s.to_ns)
        if not newest:
            return here
        for count in (*_WIDER, len(newest)):
            some = newest[:count]
            past = newest[count].to_ns + 1 if count < len(newest) else floor
            found = snapshot.run(asked.but(from_ns=max(past, floor)), self._paths(some))
            if len(found.rows) >= limit or len(some) == len(newest):
                break
        merged = _merged(here, found, _APART[asked.query.name])
        return Rows(merged.columns, merged.rows[:limit])

    def _in_sqlite(self, asked: Asked, entries: str = "entry") -> Rows:
        text, values = asked.sqlite(entries)
        cursor = self._hot.db.execute(text, values)
        return Rows(tuple(column[0] for column in cursor.description), cursor.fetchall())

    def _columns_of(self, name: str, given: Mapping[str, Any]) -> tuple[str, ...]:
        with self._lock, self._reading():
            return self._in_sqlite(query_named(name).asked({**given, "to_ns": -MAX})).columns

    def _times(self) -> tuple[int, int]:
        """The first and the last event of all; (0, 0) of none."""
        with self._lock, self._reading():
            low, high = self._hot.db.execute(
                "SELECT min(time_ns), max(time_ns) FROM entry"
            ).fetchone()
            sealed = self._sealed()
        lows = [s.from_ns for s in sealed] + ([] if low is None else [low])
        highs = [s.to_ns for s in sealed] + ([] if high is None else [high])
        return (min(lows), max(highs)) if lows else (0, 0)

    def _sealed(self) -> list[Segment]:
        return [s for s in self._hot.segments() if not s.gone]

    def _paths(self, segments: Sequence[Segment]) -> list[str]:
        return [str(self.folder.core / s.core) for s in segments]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What is read in here is of one moment."""
        self._hot.db.execute("BEGIN")
        try:
            yield
        finally:
            self._hot.db.execute("ROLLBACK")


def _of_few(asked: Asked) -> bool:
    """Whether only rare kinds can be in the answer."""
    if asked.query.name in _OF_FEW:
        return True
    return "kind" in asked.values and asked.values["kind"] not in MANY


def _merged(one: Rows, other: Rows, order: tuple[tuple[str, ...], bool]) -> Rows:
    names, newest_first = order
    places = [one.columns.index(name) for name in names]
    rows = sorted(
        one.rows + other.rows, key=lambda row: [row[i] for i in places], reverse=newest_first
    )
    return Rows(one.columns, rows)
