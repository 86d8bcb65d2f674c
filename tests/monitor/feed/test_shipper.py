"""The shipper against a topic in memory: at least once through every failure, and no text of tokens leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from dosimeter.monitor.feed.cursor_file import CursorFile
from dosimeter.monitor.feed.items import (
    Alert,
    Alive,
    Bye,
    Coverage,
    Evidence,
    FeedAway,
    Hello,
    Item,
    Refused,
)
from dosimeter.monitor.feed.ledger_feed import LedgerFeed
from dosimeter.monitor.feed.shipper import ShipConfig, Shipper, ship
from dosimeter.monitor.feed.topic import TOPIC, item_at
from dosimeter.monitor.feed.wire import identity
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.lock import AlreadyWriting
from dosimeter.monitor.history.records import Account, LedgerRecord
from dosimeter.monitor.sinks.config import KafkaConfig

from .conftest import Clock, body_of, drain

HitOf = Callable[..., LedgerRecord]
KAFKA = KafkaConfig(("broker:9092",), TOPIC)


@dataclass
class Answer:
    exception: Exception | None = None

    def succeeded(self) -> bool:
        return self.exception is None


@dataclass
class Topic:
    """What the brokers took. fails: how many more records they take; None: all."""

    fails: int | None = None
    largest: int = 1 << 20
    items: list[Item] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    closed: int = 0

    def connect(self, config: KafkaConfig) -> Topic:
        assert config is KAFKA or config.topic == TOPIC
        return self

    def send(self, topic: str, *, key: bytes, value: bytes, headers: Any) -> Answer:
        assert topic == TOPIC
        assert headers
        if len(value) > self.largest:
            raise MessageSizeTooLargeError(f"{len(value)} bytes")
        if self.fails is not None:
            if not self.fails:
                return Answer(KafkaTimeoutError("nobody answers"))
            self.fails -= 1
        self.values.append(value)
        self.items.append(item_at("t", key, value))
        return Answer()

    def flush(self, timeout: float) -> None: ...

    def close(self, timeout: float) -> None:
        self.closed += 1


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def store(tmp_path: Path) -> CursorFile:
    return CursorFile(tmp_path / "ship.json")


def shipper_of(feed: LedgerFeed, store: CursorFile, topic: Topic) -> Shipper:
    return Shipper(feed, store, KAFKA, batch=3, connect=topic.connect)


def run(shipper: Shipper, now_ns: int) -> None:
    while shipper.step(now_ns):
        pass


def account(served: int) -> Account:
    return Account("e" * 16, served, served, 0, 1, 1, served_by={"usage": served})


def test_the_topic_holds_what_the_ledger_gives_in_its_order(
    ledger: Ledger, feed: LedgerFeed, store: CursorFile, topic: Topic, clock: Clock, hit_of: HitOf
) -> None:
    ledger.append([hit_of(n) for n in range(1, 9)])
    with LedgerFeed(feed.ledger, "pod-1") as direct:
        wanted = drain(direct, clock.now_ns, limit=3)
    run(shipper_of(feed, store, topic), clock.now_ns)
    assert topic.items == wanted
    run(shipper_of(feed, store, topic), clock.now_ns)  # the next start
    assert [one.kind for one in topic.items[len(wanted) :]] == ["alive"]


def test_the_text_of_tokens_stays_here(
    ledger: Ledger, feed: LedgerFeed, store: CursorFile, topic: Topic, clock: Clock, hit_of: HitOf
) -> None:
    hit = hit_of(1, tokens=True)
    ledger.append([hit])
    shipper = shipper_of(feed, store, topic)
    run(shipper, clock.now_ns)
    clock.forward(5)
    ledger.append(evidence={hit.event_id: body_of(67, tokens=True)})
    run(shipper, clock.now_ns)
    assert not any(b"word" in value for value in topic.values)
    [alert] = [one for one in topic.items if isinstance(one, Alert)]
    [grown] = [one for one in topic.items if isinstance(one, Evidence)]
    assert (alert.evidence, grown.body) == (body_of(3), body_of(67))


@pytest.mark.parametrize("body", [b"word", b'["word"]', b"[" * 100_000])
def test_evidence_that_cannot_be_read_does_not_leave(
    ledger: Ledger,
    feed: LedgerFeed,
    store: CursorFile,
    topic: Topic,
    clock: Clock,
    hit_of: HitOf,
    body: bytes,
) -> None:
    ledger.append([replace(hit_of(1), evidence=body)])
    run(shipper_of(feed, store, topic), clock.now_ns)
    assert [one.evidence for one in topic.items if isinstance(one, Alert)] == [b"{}"]


def test_brokers_that_fail_after_any_number_of_records_lose_none(
    ledger: Ledger, feed: LedgerFeed, store: CursorFile, topic: Topic, clock: Clock, hit_of: HitOf
) -> None:
    hits = [hit_of(n) for n in range(1, 9)]
    ledger.append(hits)
    shipper = shipper_of(feed, store, topic)
    for fails in range(6):
        topic.fails = fails
        with pytest.raises(
            FeedAway, match=r"topic `dosimeter\.history` at `broker:9092`: (.|\n)*init"
        ):
            run(shipper, clock.now_ns)
    assert topic.closed == 6
    topic.fails = None
    run(shipper, clock.now_ns)
    seqs = [one.seq for one in topic.items if isinstance(one, Alert)]
    assert sorted(set(seqs)) == list(range(1, 9))
    assert seqs[-1] == 8


class Dies(Exception):
    """The process, at this very place."""


def test_a_crash_before_or_after_any_save_repeats_and_never_counts_twice(
    path: Path,
    ledger: Ledger,
    store: CursorFile,
    topic: Topic,
    clock: Clock,
    hit_of: HitOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process dies at its k-th save, once before and once after it, while hours go by."""
    countdown, after = [0], [False]
    save = CursorFile.save

    def dying(self: CursorFile, cursor: Any) -> None:
        countdown[0] -= 1
        if not countdown[0] and not after[0]:
            raise Dies
        save(self, cursor)
        if not countdown[0]:
            raise Dies

    monkeypatch.setattr(CursorFile, "save", dying)
    number = 0
    for k in range(1, 9):
        for after[0] in (False, True):
            countdown[0] = k
            with LedgerFeed(path, "pod-1") as feed:
                shipper = shipper_of(feed, store, topic)
                died = False
                while not died:
                    number += 1
                    ledger.append([hit_of(number)], accounts=[account(100 * number)])
                    try:
                        run(shipper, clock.now_ns)
                    except Dies:
                        died = True
                    clock.forward(1500)
    countdown[0] = 0
    with LedgerFeed(path, "pod-1") as feed:
        shipper = shipper_of(feed, store, topic)
        run(shipper, clock.now_ns)
        shipper.end(clock.now_ns)
    seqs = [one.seq for one in topic.items if isinstance(one, Alert)]
    assert sorted(set(seqs)) == list(range(1, number + 1))
    once = {identity(one): one for one in topic.items if isinstance(one, Coverage)}
    assert sum(one.served for one in once.values()) == 100 * number
    spans = sorted((one.from_ns, one.to_ns) for one in once.values())
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert len({identity(one) for one in topic.items if isinstance(one, Hello)}) == 1


