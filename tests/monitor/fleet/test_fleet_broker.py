"""Through a real broker: members that come and are killed count the hits of many sidecars as one process would."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError

from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.counts import Counts
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.feed.items import Alert
from dosimeter.monitor.feed.topic import record as feed_record
from dosimeter.monitor.fleet.hit import decode
from dosimeter.monitor.fleet.member import FleetAway, Member, build_member
from dosimeter.monitor.fleet.router import Router
from dosimeter.monitor.history.reader import LedgerMissing, LedgerReader
from dosimeter.monitor.lab.broker import EmbeddedBroker
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka import build_producer
from dosimeter.monitor.supervising import ending_with_parent
from dosimeter.rules.canonical import canonical
from dosimeter.rules.language.schema import load_rules
from dosimeter.rules.language.second import SecondRule

pytestmark = pytest.mark.parts

S = 10**9
START = 20_000 * 86_400 * S
DAY = date(2027, 1, 1)
PODS, EACH, TENANTS = 4, 60, 8
PATIENCE_S = 60.0
SESSION_S = 6.0
RULES = """\
version: 1
rules:
  - rule: scam
    when: {feature: scam, in: answer, above: 1 in 1000 answers, average: 16 tokens}
    status: live
    owner: sre@example.org
    severity: high
    summary: "scam"
  - rule: burst
    when: {count: conversations, of: [scam], more-than: 3, within: 10m}
    group-by: [tenant]
    status: live
    owner: sre@example.org
    severity: high
    summary: "{tenant}: {count} {counted}"
"""
MEMBER = f"""\
import sys
from functools import partial
from pathlib import Path
from dosimeter.monitor.config import load_config
from dosimeter.monitor.fleet.hit import decode
from dosimeter.monitor.fleet.member import build_member
from dosimeter.monitor.fleet.service import run_fleet
from dosimeter.monitor.stopping import stop_on_signals
config = load_config(Path(sys.argv[1])).under(Path(sys.argv[2]))
sys.exit(run_fleet(config, stop_on_signals(), lambda port: print(port, flush=True),
                   connect=partial(build_member, session_s={SESSION_S})))
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


def core(pod: int, n: int) -> tuple[str, dict[str, Any]]:
    """The record of one hit of one sidecar: one a minute each."""
    event_id = f"{pod:016x}{n:016x}"
    return event_id, {
        "v": 2,
        "kind": "alert",
        "event_id": event_id,
        "rule": "scam" if n % 7 else "other",
        "rule_sha256": "0" * 64,
        "status": "live",
        "decision": "deduped" if n % 2 else "notified",
        "time_ns": START + n * 60 * S + pod,
        "epoch": f"{pod:016x}",
        "key": f"{n:016x}",
        "model": {"name": "lab", "digest": "d"},
        "labels": {"tenant": f"t{n % TENANTS}", "conversation": f"c{(n + pod) % 11}"},
        "trusted": ["tenant", "conversation"],
    }


def item(pod: int, n: int) -> dict[str, Any]:
    event_id, found = core(pod, n)
    source = f"{pod:032x}"
    return feed_record(Alert(source, n + 1, event_id, canonical(found), None, True), source)


def by_one_process(rule: SecondRule, bootstrap: str) -> tuple[set[str], set[str]]:
    """The hits in the topic, and the counts of one process that takes them in, in the order of each partition."""
    hits: set[str] = set()
    found: set[str] = set()
    by_partition: dict[int, Counts] = {}
    consumer = KafkaConsumer(bootstrap_servers=[bootstrap], auto_offset_reset="earliest")
    with closing(consumer):
        parts = [TopicPartition("fleet-hits", n) for n in range(3)]
        consumer.assign(parts)
        ends = consumer.end_offsets(parts)
        while any(consumer.position(part) < ends[part] for part in parts):
            for part, rows in consumer.poll(timeout_ms=200).items():
                counts = by_partition.setdefault(part.partition, Counts(Decisions("x")))
                counts.expect((rule,), DAY)
                for row in rows:
                    hit = decode(row.value)
                    hits.add(hit.event_id)
                    made = counts.add(hit.of, hit.event_id)
                    found |= {d.record.event_id for d in made if d.record}
    return hits, found


