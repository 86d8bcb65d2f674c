"""Both stages without a broker: what is odd in a topic stops nothing, and a backlog is decided as it would have been.

The member is a fake: it gives the records it is told to, and says what was committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from dosimeter.monitor.feed.items import Alert
from dosimeter.monitor.feed.topic import record as feed_record
from dosimeter.monitor.fleet.counter import FleetCounter
from dosimeter.monitor.fleet.hit import FleetHit, encode
from dosimeter.monitor.fleet.member import FleetAway, Member
from dosimeter.monitor.fleet.router import Router
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.rules.canonical import canonical
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import Policy

S, HOUR = 10**9, 3600 * 10**9
START = 20_000 * 24 * HOUR
DAY = date(2027, 1, 1)
AT = TopicPartition("t", 0)
HITS = KafkaConfig(("nowhere:1",), "hits")


def rule(repeat_s: int = 0) -> SecondRule:
    form = Count("hits", ("scam",), 1, 60)
    policy = Policy(group_by=("tenant",), repeat_after_s=repeat_s)
    return SecondRule("burst", form, "live", "high", "x", "sre", "", policy)


class Fake:
    """One partition. batches: what each poll gives."""

    def __init__(self, *batches: list[Any]) -> None:
        self.batches, self.closed = list(batches), 0
        self.assigned = frozenset({AT})
        self.topic_partitions = 3
        self.commits: list[Mapping[TopicPartition, tuple[int, str]]] = []
        self.taken: set[TopicPartition] = set()

    def poll(self, timeout_s: float, limit: int) -> dict[TopicPartition, list[Any]]:
        return {AT: self.batches.pop(0)} if self.batches else {}

    def committed(self, of: TopicPartition) -> None: ...
    def seek(self, of: TopicPartition, offset: int | None) -> None: ...

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        self.commits.append(offsets)

    def left(self) -> set[TopicPartition]:
        found, self.taken = self.taken, set()
        return found

    def at_end(self, of: TopicPartition) -> bool:
        return not self.batches

    def end(self, of: TopicPartition) -> int:
        return 1 << 40

    def lag(self) -> int:
        return 0

    def close(self) -> None:
        self.closed += 1


def row(offset: int, **of: Any) -> Any:
    said = {"topic": "t", "partition": 0, "timestamp": START // 10**6, "key": None, "headers": []}
    return SimpleNamespace(offset=offset, **(said | of))


def fed(offset: int, **change: Any) -> Any:
    """A record of the feed: one hit, with this changed in it."""
    core = {
        "kind": "alert", "rule": "scam", "rule_sha256": "0" * 64, "status": "live", "decision": "notified",
        "time_ns": START, "epoch": "0" * 16, "key": f"{offset:016x}", "model": {"name": "m"},
        "labels": {"tenant": "t"}, "trusted": ["tenant"],
    } | change  # fmt: skip
    item = Alert("0" * 32, offset + 1, f"{offset:032x}", json.dumps(core).encode(), None, True)
    sent = feed_record(item, "0" * 32)
    return row(offset, key=sent["key"], value=sent["value"])


class Producer:
    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, topic: str, *, value: bytes, **_: Any) -> Any:
        self.sent.append(json.loads(value)["hit"][-1])
        return SimpleNamespace(succeeded=lambda: True)

    def flush(self, timeout: float) -> None: ...
    def close(self, timeout: float) -> None: ...


def failed(error: Exception) -> Any:
    return SimpleNamespace(succeeded=lambda: False, exception=error)


def router(member: Fake, producer: Any) -> Router:
    rules = (rule(),)
    return Router(cast(Member, member), HITS, lambda: rules, dict, connect=lambda _: producer)


@pytest.mark.parametrize(
    "poison",
    [
        {"rule": ["scam"]},
        {"labels": {"tenant": 1.5}},
        {"labels": {"tenant": "\ud800"}},
        {"time_ns": -(10**30), "status": "shadow"},
        {"time_ns": 1.5},
        {"labels": {"tenant": "x" * 70_000}},
        {"model": None},
        {"epoch": None, "trusted": 3},
    ],
)
def test_a_record_that_cannot_be_counted_takes_none_of_its_neighbours_with_it(
    poison: dict[str, Any],
) -> None:
    """Found by review on 2026-11-30: an error that nobody expected dropped the batch it came in."""
    member, producer = Fake([fed(0), fed(1, **poison), fed(2)]), Producer()
    made = router(member, producer)
    made.step(0)
    assert producer.sent == ["0", "2"]
    assert made.seen["refused"] == 1
    assert member.commits == [{AT: (3, "")}]


def test_a_gap_in_what_is_read_again_counts_once() -> None:
    """While hits cannot be sent on, the same records come every few seconds."""

    class Away(Producer):
        def send(self, topic: str, *, value: bytes, **_: Any) -> Any:
            super().send(topic, value=value)
            if len(self.sent) < 5:
                return failed(KafkaTimeoutError("gone"))
            return SimpleNamespace(succeeded=lambda: True)

    again = [fed(0), fed(4)]
    made = router(Fake(again, again, again), Away())
    for _ in range(2):
        with pytest.raises(FleetAway):
            made.step(0)
    made.step(0)
    assert (made.told["records_missing"], made.told["positions_missing"]) == (3, 3)


def test_what_could_not_be_sent_is_read_again() -> None:
    class Away(Producer):
        def send(self, *_: Any, **__: Any) -> Any:
            return failed(KafkaTimeoutError("gone"))

    member = Fake([fed(0)])
    made = router(member, Away())
    with pytest.raises(FleetAway):
        made.step(0)
    assert (member.commits, member.closed > 0) == ([], True)
    assert (made.told["partitions"], made.told["topic_partitions"]) == ([], 3)


def test_a_hit_that_the_brokers_refuse_is_said_and_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where the topic takes less than a hit may be long: the same batch had been sent again for ever."""

    class Small(Producer):
        def send(self, topic: str, *, value: bytes, **_: Any) -> Any:
            if len(value) > 1000:
                return failed(MessageSizeTooLargeError("too large"))
            return super().send(topic, value=value)

    member, producer = Fake([fed(0), fed(1, labels={"tenant": "x" * 1000}), fed(2)]), Small()
    made = router(member, producer)
    made.step(0)
    assert producer.sent == ["0", "2"]
    assert (made.seen["sent"], made.seen["refused"]) == (2, 1)
    assert member.commits == [{AT: (3, "")}]
    (said,) = caplog.messages
    assert said.startswith(f"hit {1:032x} is not counted: topic `hits`: ")
    assert "`max.message.bytes`" in said


