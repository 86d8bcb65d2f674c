"""`dosimeter deliver`: the process that carries alerts from the ledger to the sinks.

It owns the arguments, the signals and the exit code; the work is `monitor.delivery`. With `--status`
it only reads where each sink stands; what is done about dead letters is `dead_letters`'.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli import dead_letters
from dosimeter.monitor.sinks.config import (
    TOPIC,
    KafkaConfig,
    OtlpConfig,
    SinkConfig,
    StdoutConfig,
)
from dosimeter.monitor.stopping import set_from_handler

if TYPE_CHECKING:
    from dosimeter.monitor.config import Config
    from dosimeter.monitor.scores.outbox import Outbox
    from dosimeter.monitor.telemetry import Telemetry

USAGE, ENVIRONMENT, DATA = 2, 3, 4


def add_parser(subparsers: Any) -> None:
    deliver = subparsers.add_parser("deliver", help="send stored alerts to Kafka, OTLP, webhooks")
    deliver.add_argument("--config", type=Path, metavar="FILE", help="the sidecar's own file")
    deliver.add_argument("--data-dir", type=Path, metavar="DIR", help="instead of the file's")
    deliver.add_argument("--kafka", metavar="HOST:PORT[,...]", help="bootstrap servers")
    deliver.add_argument("--topic", default=TOPIC)
    deliver.add_argument("--otlp", metavar="URL", help="log events and metrics, over OTLP/HTTP")
    deliver.add_argument("--jsonl", metavar="FILE", help="one record a line; `-` is stdout")
    deliver.add_argument(
        "--status", action="store_true", help="print where each sink stands, as JSON, and end"
    )
    deliver.set_defaults(run=run)
    dead_letters.add_parsers(deliver)


def run(args: argparse.Namespace) -> int:
    """0: stopped by a signal, or status shown. 2, 3, 4: usage, environment, data (also a sink ahead of the ledger)."""
    from dosimeter.monitor.config import Config, load_config
    from dosimeter.monitor.delivery import DeliveryConfig, run_delivery
    from dosimeter.monitor.delivery_status import delivery_status
    from dosimeter.monitor.scores.status import scores_status

    try:
        settings = load_config(args.config) if args.config else Config()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return DATA
    settings = settings.under(args.data_dir) if args.data_dir else settings
    config = DeliveryConfig(
        ledger=settings.ledger_path,
        store=settings.deliver_path,
        sinks=merge_sinks(settings.sinks, sinks_of(args)),
        confirmers=settings.confirmers,
        scores=settings.scores,
        outbox=_outbox(settings),
    )
    if not config.sinks and not args.status:
        print("no sink to deliver to", file=sys.stderr)
        print("  hint: `sinks:` in the file, or `--kafka`, `--otlp`, `--jsonl`", file=sys.stderr)
        return USAGE
    status = None
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        if args.status:
            status = delivery_status(config.ledger, config.store, now_ns=time.time_ns())
            status |= scores_status(settings)
        else:
            with telemetry_of(config.sinks) as telemetry:
                run_delivery(config, stop_on_signals(), telemetry=telemetry)
    except (RuntimeError, sqlite3.Error, OSError) as error:
        print(error, file=sys.stderr)
        return ENVIRONMENT
    if status is not None:
        print(json.dumps(status, indent=2, sort_keys=True))
        return _ahead(settings.ledger_path, status["sinks"])
    return 0


def _outbox(settings: Config) -> Outbox:
    """That of the archive beside the ledger, which may not be there."""
    from dosimeter.monitor.history.archive_folder import ArchiveFolder
    from dosimeter.monitor.history.room import Room
    from dosimeter.monitor.scores.outbox import Outbox

    room = Room(settings.ledger_path, settings.ledger.quota)
    return Outbox(ArchiveFolder(settings.archive_path).outbox, room.for_scores)


def _ahead(ledger: Path, sinks: Mapping[str, Mapping[str, Any]]) -> int:
    """Says which sinks have had alerts that the ledger does not know."""
    ahead = [name for name, one in sinks.items() if one["ahead"]]
    for name in ahead:
        print(
            f"{ledger}: `{name}` was sent {sinks[name]['ahead']} more than it holds",
            file=sys.stderr,
        )
    if ahead:
        print(
            "  hint: it was put back from a backup, or is another one. With the first alert that is accepted",
            file=sys.stderr,
        )
        print(
            "        from now on, the dispatcher sends what is new to every sink; nothing has to be moved",
            file=sys.stderr,
        )
    return DATA if ahead else 0


def telemetry_of(sinks: Sequence[SinkConfig]) -> contextlib.closing[Telemetry]:
    """Metrics go where the log events go; without an OTLP sink nowhere."""
    from dosimeter.monitor.log_counts import count_lines
    from dosimeter.monitor.telemetry import Telemetry, TelemetryConfig

    collector = next((sink for sink in sinks if isinstance(sink, OtlpConfig)), None)
    telemetry = Telemetry(TelemetryConfig(collector))
    count_lines("deliver").record_to(telemetry)
    return contextlib.closing(telemetry)


def sinks_of(args: argparse.Namespace) -> tuple[SinkConfig, ...]:
    """The sinks named on the command line."""
    found: list[SinkConfig] = []
    if args.kafka:
        found.append(KafkaConfig(bootstrap=tuple(args.kafka.split(",")), topic=args.topic))
    if args.otlp:
        found.append(OtlpConfig(endpoint=args.otlp))
    if args.jsonl:
        found.append(StdoutConfig(path=None if args.jsonl == "-" else Path(args.jsonl)))
    return tuple(found)


def merge_sinks(
    configured: tuple[SinkConfig, ...], given: tuple[SinkConfig, ...]
) -> tuple[SinkConfig, ...]:
    """Those of the file, with those of the command line in the place of the same name."""
    return tuple({sink.name: sink for sink in (*configured, *given)}.values())


def stop_on_signals() -> threading.Event:
    """Set by SIGTERM and SIGINT; the second of them ends the process the hard way. SIGHUP does nothing."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = threading.Event()

    def on_signal(number: int, _: object) -> None:
        set_from_handler(stop)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    # Both libraries report each failed attempt; `--status` says what fails, since when and why.
    for library in ("kafka", "opentelemetry"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    return stop