class Fleet:
    """Processes that count, each over a ledger of its own; ended with the test."""

    def __init__(self, config: Path, where: Path) -> None:
        self._config, self._where = config, where
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._ports: dict[str, int] = {}

    def start(self, name: str) -> None:
        command = [sys.executable, "-c", MEMBER, str(self._config), str(self._where / name)]
        self._running[name] = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, preexec_fn=ending_with_parent()
        )
        out = self._running[name].stdout
        assert out is not None
        self._ports[name] = int(out.readline())

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def share(self, name: str) -> list[int]:
        """The partitions that this member counts."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[name]}/status") as found:
            counting: dict[str, list[int]] = json.load(found)["counting"]
        return counting["partitions"]

    def counted(self, *names: str) -> set[str]:
        """Event ids in the ledgers of these members, living or not."""
        found: set[str] = set()
        for name in names:
            try:
                with LedgerReader(self._where / name / "ledger.db") as reader:
                    rows = reader.alerts_since(0)
            except LedgerMissing:
                continue
            assert {json.loads(row.core)["kind"] for row in rows} <= {"count"}
            found |= {row.event_id for row in rows}
        return found

    def close(self) -> None:
        for name in list(self._running):
            self.kill(name)


def until(done: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)  # what another process does is asked for, not waited out


def test_members_that_come_and_are_killed_find_what_one_process_finds(
    broker: EmbeddedBroker, tmp_path: Path, rules: Path
) -> None:
    """A second member joins in the middle, the first is killed and a third begins with nothing: every hit is in the
    topic, and together their ledgers hold the counts of one process that reads it, each with the same id."""
    for topic in ("fleet-feed", "fleet-hits"):
        init_topic([broker.bootstrap], topic, partitions=3)
    config = tmp_path / "fleet.yaml"
    config.write_text(
        f"version: 1\nrules: [rules.yaml]\nhttp: {{port: 0}}\nfleet:\n  hits: fleet-hits\n"
        f"  kafka: {{bootstrap: ['{broker.bootstrap}'], topic: fleet-feed}}\n"
    )
    (rule,) = load_rules([rules]).second
    every = {core(pod, n)[0] for pod in range(PODS) for n in range(EACH) if n % 7}
    producer = KafkaProducer(bootstrap_servers=[broker.bootstrap])

    def send(first: int, end: int) -> None:
        for n in range(first, end):
            for pod in range(PODS):
                producer.send("fleet-feed", **item(pod, n)).get(10)

    with closing(producer), closing(Fleet(config, tmp_path)) as fleet:
        send(0, EACH // 3)
        fleet.start("a")
        until(lambda: bool(fleet.counted("a")), lambda: fleet.share("a"))
        fleet.start("b")
        until(lambda: bool(fleet.share("a") and fleet.share("b")), lambda: fleet.share("b"))
        send(EACH // 3, 2 * EACH // 3)
        until(lambda: bool(fleet.counted("b")), lambda: fleet.share("b"))
        fleet.kill("a")
        fleet.start("c")
        send(2 * EACH // 3, EACH)
        until(lambda: by_one_process(rule, broker.bootstrap)[0] == every, lambda: "routing")
        _, expected = by_one_process(rule, broker.bootstrap)
        assert len(expected) > 10
        until(
            lambda: expected <= fleet.counted("a", "b", "c"),
            lambda: [fleet.share("b"), fleet.share("c"), fleet.counted("a", "b", "c") ^ expected],
        )
        assert fleet.counted("a", "b", "c") == expected
        until(
            lambda: sorted(fleet.share("b") + fleet.share("c")) == [0, 1, 2],
            lambda: [fleet.share("b"), fleet.share("c")],
        )


def test_where_hits_cannot_be_sent_it_is_said_and_nothing_of_the_feed_is_passed_over(
    broker: EmbeddedBroker, rules: Path
) -> None:
    """The producer that fails is a fake: the embedded broker makes any topic that is written to."""
    feed = KafkaConfig((broker.bootstrap,), "fleet-feed-2")
    hits = KafkaConfig((broker.bootstrap,), "fleet-hits-2")
    init_topic([broker.bootstrap], feed.topic, partitions=1)
    with closing(KafkaProducer(bootstrap_servers=[broker.bootstrap])) as producer:
        producer.send(feed.topic, **item(0, 1)).get(10)
    counting = load_rules([rules]).second
    connect = partial(build_member, session_s=SESSION_S)

    def refuse(_: KafkaConfig) -> Any:
        raise KafkaTimeoutError("no metadata")

    def routed(producer_of: Callable[[KafkaConfig], Any]) -> int:
        member = Member(feed, "g2", connect=connect)
        router = Router(member, hits, lambda: counting, dict, connect=producer_of)
        deadline = time.monotonic() + PATIENCE_S
        with closing(router):
            while time.monotonic() < deadline and not router.seen["sent"]:
                router.step(0.1)
            return router.seen["sent"]

    with pytest.raises(FleetAway, match="dosimeter kafka init"):
        routed(refuse)
    assert routed(build_producer) == 1
