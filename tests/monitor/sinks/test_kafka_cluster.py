"""Three brokers of Apache Kafka, of which the leader is killed while alerts flow: what they acknowledged, they have.

Brokers are killed with SIGKILL, not cut from power; what is shown is that no acknowledgement stands on one copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.lab.apache_kafka import ApacheKafka
from dosimeter.monitor.lab.readback import read_back
from tests.monitor.sinks.apache_scene import JARS
from tests.monitor.sinks.deliver_scene import Delivering, wait_until

pytestmark = pytest.mark.parts
TOPIC = "alerts"


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    with ApacheKafka(JARS, tmp_path_factory.mktemp("cluster"), brokers=3) as kafka:
        yield kafka


def leader(cluster: ApacheKafka) -> int:
    with KafkaAdminClient(bootstrap_servers=cluster.bootstrap()) as admin:
        (found,) = admin.describe_topics([TOPIC])
    node: int = found["partitions"][0]["leader_id"]
    return node


def least_in_sync(cluster: ApacheKafka) -> str:
    with KafkaAdminClient(bootstrap_servers=cluster.bootstrap()) as admin:
        found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC)])
    return str(found["topic"][TOPIC]["min.insync.replicas"]["value"])


def test_the_leader_is_killed_and_then_two_of_three_and_nothing_accepted_is_lost(
    cluster: ApacheKafka, tmp_path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    init_topic(cluster.bootstrap(), TOPIC, partitions=1, replication=3)
    assert least_in_sync(cluster) == "2"
    sinks = {"kafka": {"bootstrap": cluster.bootstrap(), "topic": TOPIC}}
    with Delivering(tmp_path, sinks) as run:
        run.accept([record_of(n) for n in range(1000)])
        wait_until(lambda: run.sink().get("delivered", 0) > 0, run.sink)
        lost = leader(cluster)
        cluster.kill(lost)  # of 1000 some are under way
        run.accept([record_of(500_000 + n) for n in range(200)])
        run.drained()  # by the two that are left
        cluster.begin(lost)
        cluster.wait(lost)
        for node in (1, 2):
            cluster.kill(node)
        run.accept([record_of(900_000 + n) for n in range(200)])
        wait_until(lambda: run.sink()["queued"] == 200, run.sink)  # no one acknowledges alone
        for node in (1, 2):
            cluster.begin(node)
        assert run.drained()["delivered"] == 1400
        for node in (1, 2):
            cluster.wait(
                node
            )  # two of three served the alerts; a reader's first question may go to the third
        consumed = read_back(cluster.bootstrap(), TOPIC, timeout_s=60)
    assert {one.event_id: one.value for one in consumed} == run.accepted
    assert len(run.accepted) == 1400
    assert len(consumed) - 1400 <= 3 * 500  # at most the batch in hand a kill, sent again
