"""History at one moment, asked as often as one likes: what comes, is sealed or goes meanwhile changes no answer.

Owns how an answer is put together: what is remembered of sealed files, files that were sealed since, and the rows of
SQLite beside them. Where retention removes a file meanwhile DuckDB says so, and whoever asks takes another moment.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from zoneinfo import ZoneInfo

from dosimeter.monitor.audit.queries.beside import Rows, Snapshot
from dosimeter.monitor.audit.queries.bounds import MAX, Bounds
from dosimeter.monitor.audit.queries.by_day import by_day
from dosimeter.monitor.audit.queries.different import (
    FILES_AT_ONCE,
    Different,
    Known,
    ids_of,
    more,
    together,
)
from dosimeter.monitor.audit.queries.few import Few
from dosimeter.monitor.audit.queries.folded import base_of, folded
from dosimeter.monitor.audit.queries.halves import Halves, gone_of
from dosimeter.monitor.audit.queries.named_queries import Asked, query_named
from dosimeter.monitor.audit.queries.remembered import Part, Remembered, added
from dosimeter.monitor.audit.store.hot import Segment

OF_LABELLED = frozenset({"count_by_verdict", "labels_by_rule"})
"""Queries whose answer has entries with labels alone."""
WIDER = (2, 8, 32)
"""Files that are looked into for the newest entries, before all are."""
MOST_FEW = 2_000


@dataclass(frozen=True)
class Memory:
    """What was counted of sealed files, for all moments."""

    counts: Remembered = field(default_factory=Remembered)
    ids: Different = field(default_factory=Different)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Moment:
    """Of one thread. Counts by `kind` and what else `entries` takes but bounds and labels."""

    def __init__(
        self, halves: Halves, memory: Memory, segments: Sequence[Segment], *, tables: bool = True
    ) -> None:
        """Inside `halves.reading`, after what is asked for was followed. tables: False where only files are asked."""
        self._memory, self._paths = memory, halves.paths
        self._there = [one for one in segments if not one.gone]
        self._gone, self._past = gone_of(segments), segments[-1].past if segments else 0
        self._times = halves.times(segments)
        self.snapshot = Snapshot(halves.beside, tables=tables)

    @cached_property
    def learnt(self) -> bool:
        """Whether every entry with a label is known."""
        return not self.snapshot.unknown()

    def run(self, name: str, **given: Any) -> Rows:
        """Of a query that counts."""
        asked = query_named(name).asked(given)
        if name in OF_LABELLED and self.learnt:
            return self.snapshot.run_labelled(asked)
        return self._run(asked, steady=False)

    def by_day(self, name: str, zone: ZoneInfo, **given: Any) -> Rows:
        """One of the queries that count by day, over all the time that there is."""

        def run(name: str, **part: Any) -> Rows:
            return self._run(query_named(name).asked(part), steady=True)

        return by_day(run, self._times, name, zone, given)

    def _run(self, asked: Asked, *, steady: bool) -> Rows:
        base = base_of(asked)
        if base is not None and self._memory.counts.fits(base):
            return folded(asked, self._run(base, steady=False))
        files = self.files(Bounds.of(asked.values))
        found = self.counted(asked, files, hot=True, steady=steady)
        return self.snapshot.run(asked, self._paths(files)) if found is None else found

    def counted(
        self, asked: Asked, files: Sequence[Segment], *, hot: bool, steady: bool
    ) -> Rows | None:
        """Counted anew: files that were sealed since, and what is not sealed. None: its parts do not add up."""
        with self._memory.lock:
            known = self._memory.counts.of(asked, self._gone, self._past, steady)
        if known is None:
            return None
        new = [one for one in files if one.first >= known.past]
        if new:
            found = self.snapshot.run(asked, self._paths(new), hot=False)
            known = Part(new[-1].past, added(asked.query.name, known.rows, found))
            with self._memory.lock:
                self._memory.counts.keep(asked, known, self._gone)
        parts = [known.rows]
        if hot or not known.rows.columns:
            parts.append(self.snapshot.run(asked, ()))
        return added(asked.query.name, *parts)

    def people(self, asked: Asked) -> Rows:
        """asked: of the query of this name, without bounds and labels."""
        given = asked.values
        span = self.run("span", **given)
        of = (self.different("subject", **given), self.different("conversation", **given))
        return Rows((*span.columns, "subjects", "conversations"), [(*span.rows[0], *of)])

    def different(self, column: Literal["subject", "conversation"], **given: Any) -> int:
        """How many different ones the entries have."""
        asked = query_named("entries").asked(given)
        key = (column, asked.key)
        with self._memory.lock:
            known = self._memory.ids.of(key, self._gone, self._past)
        new = [one for one in self._there if one.first >= known.past]
        if new:
            found = [known.ids]
            for at in range(0, len(new), FILES_AT_ONCE):
                paths = self._paths(new[at : at + FILES_AT_ONCE])
                found.append(ids_of(self.snapshot.ids(asked, paths, column)))
            known = Known(new[-1].past, together(found))
            with self._memory.lock:
                self._memory.ids.keep(key, known, self._gone)
        return known.count + more(known.ids, ids_of(self.snapshot.ids(asked, (), column)))

    def few(self, **given: Any) -> Few | None:
        """The entries themselves, by `kind` and what else `entries` takes; None where they are not few."""
        asked = query_named("entries").asked(given)
        files = self.files(Bounds.of(asked.values))
        if files:  # most have none, and one column says so
            at = self.snapshot.places(asked, self._paths(files), most=MOST_FEW + 1)
            if len(at) > MOST_FEW:
                return None
            firsts = [one.first for one in files]
            files = [files[n] for n in sorted({bisect_right(firsts, idx) - 1 for idx in at})]
        found = self.snapshot.entries(asked, self._paths(files), most=MOST_FEW + 1)
        return self._with_labels(found) if len(found.rows) <= MOST_FEW else None

    def newest(self, most: int, **given: Any) -> Few:
        """Of the files with the newest events first, as long as an older one may hold a newer entry."""
        asked = query_named("entries").asked(given)
        bounds = Bounds.of(asked.values)
        files = sorted(self.files(bounds), key=lambda s: -s.to_ns)
        for count in (*WIDER, len(files)):
            some = files[:count]
            floor = files[count].to_ns + 1 if count < len(files) else -MAX
            of = asked.but(from_ns=max(floor, bounds.from_ns))
            found = self.snapshot.entries(of, self._paths(some), most=most, newest=True)
            if len(found.rows) >= most or len(some) == len(files):
                break
        return self._with_labels(found)

    def _with_labels(self, found: Rows) -> Few:
        at = found.columns.index("id")
        return Few(found, self.snapshot.labels_of([row[at] for row in found.rows]))

    def files(self, bounds: Bounds) -> list[Segment]:
        return [one for one in self._there if bounds.may_hold(one)]

    def close(self) -> None:
        self.snapshot.close()
