"""The Kafka sink against a real broker, read back by a consumer that knows nothing of the ledger."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from dosimeter.monitor.cli import kafka as cli
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.lab.broker import EmbeddedBroker, free_port
from dosimeter.monitor.lab.readback import read_back
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka import KafkaSink
from dosimeter.monitor.sinks.sink import DELIVERED, Result

pytestmark = pytest.mark.parts
StoredOf = Callable[..., StoredAlert]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def topic(broker: EmbeddedBroker, request: pytest.FixtureRequest) -> str:
    name = request.node.name[:60]
    cli.init_topic([broker.bootstrap], name, partitions=3)
    return name


@pytest.fixture
def sink(broker: EmbeddedBroker, topic: str) -> Iterator[KafkaSink]:
    config = KafkaConfig((broker.bootstrap,), topic, connect_timeout_s=2.0, delivery_timeout_s=2.0)
    sink = KafkaSink(config)
    yield sink
    sink.close()


def test_what_is_consumed_is_the_ledgers_bytes_in_order_of_each_conversation(
    broker: EmbeddedBroker, topic: str, sink: KafkaSink, stored_of: StoredOf
) -> None:
    alerts = [stored_of(n, summary="x" * (n % 700)) for n in range(1, 701)]
    assert sink.send(alerts[:500]) + sink.send(alerts[500:]) == [DELIVERED] * 700
    consumed = read_back(broker.bootstrap, topic)
    assert {c.event_id: c.value for c in consumed} == {a.event_id: a.core for a in alerts}
    assert len(consumed) == 700
    for conversation in (b"c0", b"c1", b"c2", b"c3", b"c4"):
        mine = [c for c in consumed if c.key == conversation]
        assert len({c.partition for c in mine}) == 1
        assert [c.event_id for c in mine] == sorted(c.event_id for c in mine)


def test_a_record_over_the_limit_is_dead_and_its_neighbours_arrive(
    broker: EmbeddedBroker, topic: str, sink: KafkaSink, stored_of: StoredOf
) -> None:
    alerts = [stored_of(1), stored_of(2, summary="x" * 2_000_000), stored_of(3)]
    outcomes = sink.send(alerts)
    assert [o.result for o in outcomes] == [Result.DELIVERED, Result.DEAD, Result.DELIVERED]
    assert "max_request_size" in outcomes[1].reason
    assert {c.event_id for c in read_back(broker.bootstrap, topic)} == {f"{n:032x}" for n in (1, 3)}


def test_a_broker_that_stops_answering_loses_nothing_and_one_that_is_back_gets_the_rest(
    broker: EmbeddedBroker, topic: str, sink: KafkaSink, stored_of: StoredOf
) -> None:
    """SIGSTOP is the black hole of a network: connections stay open and nobody answers."""
    alerts = [stored_of(n) for n in range(1, 41)]
    assert sink.send(alerts[:20]) == [DELIVERED] * 20
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        outcomes = sink.send(alerts[20:])
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    assert {o.result for o in outcomes} == {Result.RETRY}
    assert sink.send(alerts[20:]) == [DELIVERED] * 20
    consumed = read_back(broker.bootstrap, topic)
    assert {c.event_id for c in consumed} == {a.event_id for a in alerts}


def test_init_is_done_once_and_says_so(
    broker: EmbeddedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    args = parser.parse_args(["kafka", "init", "--bootstrap", broker.bootstrap, "--topic", "twice"])
    assert [args.run(args), args.run(args)] == [0, 0]
    assert capsys.readouterr().out == ("topic `twice` created\ntopic `twice` is there already\n")


def test_init_without_a_broker_is_exit_code_3_with_a_hint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    where = f"127.0.0.1:{free_port()}"
    args = parser.parse_args(["kafka", "init", "--bootstrap", where, "--timeout", "0.3"])
    assert args.run(args) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"no Kafka broker answers at `{where}`")
    assert "  hint: " in error
