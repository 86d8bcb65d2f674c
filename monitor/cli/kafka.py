"""`dosimeter kafka`: prepare the cluster for the Kafka sink.

It owns the topic's settings and the words in which a cluster's refusals are explained; it never
sends or reads an alert.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dosimeter.monitor.cli import kafka_scores
from dosimeter.monitor.cli.arguments import seconds, up_to
from dosimeter.monitor.sinks.config import TOPIC, KafkaConfig

CONFIGS = {"cleanup.policy": "delete"}
"""Never `compact`: keyed by conversation it would keep only the latest alert of each."""

COPIES = 2
"""In sync at least, where there are three: the cluster's own default of one makes an acknowledgement stand on one."""


class TopicError(RuntimeError):
    """The topic could not be made; says what the cluster answered."""


def add_parser(subparsers: Any) -> None:
    kafka = subparsers.add_parser("kafka", help="prepare a Kafka cluster for alerts")
    commands = kafka.add_subparsers(dest="kafka_command", required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="create the topics; does nothing where they exist")
    where = init.add_mutually_exclusive_group(required=True)
    where.add_argument("--bootstrap", metavar="HOST:PORT[,...]")
    where.add_argument("--config", type=Path, metavar="FILE", help="the sidecar's: its Kafka sink")
    init.add_argument("--topic", help=f"instead of the file's; {TOPIC}")
    init.add_argument("--partitions", type=up_to(10_000), default=3, metavar="N")
    init.add_argument("--replication", type=up_to(100), default=1, metavar="N")
    init.add_argument("--timeout", type=seconds, default=10.0, metavar="SECONDS")
    init.set_defaults(run=run)
    kafka_scores.add_parser(commands)


def run(args: argparse.Namespace) -> int:
    """0: the topics are there. 3: the cluster is away or refused. 4: a configuration that does not load."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it logs what is reported below
    try:
        sink = _sink(args)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 4
    topics = [args.topic] if args.topic else [sink.topic, *([sink.scores] if sink.scores else [])]
    for topic in topics:
        try:
            created = init_topic(
                list(sink.bootstrap),
                topic,
                partitions=args.partitions,
                replication=args.replication,
                timeout_s=args.timeout,
                security=sink.security,
            )
        except TopicError as error:
            print(error, file=sys.stderr)
            return 3
        print(f"topic `{topic}` {'created' if created else 'is there already'}")
    return 0


def _sink(args: argparse.Namespace) -> KafkaConfig:
    """Where, and with which login. Raises ValueError, OSError."""
    if args.config is None:
        return KafkaConfig(bootstrap=tuple(args.bootstrap.split(",")))
    from dosimeter.monitor.config import load_config

    found = [sink for sink in load_config(args.config).sinks if isinstance(sink, KafkaConfig)]
    if not found:
        raise ValueError(f"{args.config}: no Kafka sink\n  hint: `sinks.kafka`, or `--bootstrap`")
    return found[0]


def init_topic(
    bootstrap: list[str],
    topic: str = TOPIC,
    *,
    partitions: int = 3,
    replication: int = 1,
    timeout_s: float = 10.0,
    security: Mapping[str, Any] | None = None,
) -> bool:
    """Create the topic and wait until it has leaders. False: it existed. Raises TopicError."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError

    from dosimeter.monitor.sinks.kafka_client import ClientRecorder, explained

    where = ",".join(bootstrap)
    recorder = ClientRecorder()
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap,
            client_id="dosimeter-init",
            bootstrap_timeout_ms=int(timeout_s * 1000),
            request_timeout_ms=int(timeout_s * 1000),
            kafka_client=recorder,
            **(security or {}),
        )
    except (KafkaError, OSError, ValueError) as error:
        recorder.close()
        raise TopicError(
            f"no Kafka broker answers at `{where}`: {explained(recorder.cause or error)}\n"
            "  hint: check the address; alerts wait in the ledger until a broker is there"
        ) from error
    try:
        safe = {"min.insync.replicas": str(COPIES)} if replication > COPIES else {}
        wanted = {
            "num_partitions": partitions,
            "replication_factor": replication,
            "configs": CONFIGS | safe,
        }
        admin.create_topics({topic: wanted}, wait_for_metadata=True)
        return True
    except TopicAlreadyExistsError:
        return False
    except KafkaTimeoutError as error:
        raise TopicError(f"topic `{topic}` at `{where}`: no answer in time: {error}") from error
    except (KafkaError, ValueError) as error:
        raise TopicError(
            f"topic `{topic}` at `{where}` was refused: {error}\n"
            f"  hint: {partitions} partitions, replication {replication}: "
            "are there as many brokers, and may you create topics?"
        ) from error
    finally:
        admin.close()
