"""Warnings and errors of the log, counted as they are written: no line goes without its metric, whoever writes it, in a
process that sends metrics. The supervisor and the archive send none.

It owns which lines count, and that a process counts its own, also those from before its metrics are sent anywhere. It
knows nothing of what they say.
"""

from __future__ import annotations

import logging
from collections import Counter

from dosimeter.monitor.observe import Metrics

NAME = "dosimeter.log.lines"
OURS = logging.getLogger("dosimeter")


class LineCounts(logging.Handler):
    def __init__(self, process: str) -> None:
        super().__init__(logging.WARNING)
        self._process = process
        self._metrics: Metrics | None = None
        self._seen = Counter({"warning": 0, "error": 0})

    def record_to(self, metrics: Metrics) -> None:
        """What was counted until now, and then each line."""
        self.acquire()
        try:
            self._metrics = metrics
            for level in self._seen:  # a count that begins at 1 would be no increase
                self._told(level)
        finally:
            self.release()

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._seen[level] += 1
        self._told(level)

    def _told(self, level: str) -> None:
        if self._metrics is not None:
            said = {"process": self._process, "level": level}
            self._metrics.record(NAME, self._seen[level], said)


def count_lines(process: str) -> LineCounts:
    """From now on, of this process. What counted them before counts them no more."""
    for one in [one for one in OURS.handlers if isinstance(one, LineCounts)]:
        OURS.removeHandler(one)
    counts = LineCounts(process)
    OURS.addHandler(counts)
    return counts
