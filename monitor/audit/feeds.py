"""What history is fed by: the ledger of the sidecar beside it, or the topic of a fleet.

Owns which of the two it is, how much one look takes, and that the sidecar is told how far its ledger was read. It asks
for the cursor of what is stored, and knows nothing of how that is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from dosimeter.monitor.config import Config
from dosimeter.monitor.config_history import HistoryConfig
from dosimeter.monitor.feed import life
from dosimeter.monitor.feed.cursor_file import CursorFile
from dosimeter.monitor.feed.items import Batch, FeedAway
from dosimeter.monitor.feed.ledger_feed import LedgerFeed
from dosimeter.monitor.sinks.config import KafkaConfig

IDLE_S = 0.5
PART = 500
YOUNG = 20_000
"""Objects made before Python looks for circles among them: a batch makes about as many, and all are gone after it."""
GROUP = "dosimeter-history"

Stored = Callable[[], Any]
"""The cursor that was committed with the last batch; None before the first."""


class Feed(Protocol):
    """Reading again says that the last batch was stored, unless `rewind` came between."""

    def read(self) -> Batch: ...
    def rewind(self) -> None: ...
    def end(self) -> None:
        """We stop: what comes now is the rest."""

    def close(self) -> None: ...

    @property
    def owes(self) -> bool: ...


def build_feed(config: Config, settings: HistoryConfig, stored: Stored) -> Feed:
    """Raises FeedAway, LedgerError, and ValueError for the cursor of a later release."""
    if settings.kafka is None:
        return FromLedger(config, settings, stored)
    return FromKafka(settings.kafka, stored)


class FromLedger:
    """The sidecar beside it, which is told how far we are: it keeps what we have not read."""

    def __init__(self, config: Config, settings: HistoryConfig, stored: Stored) -> None:
        self._stored, self._ledger = stored, config.ledger_path
        self._feed = LedgerFeed(config.ledger_path, settings.name, stored())
        self._told = CursorFile(config.history_cursor_path)
        self._said: dict[str, Any] = {}

    def read(self) -> Batch:
        cursor = self._stored()
        if cursor and (said := {"ledger_id": cursor["source"], "seq": cursor["seq"]}) != self._said:
            try:
                self._told.save(said)
            except OSError as error:
                raise FeedAway(f"{self._told.path}: cannot be written now: {error}") from error
            self._said = said
        return self._feed.read(time.time_ns(), PART)

    def rewind(self) -> None:
        self._feed.rewind(self._stored())

    def end(self) -> None:
        """Where the sidecar has ended too, the rest of its coverage, and its last word."""
        if life.written(self._ledger) is False:
            self._feed.end(time.time_ns(), "ended")

    @property
    def owes(self) -> bool:
        return self._feed.owes

    def close(self) -> None:
        self._feed.close()


class FromKafka:
    """The sidecars of a fleet."""

    owes = False

    def __init__(self, config: KafkaConfig, stored: Stored) -> None:
        from dosimeter.monitor.feed.kafka_feed import KafkaFeed

        self._feed = KafkaFeed(config, GROUP, lambda: stored() or {})

    def read(self) -> Batch:
        return self._feed.read(IDLE_S, PART)

    def rewind(self) -> None:
        self._feed.rewind()

    def end(self) -> None:
        """Sidecars end without us."""

    def close(self) -> None:
        self._feed.close()
