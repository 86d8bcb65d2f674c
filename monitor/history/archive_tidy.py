"""Parts grow together and grow old: many small files become one, and days beyond the time to keep are removed.

It owns which neighbours are merged and when a file may go, and never looks into a row. A wall clock may be wrong: what
it alone calls old goes day by day, at the pace of a clock that nobody sets.
"""

from __future__ import annotations

import logging
from pathlib import Path

from dosimeter.monitor.history import archive_part
from dosimeter.monitor.history.archive_folder import (
    ArchiveFolder,
    PartFile,
    covering,
    day_of,
    keep,
    uncovered,
)

log = logging.getLogger(__name__)

DAY_NS = 86_400_000_000_000
GRACE_NS = 3_600_000_000_000
"""How long a part stays after it was merged into another, for whoever has just listed it."""
PACE_NS = 3_600_000_000_000
"""From the removal of one day to that of the next: a clock that is wrong for a while costs few."""
MERGE_TOKENS = archive_part.ROW_GROUP_TOKENS
MERGE_PARTS = 32


class Tidy:
    """One archive, while nobody else writes to it. days: how long what is kept stays."""

    def __init__(self, folder: ArchiveFolder, days: int) -> None:
        self._folder, self._days = folder, days
        self._seen: dict[Path, tuple[int, int]] = {}  # one_in and kept tokens of a part
        self._gone = ""  # the last day that went
        self._gone_ns: int | None = None  # up_ns of that

    def merge(self, now_ns: int, *, everything: bool = False) -> None:
        """Neighbours of one day and bank, when they make a row group, are many, or no more will come.

        everything: as if no more would come. What cannot be read is set aside.
        """
        groups: dict[tuple[str, str], list[PartFile]] = {}
        for part in uncovered(self._folder.parts()):
            groups.setdefault((part.day, part.bank), []).append(part)
        for (day, _), parts in groups.items():
            over = everything or day_of(max(0, now_ns - GRACE_NS)) > day
            try:
                self._merge_day(parts, over)
            except archive_part.NotAPart as error:
                self._set_aside(error, day)

    def _merge_day(self, parts: list[PartFile], over: bool) -> None:
        run: list[PartFile] = []
        tokens = sampled = 0
        for part in parts:
            one_in, size = self._said(part)
            if size >= MERGE_TOKENS or one_in != sampled:  # a file says one `one_in` of all of it
                self._merge_run(run, over)
                run, tokens, sampled = [], 0, one_in
            if size >= MERGE_TOKENS:
                continue
            run.append(part)
            tokens += size
            if tokens >= MERGE_TOKENS or len(run) >= MERGE_PARTS:
                self._merge_run(run, True)
                run, tokens = [], 0
        self._merge_run(run, over)

    def _merge_run(self, run: list[PartFile], wanted: bool) -> None:
        if not wanted or len(run) < 2:
            return
        merged = self._folder.part(run[0].day, run[0].first, run[-1].last, run[0].bank)
        archive_part.merge_parts(merged.path, [part.path for part in run])

    def _said(self, part: PartFile) -> tuple[int, int]:
        if part.path not in self._seen:
            about = archive_part.read_about(part.path)
            kept = sum(one["kept_tokens"] for one in about.counts.values())
            self._seen[part.path] = about.one_in, kept
        return self._seen[part.path]

    def _set_aside(self, error: archive_part.NotAPart, day: str) -> None:
        """The others of its day are merged next time."""
        log.error("%s", error)
        keep(error.path, self._folder.refused / f"{day}-{error.path.name}")
        self._seen.pop(error.path, None)

    def remove(self, now_ns: int, up_ns: int) -> None:
        """A day that is too old, and what was merged a while ago.

        up_ns: of a clock that nobody sets, from wherever it begins.
        """
        parts = self._folder.parts()
        found = covering(parts)
        oldest = day_of(max(0, now_ns - self._days * DAY_NS))
        paced = self._gone_ns is None or up_ns - self._gone_ns >= PACE_NS
        following = next((part.day for part in parts if part.day > self._gone), oldest)
        if paced and following < oldest:
            self._gone, self._gone_ns = following, up_ns
        for part, into in found.items():
            old = part.day <= self._gone and part.day < oldest
            merged = into is not part
            if old or (merged and now_ns - into.path.stat().st_mtime_ns > GRACE_NS):
                part.path.unlink()
                self._seen.pop(part.path, None)
                if not any(part.path.parent.iterdir()):
                    part.path.parent.rmdir()
