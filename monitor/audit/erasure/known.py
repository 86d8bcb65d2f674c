"""Which entries there are of somebody, and of a kind: what erasure must know, over both halves of the store.

Owns the few columns it reads and that both halves are one snapshot. It knows nothing of what is done with them; the
questions that people ask are elsewhere (queries.sql).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dosimeter.monitor.audit.store.columns import COLUMNS, NAMES
from dosimeter.monitor.audit.store.entries import MANY
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, Segment

By = Literal["id", "subject", "conversation", "tenant", "about"]
AT_ONCE = 500
"""Values of one statement of SQLite."""
_IDS = frozenset(column.name for column in COLUMNS if column.kind in ("id", "hash"))


@dataclass(frozen=True, slots=True)
class Known:
    """One entry, as far as erasure cares."""

    id: bytes
    kind: str
    time_ns: int
    tenant: bytes | None
    subject: bytes | None
    conversation: bytes | None

    def whom(self) -> list[bytes]:
        """The ids of those it is about."""
        return [id_ for id_ in (self.tenant, self.subject, self.conversation) if id_ is not None]


_KNOWN = ("id", "kind", "time_ns", "tenant", "subject", "conversation")


class KnownEntries:
    """Of one history. Use it from one thread at a time. Raises OSError where a sealed file cannot be read."""

    def __init__(self, hot: HotStore, folder: HistoryFolder) -> None:
        self._hot, self._folder = hot, folder

    def by(self, column: By, ids: Iterable[bytes]) -> list[Known]:
        """Those that have one of these ids in that column."""
        return [Known(*row) for row in self._rows(_KNOWN, column, sorted(set(ids)))]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """All of a kind, in the order of the log, as the fields of their leaves."""
        return [_fields(row) for row in self._rows(NAMES, "kind", [kind])]

    def _rows(
        self, wanted: Sequence[str], column: str, values: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        hot: list[tuple[Any, ...]] = []
        names = ", ".join(wanted)
        db = self._hot.db
        db.execute("BEGIN")
        try:
            segments = self._hot.segments()
            for first in range(0, len(values), AT_ONCE):
                some = values[first : first + AT_ONCE]
                where = f"{column} IN ({', '.join('?' * len(some))})"
                hot += db.execute(f"SELECT {names} FROM entry WHERE {where} ORDER BY idx", some)
        finally:
            db.execute("COMMIT")
        sealed = [row for one in segments for row in self._sealed(one, wanted, column, values)]
        return [*sealed, *hot]

    def _sealed(
        self, segment: Segment, wanted: Sequence[str], column: str, values: Sequence[Any]
    ) -> Iterator[tuple[Any, ...]]:
        if column == "kind" and segment.few and not {*values} & {*MANY}:
            where = f"idx >= ? AND idx < ? AND kind IN ({', '.join('?' * len(values))})"
            query = f"SELECT {', '.join(wanted)} FROM sealed_few WHERE {where} ORDER BY idx"
            yield from self._hot.db.execute(query, (segment.first, segment.past, *values))
            return
        path = self._folder.core / segment.core
        if not path.exists() or not values:  # its time is over
            return
        try:
            of = pq.read_schema(path).field(column).type
            only = pc.field(column).isin(pa.array(values, of))
            found = pq.read_table(path, columns=list(wanted), filters=only, use_threads=False)
        except FileNotFoundError:  # just now
            return
        except (pa.ArrowException, OSError, KeyError) as error:
            hint = "restore this file from its backup; `dosimeter audit verify` says what else was changed"
            raise OSError(f"{path}: cannot be read: {error}\n  hint: {hint}") from error
        yield from zip(*(found[name].to_pylist() for name in wanted), strict=True)


def _fields(row: Sequence[Any]) -> dict[str, Any]:
    found: Mapping[str, Any] = dict(zip(NAMES, row, strict=True))
    plain = {n: v.hex() if n in _IDS else v for n, v in found.items() if v is not None}
    more = plain.pop("more", None)
    return plain | (json.loads(more) if more else {})