def test_a_stage_that_lost_its_connection_says_that_it_has_no_share(tmp_path: Path) -> None:
    """Others take it over meanwhile: two that claim it would hide a partition that nobody has."""

    class Breaks(Fake):
        def poll(self, timeout_s: float, limit: int) -> dict[TopicPartition, list[Any]]:
            if not self.batches:
                raise FleetAway("gone")
            return super().poll(timeout_s, limit)

    rules = (rule(),)
    with Ledger(tmp_path / "ledger.db") as ledger:
        member = cast(Member, Breaks([], [hit(0, START)]))
        counter = FleetCounter(member, ledger, lambda: (rules, DAY), lambda: START, group="g")
        counter.step(0)
        counter.step(0)
        assert (counter.told["partitions"], counter.told["hits"]) == ([0], 1)
        with pytest.raises(FleetAway):
            counter.step(0)
        assert (counter.told["partitions"], counter.told["hits"]) == ([], 1)


def test_a_record_of_the_feed_that_is_none_is_said_with_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = router(Fake([row(7, value=b"no", key=b"k")]), Producer())
    made.step(0)
    assert made.seen["refused"] == 1
    (said,) = caplog.messages
    assert said.startswith("t-0 offset 7, key `k` is not counted: ")


def test_a_flood_of_what_is_refused_is_a_few_lines_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Found by review on 2026-11-30: each record was a line, so whoever writes the topic could fill a disk."""
    at = [START]
    nonsense = [row(offset, value=b"[]", key=b"k") for offset in range(500)]
    made = Router(cast(Member, Fake(nonsense, nonsense)), HITS, tuple, dict, time_ns=lambda: at[0])
    made.step(0)
    made.step(0)
    at[0] += 61 * S
    made.step(0)
    assert made.seen["refused"] == 1000
    first, more = caplog.messages
    assert first.startswith("t-0 offset 0, key `k` is not counted: ")
    assert more.startswith("999 more are not counted, the latest t-0 offset 499, key `k`: ")

    caplog.clear()
    at[0] = START
    with Ledger(tmp_path / "ledger.db") as ledger:
        member = cast(Member, Fake([], nonsense, []))
        counter = FleetCounter(member, ledger, lambda: ((rule(),), DAY), lambda: at[0], group="g")
        counter.step(0)
        counter.step(0)
        at[0] += 61 * S
        counter.step(0)
        assert counter.told["refused"] == 500
    because = "not an object with the fields of a hit"
    assert caplog.messages == [
        f"t-0 offset 0 is not counted: {because}",
        f"499 more are not counted, the latest t-0 offset 499: {because}",
    ]


def hit(offset: int, at_ns: int) -> Any:
    of = Occurrence("scam", "live", at_ns, f"q{offset}", {"tenant": "t"}, "m")
    return row(offset, value=encode(FleetHit("burst", f"{offset:032x}", of)))


def decided(path: Path, member: Fake, steps: int, now_ns: int) -> list[str]:
    with Ledger(path / "ledger.db") as ledger:
        rules = (rule(repeat_s=3600),)
        counter = FleetCounter(
            cast(Member, member), ledger, lambda: (rules, DAY), lambda: now_ns, group="g"
        )
        for _ in range(steps):
            counter.step(0)
        with LedgerReader(path / "ledger.db") as reader:
            assert reader.blob(rules[0].sha256) == rules[0].canonical
            return [json.loads(one.core)["decision"] for one in reader.alerts_since(0)]


def test_a_backlog_is_decided_by_the_times_of_its_hits(tmp_path: Path) -> None:
    """Three bursts two hours apart, told at most once an hour, are read after five hours: each is told."""
    pairs = [hit(2 * n + k, START + 2 * n * HOUR + k * S) for n in range(3) for k in range(2)]
    member = Fake([], pairs[:2], pairs[2:4], pairs[4:])
    assert decided(tmp_path, member, 6, START + 5 * HOUR) == ["notified"] * 3


def test_a_share_that_was_taken_away_and_is_here_again_begins_anew(tmp_path: Path) -> None:
    """Others may have counted meanwhile: the old windows would lack what they saw, so they are read again."""
    begun: list[TopicPartition] = []

    class Back(Fake):
        def committed(self, of: TopicPartition) -> None:
            begun.append(of)

    member = Back([], [hit(0, START)], [hit(1, START + S)])
    with Ledger(tmp_path / "ledger.db") as ledger:
        rules = (rule(),)
        counter = FleetCounter(
            cast(Member, member), ledger, lambda: (rules, DAY), lambda: START, group="g"
        )
        counter.step(0)
        counter.step(0)
        member.taken = {AT}
        counter.step(0)
    assert begun == [AT, AT]


def test_hits_that_are_read_again_are_told_of_once_they_are_new(tmp_path: Path) -> None:
    class Taken(Fake):
        def committed(self, of: TopicPartition) -> tuple[int, str]:  # type: ignore[override]
            return 2, f"0:{10 * HOUR}"

    member = Taken([], [hit(0, START), hit(1, START)], [hit(2, START)], [hit(5, START)])
    told = []
    with Ledger(tmp_path / "ledger.db") as ledger:
        rules = (rule(),)
        counter = FleetCounter(
            cast(Member, member), ledger, lambda: (rules, DAY), lambda: START, group="g"
        )
        for _ in range(4):
            counter.step(0)
            told.append((counter.told["partitions"], counter.told["hits"]))
        assert told == [([], 0), ([0], 0), ([0], 1), ([0], 2)]
        assert counter.told["records_missing"] == 2
        member.taken = {AT}
        counter.step(0)
        assert (counter.told["hits"], counter.told["reading_again"]) == (2, [0])


def test_the_record_of_a_hit_is_canonical() -> None:
    one = json.loads(hit(0, START).value)
    assert canonical(one) == hit(0, START).value
