"""The entries that have labels, learnt once each: counts of verdicts need no file for them from then on.

Owns where those are looked for that `Beside` does not know, and when. Only looking into files takes long; that changes
nothing that others see, and is done while they are answered.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pyarrow as pa

from dosimeter.monitor.audit.queries.beside import OF_LABELLED, Beside, rows_in
from dosimeter.monitor.audit.queries.bounds import Bounds
from dosimeter.monitor.audit.queries.halves import Halves, gone_of
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.sealed_file import core_batch

_NAMES = OF_LABELLED.split(", ")
_AT_ONCE = 500


class Learning:
    """Several threads may ask at once."""

    def __init__(self, halves: Halves) -> None:
        self._halves = halves
        self._labelled: Labelled | None = None  # until there is something to learn
        self._alone = threading.Lock()
        self._asked = False

    def wanted(self, bounds: Bounds) -> bool:
        """Whether the entries with labels were learnt; those may be unknown whose labels came since.

        To learn them costs more than an answer out of the files, so it is done for who asks over all of history again.
        """
        whole, again = bounds == Bounds(), self._asked
        self._asked = again or whole
        if whole and again:
            self.learn()
        return again

    def learn(self) -> None:
        self._asked = True
        halves = self._halves
        with self._alone:
            with halves.reading() as segments:
                there = [s for s in segments if not s.gone]
                if not there:
                    return
                halves.beside.follow(halves.hot, segments, entries=False, labels=True)
                ids = halves.beside.unknown()
                if not ids:
                    return
                labelled = self._labelled = self._labelled or Labelled(halves.beside)
                left = labelled.find(halves.hot, ids)
            times = [int.from_bytes(one[:6], "big") * 1_000_000 for one in ids]
            bounds = Bounds(min(times), max(times) + 1_000_000)
            near = [s for s in there if bounds.may_hold(s)]
            left = labelled.find_sealed(left, halves.paths(near))
            # As of `alert_by_id`: an id may not tell its time.
            far = [s for s in there if not bounds.may_hold(s)]
            left = labelled.find_sealed(left, halves.paths(far))
            with halves.reading() as now:
                if gone_of(now) == gone_of(segments):
                    labelled.keep(left)

    def close(self) -> None:
        if self._labelled is not None:
            self._labelled.close()


class Labelled:
    """Over the tables of `Beside`, with a connection of its own."""

    def __init__(self, of: Beside) -> None:
        self._db = of.cursor()
        self._db.execute(f"CREATE TEMP TABLE learnt AS SELECT {OF_LABELLED} FROM labelled")

    def find(self, hot: HotStore, ids: Sequence[bytes]) -> list[bytes]:
        """Those that are not sealed. Returns the ids of the others."""
        self._db.execute("DELETE FROM learnt")
        left = set(ids)
        for at in range(0, len(ids), _AT_ONCE):
            some = ids[at : at + _AT_ONCE]
            among = ", ".join("?" * len(some))
            query = f"SELECT {OF_LABELLED} FROM main.entry WHERE id IN ({among})"
            if rows := hot.db.execute(query, some).fetchall():
                self._db.register("batch", core_batch(rows, _NAMES))
                self._db.execute("INSERT INTO learnt FROM batch")
                self._db.unregister("batch")
                left -= {row[1] for row in rows}
        return sorted(left)

    def find_sealed(self, ids: Sequence[bytes], paths: Sequence[str]) -> list[bytes]:
        """Those that are in these files. Returns the ids of the others."""
        if not ids or not paths:
            return list(ids)
        self._db.register("wanted", pa.table({"id": pa.array(ids, pa.binary())}))
        self._db.execute(
            f"INSERT INTO learnt SELECT {OF_LABELLED} FROM {rows_in(paths)} "
            "WHERE id IN (SELECT id FROM wanted)"
        )
        left = self._db.execute("SELECT id FROM wanted WHERE id NOT IN (SELECT id FROM learnt)")
        found = [row[0] for row in left.fetchall()]
        self._db.unregister("wanted")
        return found

    def keep(self, unfound: Sequence[bytes]) -> None:
        """What was found is known from now on, and of the others that there is no entry, or no longer."""
        self._db.execute("INSERT INTO labelled FROM learnt")
        if unfound:
            self._db.executemany("INSERT INTO unfound VALUES (?)", [(id_,) for id_ in unfound])

    def close(self) -> None:
        self._db.close()
