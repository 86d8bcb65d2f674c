"""The entries that have labels, learnt once each: counts of verdicts need no file for them from then on.

Owns where those are looked for that `Beside` does not know. It decides neither when nor under which lock: only looking
into files takes long, and that changes nothing that others see.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dosimeter.monitor.audit.queries.beside import OF_LABELLED, Beside
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.sealed_file import core_batch

_NAMES = OF_LABELLED.split(", ")
_AT_ONCE = 500


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
            f"INSERT INTO learnt SELECT {OF_LABELLED} FROM read_parquet({list(paths)!r}) "
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