def test_what_no_broker_takes_is_told_in_its_place(
    ledger: Ledger, feed: LedgerFeed, store: CursorFile, topic: Topic, clock: Clock, hit_of: HitOf
) -> None:
    topic.largest = 4000
    large = hit_of(2, summary="x" * 4000)
    ledger.append([hit_of(1), large, hit_of(3)])
    run(shipper_of(feed, store, topic), clock.now_ns)
    assert [one.seq for one in topic.items if isinstance(one, Alert)] == [1, 3]
    [refused] = [one for one in topic.items if isinstance(one, Refused)]
    assert refused.where == f"alert 2 {large.event_id}"
    assert "bytes" in refused.because
    assert refused.source is not None


def test_what_a_broker_refuses_takes_no_neighbour_with_it(
    ledger: Ledger, feed: LedgerFeed, store: CursorFile, clock: Clock, hit_of: HitOf
) -> None:
    """2026-11-30, seen with Apache Kafka: the client gives the error of one record to all that follow it."""

    class Latched(Topic):
        error: Exception | None = None

        def connect(self, config: KafkaConfig) -> Topic:
            self.error = None
            return super().connect(config)

        def send(self, topic: str, *, key: bytes, value: bytes, headers: Any) -> Answer:
            if len(value) > self.largest:
                self.error = MessageSizeTooLargeError("too large for the topic")
            if self.error is not None:
                return Answer(self.error)
            return super().send(topic, key=key, value=value, headers=headers)

    topic = Latched(largest=4000)
    ledger.append([hit_of(1), hit_of(2, summary="x" * 4000), *map(hit_of, range(3, 8))])
    run(shipper_of(feed, store, topic), clock.now_ns)
    sent = [one.seq for one in topic.items if isinstance(one, Alert)]
    assert sorted(set(sent)) == [1, 3, 4, 5, 6, 7]
    [refused] = [one for one in topic.items if isinstance(one, Refused)]
    assert refused.where.startswith("alert 2 ")


