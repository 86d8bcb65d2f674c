"""`dosimeter fleet`: counts the hits of all sidecars together, and sends what it finds.

It owns the arguments and which processes there are; the work is `monitor.fleet.service`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.config import Config, load_config

USAGE, DATA = 2, 4


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "fleet",
        help="count the hits of all sidecars together",
        description="Counts the hits of all sidecars for the `count` rules, until SIGTERM. Sidecars say "
        "`counted-by: fleet` and send to history (`history: {ship: …}`). Run several: they share the work.",
        epilog="example: dosimeter fleet --config fleet.yaml",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="with `fleet`")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="instead of the file's")
    # The supervisor starts itself again with this, as one of its own children.
    parser.add_argument("--count-only", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: ended by a signal. 2: wrong settings. 3: the machine does not allow it. 4: wrong rules."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        config = load_config(args.config)
    except InputError as error:
        print(error, file=sys.stderr)
        return USAGE
    if args.data_dir is not None:
        config = config.under(args.data_dir)
    if config.fleet is None:
        print(f"{args.config}: no `fleet`", file=sys.stderr)
        print("  hint: `fleet: {kafka: {bootstrap: [kafka-0:9092]}}`", file=sys.stderr)
        return USAGE
    from dosimeter.monitor.cli.sidecar import wrong_rules
    from dosimeter.monitor.stopping import stop_on_signals
    from dosimeter.monitor.supervising import supervise

    stop = stop_on_signals()
    if args.count_only:
        from dosimeter.monitor.fleet.service import run_fleet

        return run_fleet(config, stop)
    wrong = wrong_rules(config)
    if wrong is not None:
        print(wrong, file=sys.stderr)
        return DATA
    return supervise(children(config, args), stop)


def children(config: Config, args: argparse.Namespace) -> list[Any]:
    """The count, and what reads its ledger: delivery, and what sends to history."""
    from dosimeter.monitor.supervising import Child

    settings = ["--config", str(args.config)]
    if args.data_dir is not None:
        settings += ["--data-dir", str(args.data_dir)]
    ours = [sys.executable, "-P", "-m", "dosimeter.monitor.cli.main"]  # not from where it stands
    found = [Child("count", [*ours, "fleet", "--count-only", *settings], essential=True)]
    if config.sinks:
        found.append(Child("deliver", [*ours, "deliver", *settings]))
    if config.history is not None and config.history.ship is not None:
        found.append(Child("history", [*ours, "history", *settings]))
    return found
