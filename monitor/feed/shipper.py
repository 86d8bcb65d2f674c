"""From a ledger to a topic, for a history on another machine: every item at least once, in the order of the ledger.

It owns the cursor file, which moves only over what the brokers acknowledged, and keeps the text of tokens on this
machine. It knows nothing of who reads the topic.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kafka.errors import KafkaError, UnknownError

from dosimeter.monitor.feed.cursor_file import CursorFile
from dosimeter.monitor.feed.items import Alert, Evidence, FeedAway, Item, Refused
from dosimeter.monitor.feed.ledger_feed import LedgerFeed
from dosimeter.monitor.feed.topic import record
from dosimeter.monitor.history.lock import WriterLock
from dosimeter.monitor.lane import Backoff
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka import REFUSED, build_producer, wait_for
from dosimeter.monitor.sinks.kafka_client import explained

log = logging.getLogger(__name__)
Connect = Callable[[KafkaConfig], Any]


@dataclass(frozen=True)
class ShipConfig:
    ledger: Path
    store: Path  # the cursor's own file
    told: Path  # where the sidecar reads how far we are: it keeps what was not sent
    kafka: KafkaConfig  # its topic is history's
    name: str  # of this host or pod
    poll_s: float = 0.2
    batch: int = 500  # alerts in flight at most
    backoff_s: float = 0.1
    backoff_cap_s: float = 5.0
    drain_s: float = 5.0  # on stop: how long to go on while the brokers answer


class Shipper:
    """One ledger's way into the topic; use it from one thread."""

    def __init__(
        self,
        feed: LedgerFeed,
        store: CursorFile,
        config: KafkaConfig,
        *,
        told: CursorFile | None = None,
        batch: int = 500,
        connect: Connect = build_producer,
    ) -> None:
        """feed: anywhere; it is set to where the store stands. told: how far we are, for the sidecar."""
        self._feed, self._store, self._config, self._told = feed, store, config, told
        self._batch, self._connect = batch, connect
        self._producer: Any = None
        self._saved: Mapping[str, Any] = store.load()
        feed.rewind(self._saved)

    def step(self, now_ns: int) -> bool:
        """Send what is next. False: nothing waits. Raises FeedAway; the same is then sent at the next call."""
        before = self._feed.cursor
        batch = self._feed.read(now_ns, self._batch)
        if not batch.items:
            return self._feed.owes
        try:
            if before != self._saved:  # it may owe what no later look would give again
                self._save(before)
            source = str(batch.cursor["source"])
            refused = self._send([_without_text(item) for item in batch.items], source)
            if refused:
                self._send(refused, source)
            self._save(batch.cursor)
        except (KafkaError, OSError, ValueError) as error:
            self.close()
            self._feed.rewind(self._saved)
            brokers = ",".join(self._config.bootstrap)
            raise FeedAway(
                f"topic `{self._config.topic}` at `{brokers}`: {explained(error, self._config.topic)}"
            ) from error
        return True

    def end(self, now_ns: int) -> None:
        """The last words of the source, sent when this returns. Raises FeedAway."""
        self._feed.end(now_ns, "ended")
        while self._feed.owes:
            self.step(now_ns)

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.close(timeout=1.0)
        except KafkaError:
            producer._sender.force_close()  # as in the sink: close() raises before it stops its thread

    def _save(self, cursor: Mapping[str, Any]) -> None:
        self._store.save(cursor)
        self._saved = cursor
        if self._told is not None and cursor.get("source"):
            self._told.save({"ledger_id": cursor["source"], "seq": cursor["seq"]})

    def _send(self, items: Sequence[Item], source: str) -> list[Refused]:
        """Returns, for each item that no broker takes, what is sent in its place."""
        refused: list[Refused] = []
        for place, why in self._attempt(items, source).items():
            item, alone = items[place], why
            if len(items) > 1:
                # A producer of which one record was refused refuses all that follow: alone, each has its own answer.
                again = self._attempt([item], source)
                if not again:
                    continue
                alone = again[0]
            if isinstance(item, Refused):
                raise alone
            log.error("%s is not taken by the topic: %s", _where(item), alone)
            refused.append(Refused(source, _where(item), str(alone)[:1000]))
        return refused

    def _attempt(self, items: Sequence[Item], source: str) -> dict[int, Exception]:
        """Places of those that were refused, and why; then the producer is of no more use. Raises KafkaError."""
        if self._producer is None:
            self._producer = self._connect(self._config)
        futures: list[Any] = []
        for item in items:
            of = getattr(item, "source", None) or source
            try:
                futures.append(self._producer.send(self._config.topic, **record(item, of)))
            except REFUSED as error:
                futures.append(error)
        deadline = time.monotonic() + self._config.delivery_timeout_s + 1
        try:
            self._producer.flush(deadline - time.monotonic())
        except UnknownError:
            wait_for([one for one in futures if not isinstance(one, Exception)], deadline)
        found = {}
        for place, future in enumerate(futures):
            why = future if isinstance(future, Exception) else _answer(future)
            if why is not None and not isinstance(why, REFUSED):
                raise why
            if why is not None:
                found[place] = why
        if found:
            self.close()
        return found


