"""Answers to the named queries over the whole of history: what is sealed, and what is not yet.

Owns the way of each question: what can only be in SQLite is answered there; all else by DuckDB, over the files that may
hold it and the rows of SQLite kept beside them in memory. It never writes, and knows no names and no evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import duckdb

from dosimeter.monitor.audit.queries.beside import Rows, Snapshot
from dosimeter.monitor.audit.queries.bounds import MAX, Bounds
from dosimeter.monitor.audit.queries.by_day import by_day
from dosimeter.monitor.audit.queries.folded import base_of, folded
from dosimeter.monitor.audit.queries.halves import Halves
from dosimeter.monitor.audit.queries.labelled import Learning
from dosimeter.monitor.audit.queries.moment import OF_LABELLED, WIDER, Memory, Moment
from dosimeter.monitor.audit.queries.named_queries import Asked, query_named
from dosimeter.monitor.audit.queries.remembered import is_lasting
from dosimeter.monitor.audit.store.entries import MANY
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import Segment

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
T = TypeVar("T")


class Queries:
    """Several threads may ask at once."""

    def __init__(self, folder: HistoryFolder) -> None:
        """Raises StoreError, StoreStalled."""
        self._halves, self._memory = Halves(folder), Memory()
        self._learning = Learning(self._halves)

    def run(self, name: str, **given: Any) -> Rows:
        """Raises QueryError for what there is not. Ids may be bytes or hex; None is as good as not given."""
        return self._run(name, given)

    def _run(self, name: str, given: Mapping[str, Any], *, steady: bool = False) -> Rows:
        """steady: its bounds are those of every such question, so that what it counts is remembered."""
        asked = query_named(name).asked(given)
        base = base_of(asked)
        if base is not None and self._memory.counts.fits(base):
            return folded(asked, self._found(base))
        if name == "people" and is_lasting(asked):
            return self.at_one_moment(lambda of: of.people(asked))
        found = self._found(asked, steady)
        if name == "alert_by_id" and not found.rows:
            # Its time is not in its id, which only some entry of another release can do: look everywhere.
            found = self._found(asked.but(from_ns=None, to_ns=None))
        return found

    def by_day(self, name: str, zone: ZoneInfo, **given: Any) -> Rows:
        """One of the queries that count by day, by days of a zone: their clocks may change on the way."""
        whole = given.get("from_ns") is None and given.get("to_ns") is None
        with self._halves.reading() as segments:
            times = self._halves.times(segments)

        def run(name: str, **part: Any) -> Rows:
            return self._run(name, part, steady=whole)

        return by_day(run, times, name, zone, given)

    def at_one_moment(self, ask: Callable[[Moment], T], *, learnt: bool = False) -> T:
        """Several questions about one state of history. ask: may be called again, then of a later moment.

        learnt: for counts of verdicts, which otherwise look into the files.
        """
        try:
            return self._at_one_moment(ask, learnt)
        except duckdb.IOException:
            return self._at_one_moment(ask, learnt)  # as in `_found`

    def _at_one_moment(self, ask: Callable[[Moment], T], learnt: bool) -> T:
        with closing(self._moment()) as moment:
            if not learnt or moment.learnt:
                return ask(moment)
        self.learn()
        with closing(self._moment()) as moment:
            return ask(moment)

    def _moment(self) -> Moment:
        with self._halves.reading() as segments:
            hot, beside = self._halves.hot, self._halves.beside
            beside.follow(hot, segments, entries=True, labels=True)
            return Moment(self._halves, self._memory, segments)

    def learn(self) -> None:
        """The entries that have labels: counts of verdicts need no file for them from now on."""
        self._learning.learn()

    def close(self) -> None:
        self._learning.close()
        self._halves.close()

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
        bounds, query, halves = Bounds.of(asked.values), asked.query, self._halves
        order = _APART.get(query.name)
        here = None
        labelled = query.name in OF_LABELLED and self._learning.wanted(bounds)
        with halves.reading() as segments:
            files = [s for s in segments if not s.gone and bounds.may_hold(s)]
            if not asked.reads("entry"):
                files = []  # labels are never only in files
            few = _of_few(asked) and all(one.few for one in files)
            if few or order or not files:
                here = halves.in_sqlite(asked, "few" if few else "entry")
            if here is not None and (few or not files):
                return here
            hot = not order and halves.any_hot(bounds)
            labels = asked.reads("label", "judged")
            halves.beside.follow(halves.hot, segments, entries=False, labels=labels)
            labelled = labelled and not halves.beside.unknown()
            if hot and not labelled:
                halves.beside.follow(halves.hot, segments, entries=True, labels=False)
            moment = Moment(halves, self._memory, segments, tables=hot or labels)
        with closing(moment):
            if labelled:
                return moment.snapshot.run_labelled(asked)
            counted = moment.counted(asked, files, hot=hot, steady=steady)
            if counted is not None:
                return counted
            paths = halves.paths(files)
            if order is None or here is None:
                return moment.snapshot.run(asked, paths, hot=hot)
            if order is _NEWEST:
                return self._newest(moment.snapshot, asked, files, here)
            found = _merged(here, moment.snapshot.run(asked, paths, hot=False), order)
            return Rows(found.columns, found.rows[: asked.values.get("limit")])

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
        for count in (*WIDER, len(newest)):
            some = newest[:count]
            past = newest[count].to_ns + 1 if count < len(newest) else floor
            of = asked.but(from_ns=max(past, floor))
            found = snapshot.run(of, self._halves.paths(some), hot=False)
            if len(found.rows) >= limit or len(some) == len(newest):
                break
        merged = _merged(here, found, _APART[asked.query.name])
        return Rows(merged.columns, merged.rows[:limit])


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
