"""`dosimeter kafka scores`: what the topic of scores holds, as an archive that `rules backtest` reads.

It owns the arguments, the words and the exit code; the work is `monitor.scores.gather`.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from dosimeter.monitor.cli.arguments import seconds
from dosimeter.monitor.sinks.config import KafkaConfig

SCORES = "dosimeter.scores.v1"
USAGE, ENVIRONMENT, DATA = 2, 3, 4


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "scores", help="the scores in a topic as an archive to backtest on"
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bootstrap", metavar="HOST:PORT[,...]")
    where.add_argument("--config", type=Path, metavar="FILE", help="the sidecar's: its Kafka sink")
    parser.add_argument("--topic", help=f"instead of the file's `scores`; {SCORES}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--timeout", type=seconds, default=10.0, metavar="SECONDS")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: all that the topic holds is read. 2, 3, 4: usage, environment, data (records that were refused)."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it logs what is reported below
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        print(f"{args.out}: there is something already\n  hint: name a new folder", file=sys.stderr)
        return USAGE
    if importlib.util.find_spec("pyarrow") is None:
        print("an archive needs pyarrow\n  hint: pip install 'dosimeter[history]'", file=sys.stderr)
        return ENVIRONMENT
    try:
        config = _config(args)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return DATA
    from kafka.errors import KafkaError

    from dosimeter.monitor.history.archive_folder import ArchiveFolder
    from dosimeter.monitor.scores.gather import Gatherer, read_topic

    try:
        gatherer = Gatherer(ArchiveFolder(args.out))
        for place, value in read_topic(config, quiet_s=args.timeout):
            gatherer.take(value, place)
        gatherer.finish()
    except (KafkaError, LookupError, OSError, ValueError) as error:  # of the client, for an address
        print(f"{','.join(config.bootstrap)}: {error}", file=sys.stderr)
        print("  hint: check address, topic and rights; remove what is in DIR", file=sys.stderr)
        return ENVIRONMENT
    for refusal in gatherer.refusals:
        print(refusal, file=sys.stderr)
    counts = gatherer.counts
    print(
        f"{counts['requests']} requests of {counts['tokens']} tokens in {args.out} "
        f"({counts['records']} records: {counts['again']} twice, {counts['refused']} refused; "
        f"{counts['incomplete']} requests not whole)"
    )
    return DATA if counts["refused"] else 0


def _config(args: argparse.Namespace) -> KafkaConfig:
    """Where, with which login, and of which topic. Raises ValueError, OSError."""
    if args.config is None:
        found = KafkaConfig(bootstrap=tuple(args.bootstrap.split(",")), topic=SCORES)
    else:
        from dosimeter.monitor.config import load_config

        sink = load_config(args.config).scores
        if sink is None:
            hint = "`sinks.kafka.scores`, or `--bootstrap`"
            raise ValueError(f"{args.config}: no scores are sent\n  hint: {hint}")
        found = replace(sink, topic=sink.scores or SCORES)
    return replace(found, topic=args.topic or found.topic, connect_timeout_s=args.timeout)
