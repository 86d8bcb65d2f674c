"""What the first reader would have to wait for, done as soon as the pages are open.

It owns which questions those are: the ones over all of history, whose answers are kept. Neither the start nor other
questions wait for it. What it cannot do is done when somebody asks.
"""

from __future__ import annotations

import logging
import sqlite3
import threading

import duckdb

from dosimeter.monitor.audit.queries.query import Queries
from dosimeter.monitor.pages.render import load_templates

WHOLE = ("count", "count_by_rule", "rules_seen")
log = logging.getLogger(__name__)


class Warming:
    """A thread from construction on."""

    def __init__(self, queries: Queries) -> None:
        self._queries, self._stopping = queries, threading.Event()
        self._thread = threading.Thread(target=self._run, name="warming", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        load_templates()
        try:
            for name in WHOLE:
                if self._stopping.is_set():
                    return
                self._queries.run(name, kind="alert")
            if not self._stopping.is_set():
                self._queries.learn()
        except (duckdb.Error, sqlite3.Error, OSError) as error:
            log.info("not counted before somebody asks: %s", error)

    def stop(self) -> None:
        """After the question that is being answered; then the queries may be closed."""
        self._stopping.set()
        self._thread.join()