def _answer(future: Any) -> Exception | None:
    if future.succeeded():
        return None
    error: Exception | None = future.exception
    return error or KafkaError("no acknowledgement in time")


def _where(item: Item) -> str:
    if isinstance(item, Alert):
        return f"alert {item.seq} {item.event_id}"
    return f"{item.kind} {getattr(item, 'event_id', None) or getattr(item, 'sha256', '')}".strip()


def _without_text(item: Item) -> Item:
    if isinstance(item, Alert) and item.evidence is not None:
        return replace(item, evidence=_scores(item.evidence))
    return replace(item, body=_scores(item.body)) if isinstance(item, Evidence) else item


def _scores(body: bytes) -> bytes:
    """Evidence without the text of its tokens; what cannot be read as evidence does not leave at all."""
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
        if isinstance(found, dict):
            if "tokens" not in found:
                return body
            del found["tokens"]
            return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()
    return b"{}"


def ship(
    config: ShipConfig,
    stop: threading.Event,
    *,
    once: bool = False,
    connect: Connect = build_producer,
    time_ns: Callable[[], int] = time.time_ns,
    uniform: Callable[[float, float], float] = random.uniform,
) -> None:
    """Send until `stop` is set, then what is left for at most `drain_s`, and the last word. Blocks.

    once: until all that is there is sent; a ledger or a broker that is away, which otherwise is waited for, raises
    FeedAway then. Raises AlreadyWriting when another process has the store, CursorError, LedgerError.
    """
    config.store.parent.mkdir(parents=True, exist_ok=True)
    lock = WriterLock(config.store)
    backoff = Backoff(config.backoff_s, config.backoff_cap_s, uniform)
    feed = LedgerFeed(config.ledger, config.name)
    try:
        shipper = Shipper(
            feed,
            CursorFile(config.store),
            config.kafka,
            told=CursorFile(config.told),
            batch=config.batch,
            connect=connect,
        )
        try:
            while once and not stop.is_set() and shipper.step(time_ns()):
                pass
            while not once and not stop.is_set():
                stop.wait(_pause(shipper, config, backoff, time_ns()))
            with suppress(FeedAway):  # what is left is in the ledger, and sent at the next start
                deadline = time.monotonic() + config.drain_s
                while time.monotonic() < deadline and shipper.step(time_ns()):
                    pass
                shipper.end(time_ns())
        finally:
            shipper.close()
    finally:
        feed.close()
        lock.close()


def _pause(shipper: Shipper, config: ShipConfig, backoff: Backoff, now_ns: int) -> float:
    """One step, and how long to wait before the next."""
    try:
        more = shipper.step(now_ns)
    except FeedAway as error:
        if not backoff.failures:
            log.warning("%s", error)
        return backoff.next_s()
    backoff.reset()
    return 0.0 if more else config.poll_s
