"""From a ledger through a real broker to a real consumer group: the same items as from the ledger directly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.feed.cursor_file import CursorFile
from dosimeter.monitor.feed.items import (
    Alert,
    Alive,
    Batch,
    Evidence,
    FeedAway,
    Hello,
    Item,
    Refused,
)
from dosimeter.monitor.feed.kafka_feed import KafkaFeed, build_consumer
from dosimeter.monitor.feed.ledger_feed import LedgerFeed
from dosimeter.monitor.feed.shipper import Shipper
from dosimeter.monitor.feed.watcher import Birth, Watcher
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import Account, LedgerRecord
from dosimeter.monitor.lab.broker import EmbeddedBroker, free_port
from dosimeter.monitor.sinks.config import KafkaConfig

from .conftest import Clock, body_of, drain

pytestmark = pytest.mark.parts
HitOf = Callable[..., LedgerRecord]
READS = 300
"""At most; each waits up to a tenth of a second for something to come."""
SESSION = {"session_timeout_ms": 1000, "heartbeat_interval_ms": 250}
"""The embedded broker lets each member that joins wait for half of it."""


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def kafka(broker: EmbeddedBroker, request: pytest.FixtureRequest) -> KafkaConfig:
    topic = request.node.name[:60]
    init_topic([broker.bootstrap], topic, partitions=3)
    return KafkaConfig((broker.bootstrap,), topic)


def member(kafka: KafkaConfig, group: str, history: History) -> AbstractContextManager[KafkaFeed]:
    return closing(
        KafkaFeed(
            kafka,
            group,
            lambda: history.cursor,
            connect=lambda config, name: build_consumer(replace(config, security=SESSION), name),
        )
    )


class History:
    """What a store would hold: items and offsets, moved together."""

    def __init__(self) -> None:
        self.cursor: dict[str, Any] = {}
        self.items: list[Item] = []

    def store(self, batch: Batch) -> None:
        self.items += batch.items
        self.cursor.update(batch.cursor)

    def has_sign_of(self, ns: int) -> bool:
        return any(isinstance(one, Alive) and one.at_ns == ns for one in self.items)

    def take(self, feeds: list[KafkaFeed], wanted: Callable[[], bool]) -> None:
        for n in range(READS):
            if wanted():
                return
            self.store(feeds[n % len(feeds)].read(0.1, 7))
        raise AssertionError(f"{len(self.items)} items came, and no more in time")


def shipped(path: Path, kafka: KafkaConfig, now_ns: int) -> None:
    with LedgerFeed(path, path.stem) as feed:
        shipper = Shipper(feed, CursorFile(path.with_suffix(".json")), kafka, batch=5)
        while shipper.step(now_ns):
            pass
        shipper.close()


def filled(path: Path, clock: Clock, hits: list[LedgerRecord]) -> list[Item]:
    """A ledger, and what it gives directly."""
    with Ledger(path, now_ns=clock) as ledger, LedgerFeed(path, path.stem) as direct:
        account = Account("e" * 16, 9, 9, 0, 1, 1, served_by={"usage": 9})
        ledger.append(hits, accounts=[account])
        return drain(direct, clock.now_ns)


def test_the_same_items_come_out_as_from_the_ledger_and_again_from_an_older_cursor(
    kafka: KafkaConfig, path: Path, clock: Clock, hit_of: HitOf
) -> None:
    with Ledger(path, now_ns=clock) as ledger:
        direct = LedgerFeed(path, path.stem)
        ledger.append([hit_of(n) for n in range(1, 40)])
        wanted = drain(direct, clock.now_ns)
        shipped(path, kafka, clock.now_ns)
        clock.forward(5)
        ledger.append(evidence={f"{3:032x}": body_of(67)})
        wanted += [one for one in drain(direct, clock.now_ns) if isinstance(one, Evidence)]
        direct.close()
        shipped(path, kafka, clock.now_ns)
    history, half, last_ns = History(), History(), clock.now_ns
    with member(kafka, "history", history) as feed:
        history.take([feed], lambda: history.has_sign_of(last_ns))
        found = history.items
        half.cursor = {name: offset - 10 for name, offset in history.cursor.items()}
        history.cursor, history.items = dict(half.cursor), []
        feed.rewind()
        history.take([feed], lambda: history.has_sign_of(last_ns))
    assert history.items == found[-10:]
    with member(kafka, "history", half) as feed:
        half.take([feed], lambda: half.has_sign_of(last_ns))
    assert half.items == found[-10:]
    assert [one for one in found if one.kind != "alive"] == [
        one for one in wanted if one.kind != "alive"
    ]


def test_two_members_that_share_a_store_lose_nothing_when_partitions_move(
    kafka: KafkaConfig, clock: Clock, hit_of: HitOf, tmp_path: Path
) -> None:
    paths = [tmp_path / f"pod-{n}.db" for n in range(6)]
    wanted = [
        one for path in paths for one in filled(path, clock, [hit_of(n) for n in range(1, 9)])
    ]
    for path in paths[:3]:
        shipped(path, kafka, clock.now_ns)
    history, watcher = History(), Watcher()
    ids = {one.event_id + one.source for one in wanted if isinstance(one, Alert)}

    def came(sources: int) -> bool:
        found = {one.event_id + one.source for one in history.items if isinstance(one, Alert)}
        assert found <= ids
        return len(found) == 8 * sources

    with member(kafka, "fleet", history) as two:
        with member(kafka, "fleet", history) as one:
            history.take([one], lambda: came(3))
            history.store(two.read(0.1, 7))
            for path in paths[3:]:
                shipped(path, kafka, clock.now_ns)
            history.take([one, two], lambda: came(6))
        with Ledger(paths[0], now_ns=clock) as ledger:
            ledger.append([hit_of(9)])
        shipped(paths[0], kafka, clock.now_ns)
        last = f"{9:032x}"
        history.take([two], lambda: any(getattr(o, "event_id", "") == last for o in history.items))
    found = watcher.see(history.items, clock.now_ns)
    names = {one.name for one in history.items if isinstance(one, Hello)}
    assert names == {path.stem for path in paths}
    assert {f.kind for f in found} <= {"birth", "death"}
    assert len([f for f in found if isinstance(f, Birth) and not f.resumed]) == 6


def test_what_is_not_ours_is_refused_and_what_follows_comes(
    broker: EmbeddedBroker, kafka: KafkaConfig, path: Path, clock: Clock, hit_of: HitOf
) -> None:
    producer = KafkaProducer(bootstrap_servers=[broker.bootstrap])
    for partition in range(3):
        for value in (b"\x00", b"{}", b"x" * 300_000, None):
            producer.send(kafka.topic, key=b"k", value=value, partition=partition)
    producer.flush()
    producer.close()
    wanted = filled(path, clock, [hit_of(n) for n in range(1, 9)])
    shipped(path, kafka, clock.now_ns)
    history = History()
    with member(kafka, "history", history) as feed:
        history.take([feed], lambda: len(history.items) >= 12 + len(wanted) - 1)
    assert len([one for one in history.items if isinstance(one, Refused)]) == 12
    alerts = [one for one in history.items if isinstance(one, Alert)]
    assert alerts == [one for one in wanted if isinstance(one, Alert)]


def test_no_broker_is_away_and_not_a_crash(path: Path, ledger: Ledger, clock: Clock) -> None:
    config = KafkaConfig((f"127.0.0.1:{free_port()}",), "t", connect_timeout_s=0.3)
    with pytest.raises(FeedAway, match=f"topic `t` at `{config.bootstrap[0]}`"):
        KafkaFeed(config, "g", dict).read(0.1)
    with pytest.raises(FeedAway, match="topic `t`"):
        shipped(path, config, clock.now_ns)
