"""Answers for the line while it brings the ledger of an earlier release up to date, which may take minutes.

Whoever asks `/livez` learns that it works: a restart would only begin the same again. `/readyz` says that it takes
nothing in. It knows nothing of what is done to the ledger.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from dosimeter.monitor.health import Health
from dosimeter.monitor.history.ledger import SCHEMA_VERSION, check_version

EVERY_S = 10.0
log = logging.getLogger(__name__)


@contextlib.contextmanager
def migrating(ledger: Path, host: str, port: int) -> Iterator[None]:
    """Around the opening of a ledger; does nothing where that is quick. Raises HealthError, LedgerError."""
    version = _version(ledger)
    if version is None or version == SCHEMA_VERSION:
        yield
        return
    began, done = time.monotonic(), threading.Event()

    def words() -> str:
        took_s = time.monotonic() - began
        return (
            f"{ledger} is brought from version {version} to {SCHEMA_VERSION}: {took_s:.0f} s so far"
        )

    def tell() -> None:
        while not done.wait(EVERY_S):
            log.info("%s", words())

    size = ledger.stat().st_size
    log.info("%s, %d MiB; as much is needed on the disk meanwhile", words(), size >> 20)
    health = Health(host, port, lambda: True, lambda: {"migrating": words()}, words)
    telling = threading.Thread(target=tell, name="migrating", daemon=True)
    telling.start()
    try:
        yield
    finally:
        done.set()
        telling.join()
        health.close()


def _version(ledger: Path) -> int | None:
    if not ledger.exists():
        return None
    db = sqlite3.connect(f"{ledger.resolve().as_uri()}?mode=ro", uri=True, timeout=0.5)
    try:
        return check_version(db, ledger)
    except sqlite3.Error:  # whoever opens it to write says what is wrong
        return None
    finally:
        db.close()
