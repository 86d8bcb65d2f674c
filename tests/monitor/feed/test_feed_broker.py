"""From a ledger through a real broker to a real consumer: the same items as from the ledger directly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

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
from dosimeter.monitor.feed.kafka_feed import QUIET_S, KafkaFeed, build_consumer
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
GROUP = "history"
READS = 300
"""At most; each waits up to a tenth of a second for something to come."""


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def kafka(broker: EmbeddedBroker, request: pytest.FixtureRequest) -> KafkaConfig:
    topic = request.node.name[:60]
    init_topic([broker.bootstrap], topic, partitions=3)
    return KafkaConfig((broker.bootstrap,), topic)


def feed_of(
    kafka: KafkaConfig, history: History, now: Callable[[], float] = time.monotonic
) -> AbstractContextManager[KafkaFeed]:
    return closing(KafkaFeed(kafka, GROUP, lambda: history.cursor, clock=now))


class History:
    """What a store would hold: items and offsets, moved together."""

    def __init__(self) -> None:
        self.cursor: dict[str, Any] = {}
        self.items: list[Item] = []

    def store(self, batch: Batch) -> None:
        self.items += batch.items
        self.cursor.update(batch.cursor)

    @property
    def alerts(self) -> list[tuple[str, int]]:
        return [(one.source, one.seq) for one in self.items if isinstance(one, Alert)]

    def has_alerts(self, count: int) -> bool:
        return len(self.alerts) == count

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
    with feed_of(kafka, history) as feed:
        history.take([feed], lambda: history.has_sign_of(last_ns))
        found = history.items
        half.cursor = {name: offset - 10 for name, offset in history.cursor.items()}
        history.cursor, history.items = dict(half.cursor), []
        feed.rewind()
        history.take([feed], lambda: history.has_sign_of(last_ns))
    assert history.items == found[-10:]
    with feed_of(kafka, half) as feed:
        half.take([feed], lambda: half.has_sign_of(last_ns))
    assert half.items == found[-10:]
    assert [one for one in found if one.kind != "alive"] == [
        one for one in wanted if one.kind != "alive"
    ]


def test_two_that_share_a_group_by_accident_each_see_everything_and_in_order(
    kafka: KafkaConfig, clock: Clock, hit_of: HitOf, tmp_path: Path
) -> None:
    paths = [tmp_path / f"pod-{n}.db" for n in range(6)]
    wanted = [
        one for path in paths for one in filled(path, clock, [hit_of(n) for n in range(1, 9)])
    ]
    for path in paths:
        shipped(path, kafka, clock.now_ns)
    one, two = History(), History()
    alerts = {(of.source, of.seq) for of in wanted if isinstance(of, Alert)}
    with feed_of(kafka, one) as feed, feed_of(kafka, two) as other:
        for n in range(READS):
            if all(len(h.alerts) == len(alerts) == 48 for h in (one, two)):
                break
            history, its = ((one, feed), (two, other))[n % 2]
            history.store(its.read(0.1, 7))
    for history in (one, two):
        found = Watcher().see(history.items, clock.now_ns)
        assert set(history.alerts) == alerts
        assert {of.name for of in history.items if isinstance(of, Hello)} == {
            path.stem for path in paths
        }
        assert {of.kind for of in found} <= {"birth", "death"}
        assert len([of for of in found if isinstance(of, Birth) and not of.resumed]) == 6


def test_a_restart_goes_on_with_its_first_records_and_kafka_shows_how_far_it_came(
    kafka: KafkaConfig, path: Path, clock: Clock, hit_of: HitOf
) -> None:
    history = History()
    for some in (range(1, 9), range(9, 12), range(12, 15)):
        with Ledger(path, now_ns=clock) as ledger:
            ledger.append([hit_of(n) for n in some])
        shipped(path, kafka, clock.now_ns)
        with feed_of(kafka, history) as feed:
            history.take([feed], partial(history.has_alerts, some.stop - 1))
            while (rest := feed.read(0.1)).items:  # by reading again one says that it was stored
                history.store(rest)
    assert [seq for _, seq in history.alerts] == list(range(1, 15))
    with closing(build_consumer(kafka, GROUP)) as shown:
        for name, offset in history.cursor.items():
            partition = TopicPartition(kafka.topic, int(name.rpartition("-")[2]))
            assert shown.committed(partition) == offset


def test_a_topic_that_is_not_there_yet_is_away_and_read_as_soon_as_it_is(
    broker: EmbeddedBroker, path: Path, clock: Clock, hit_of: HitOf
) -> None:
    late, history = KafkaConfig((broker.bootstrap,), "late"), History()
    with feed_of(late, history) as feed:
        with pytest.raises(FeedAway, match=r"hint: make it: `dosimeter kafka init .*--topic late`"):
            feed.read(0.1)
        init_topic([broker.bootstrap], "late", partitions=2)
        filled(path, clock, [hit_of(n) for n in range(1, 9)])
        shipped(path, late, clock.now_ns)
        history.take([feed], lambda: len(history.alerts) == 8)


def test_a_topic_made_anew_is_said_and_read_from_its_beginning_also_after_a_restart(
    broker: EmbeddedBroker, kafka: KafkaConfig, tmp_path: Path, clock: Clock, hit_of: HitOf
) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    filled(old, clock, [hit_of(n) for n in range(1, 40)])
    shipped(old, kafka, clock.now_ns)
    history, now = History(), [100.0]
    with feed_of(kafka, history) as feed:
        history.take([feed], lambda: len(history.alerts) == 39)
    with closing(KafkaAdminClient(bootstrap_servers=[broker.bootstrap])) as admin:
        admin.delete_topics([kafka.topic])
    init_topic([broker.bootstrap], kafka.topic, partitions=3)
    filled(new, clock, [hit_of(n) for n in range(1, 5)])
    shipped(new, kafka, clock.now_ns)

    def came() -> bool:
        now[0] += QUIET_S
        return len(history.alerts) >= 43 and any(isinstance(i, Refused) for i in history.items)

    with feed_of(kafka, history, lambda: now[0]) as feed:
        history.take([feed], came)
    assert [seq for _, seq in history.alerts] == [*range(1, 40), 1, 2, 3, 4]
    refused = [one for one in history.items if isinstance(one, Refused)]
    assert len(refused) == 1
    assert refused[0].because.endswith("it was made anew, or lost its end")


def test_brokers_that_go_away_are_said_to_be_away(clock: Clock) -> None:
    now = [100.0]
    with EmbeddedBroker() as broker:
        config = KafkaConfig((broker.bootstrap,), "t", connect_timeout_s=1.0)
        init_topic([broker.bootstrap], "t", partitions=1)
        feed = KafkaFeed(config, GROUP, dict, clock=lambda: now[0])
        assert feed.read(0.1) == Batch()
    now[0] += QUIET_S
    with pytest.raises(FeedAway, match="topic `t`"):
        feed.read(0.1)


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
    with feed_of(kafka, history) as feed:
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
