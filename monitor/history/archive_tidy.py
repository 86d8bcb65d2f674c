"""Parts grow together and grow old: many small files become one, and days beyond the time to keep are removed.

It owns which neighbours are merged and when a file may go, and never looks into a row.
"""

from __future__ import annotations

from pathlib import Path

from dosimeter.monitor.history import archive_part
from dosimeter.monitor.history.archive_folder import ArchiveFolder, PartFile, day_of, uncovered

DAY_NS = 86_400_000_000_000
GRACE_NS = 3_600_000_000_000
"""How long a part stays after it was merged into another, for whoever has just listed it."""
MERGE_TOKENS = archive_part.ROW_GROUP_TOKENS
MERGE_PARTS = 32


class Tidy:
    """One archive, while nobody else writes to it. days: how long what is kept stays."""

    def __init__(self, folder: ArchiveFolder, days: int) -> None:
        self._folder, self._days = folder, days
        self._sizes: dict[Path, int] = {}  # kept tokens of a part

    def merge(self, now_ns: int, *, everything: bool = False) -> None:
        """Neighbours of one day and bank, when they make a row group, are many, or no more will come.

        everything: as if no more would come.
        """
        groups: dict[tuple[str, str], list[PartFile]] = {}
        for part in uncovered(self._folder.parts()):
            groups.setdefault((part.day, part.bank), []).append(part)
        for (day, bank), parts in groups.items():
            over = everything or day_of(max(0, now_ns - GRACE_NS)) > day
            run: list[PartFile] = []
            tokens = 0
            for part in parts:
                size = self._kept_tokens(part)
                if size >= MERGE_TOKENS:
                    self._merge_run(day, bank, run, over)
                    run, tokens = [], 0
                    continue
                run.append(part)
                tokens += size
                if tokens >= MERGE_TOKENS or len(run) >= MERGE_PARTS:
                    self._merge_run(day, bank, run, True)
                    run, tokens = [], 0
            self._merge_run(day, bank, run, over)

    def _merge_run(self, day: str, bank: str, run: list[PartFile], wanted: bool) -> None:
        if not wanted or len(run) < 2:
            return
        merged = self._folder.part(day, run[0].first, run[-1].last, bank)
        archive_part.merge_parts(merged.path, [part.path for part in run])

    def _kept_tokens(self, part: PartFile) -> int:
        if part.path not in self._sizes:
            counts = archive_part.read_about(part.path).counts
            self._sizes[part.path] = sum(one["kept_tokens"] for one in counts.values())
        return self._sizes[part.path]

    def remove(self, now_ns: int) -> None:
        """Days that are too old, and what was merged a while ago."""
        parts = self._folder.parts()
        standing = set(uncovered(parts))
        oldest = day_of(max(0, now_ns - self._days * DAY_NS))
        for part in parts:
            merged = part not in standing
            if part.day < oldest or (merged and now_ns - part.path.stat().st_mtime_ns > GRACE_NS):
                part.path.unlink()
                self._sizes.pop(part.path, None)
                if not any(part.path.parent.iterdir()):
                    part.path.parent.rmdir()
