"""Warnings and errors of the log, counted as they are written: no line goes without its metric, whoever writes it.

It owns which lines count, and that a process counts its own. It knows nothing of what they say.
"""

from __future__ import annotations

import logging
from collections import Counter

from dosimeter.monitor.observe import Metrics

NAME = "dosimeter.log.lines"
OURS = logging.getLogger("dosimeter")


def count_lines(metrics: Metrics, process: str) -> None:
    """From now on, of this process. What counted them before counts them no more."""
    for one in [one for one in OURS.handlers if isinstance(one, _Counting)]:
        OURS.removeHandler(one)
    OURS.addHandler(_Counting(metrics, process))


class _Counting(logging.Handler):
    def __init__(self, metrics: Metrics, process: str) -> None:
        super().__init__(logging.WARNING)
        self._metrics, self._process = metrics, process
        self._seen = Counter({"warning": 0, "error": 0})
        for level in self._seen:  # a count that begins at 1 would be no increase
            self._told(level)

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._seen[level] += 1
        self._told(level)

    def _told(self, level: str) -> None:
        said = {"process": self._process, "level": level}
        self._metrics.record(NAME, self._seen[level], said)