def test_a_stop_sends_the_rest_and_the_last_word(
    path: Path, ledger: Ledger, topic: Topic, clock: Clock, hit_of: HitOf, tmp_path: Path
) -> None:
    ledger.append([hit_of(n) for n in range(1, 9)], accounts=[account(70)])
    config = ShipConfig(
        path, tmp_path / "ship.json", tmp_path / "history.cursor", KAFKA, "pod-1", batch=3
    )
    stop = threading.Event()
    stop.set()
    ship(config, stop, connect=topic.connect, time_ns=clock)
    assert [one.seq for one in topic.items if isinstance(one, Alert)] == list(range(1, 9))
    assert sum(one.served for one in topic.items if isinstance(one, Coverage)) == 70
    assert isinstance(topic.items[-1], Bye)
    assert topic.items[-1].last_seq == 8
    told = json.loads((tmp_path / "history.cursor").read_bytes())
    assert told["seq"] == 8  # up to here the sidecar need not keep anything for us
    before = len(topic.items)
    clock.forward(5)
    ship(config, stop, connect=topic.connect, time_ns=clock)
    assert [type(one) for one in topic.items[before:]] == [Alive, Bye]


def test_a_second_shipper_of_the_same_store_is_refused(
    path: Path, topic: Topic, tmp_path: Path
) -> None:
    config = ShipConfig(path, tmp_path / "ship.json", tmp_path / "history.cursor", KAFKA, "pod-1")
    inner: list[type[Exception]] = []

    def second() -> int:
        if not stop.is_set():
            with pytest.raises(AlreadyWriting) as refused:
                ship(config, threading.Event(), connect=topic.connect)
            inner.append(refused.type)
            stop.set()
        return 0

    stop = threading.Event()
    ship(config, stop, connect=topic.connect, time_ns=second)
    assert inner == [AlreadyWriting]


def test_brokers_that_are_away_are_waited_for(
    path: Path, ledger: Ledger, topic: Topic, clock: Clock, hit_of: HitOf, tmp_path: Path
) -> None:
    ledger.append([hit_of(1)])
    stop, tries = threading.Event(), list[int]()

    def connect(_: KafkaConfig) -> Topic:
        tries.append(1)
        if len(tries) < 3:
            raise KafkaTimeoutError("no brokers")
        stop.set()
        return topic

    config = ShipConfig(
        path, tmp_path / "ship.json", tmp_path / "history.cursor", KAFKA, "pod-1", backoff_s=0.0
    )
    ship(config, stop, connect=connect, time_ns=clock)
    assert len(tries) == 3
    assert [one.seq for one in topic.items if isinstance(one, Alert)] == [1]
    assert json.loads((tmp_path / "ship.json").read_bytes())["seq"] == 1


def test_once_sends_what_is_there_and_ends_or_says_that_it_could_not(
    path: Path, ledger: Ledger, topic: Topic, clock: Clock, hit_of: HitOf, tmp_path: Path
) -> None:
    """It went on for ever: `--once` was not looked at where a sidecar ships."""
    ledger.append([hit_of(n) for n in range(1, 9)])
    config = ShipConfig(
        path, tmp_path / "ship.json", tmp_path / "history.cursor", KAFKA, "pod-1", batch=3
    )
    ship(config, threading.Event(), once=True, connect=topic.connect, time_ns=clock)
    assert [one.seq for one in topic.items if isinstance(one, Alert)] == list(range(1, 9))

    def away(_: KafkaConfig) -> Topic:
        raise KafkaTimeoutError("no brokers")

    ledger.append([hit_of(9)])
    with pytest.raises(FeedAway, match="no brokers"):
        ship(config, threading.Event(), once=True, connect=away, time_ns=clock)
