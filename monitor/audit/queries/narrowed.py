"""Some entries of one moment, looked for once, and what may be asked of them: queries without filters of their own.

It opens nothing: whoever made the snapshot closes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from dosimeter.monitor.audit.queries.beside import Rows, Snapshot
from dosimeter.monitor.audit.queries.by_day import by_day
from dosimeter.monitor.audit.queries.named_queries import query_named


class Narrowed:
    """As long as `Queries.narrowed` lasts."""

    def __init__(
        self,
        snapshot: Snapshot,
        given: Mapping[str, Any],
        times: tuple[int, int],
        columns: tuple[str, ...],
    ) -> None:
        self._snapshot, self._given, self._times, self._columns = snapshot, given, times, columns

    def run(self, name: str, **given: Any) -> Rows:
        """given: what else this query takes."""
        return self._snapshot.run_narrowed(query_named(name).asked({**self._given, **given}))

    def by_day(self, name: str, zone: ZoneInfo) -> Rows:
        return by_day(self.run, self._times, self._columns, name, zone, {})
