"""`dosimeter sidecar`: reads the configuration, then starts the processes.

It owns the arguments and what is checked before anything runs; the line is in `service`, and what keeps it and the
others running in `supervising`.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.config import Config, load_config
from dosimeter.monitor.config_shown import as_yaml, without_secrets

USAGE, ENVIRONMENT, DATA = 2, 3, 4


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("sidecar", help="watch the model servers of this machine")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="strict YAML; see --print-config"
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="instead of the file's")
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="show every setting (credentials hidden), and end",
    )
    # The supervisor starts itself again with this, as one of its own children.
    parser.add_argument("--line-only", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: ended by a signal. 2: wrong settings. 3: the machine does not allow it. 4: wrong rules."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        config = load_config(args.config) if args.config else Config()
    except InputError as error:
        print(error, file=sys.stderr)
        return USAGE
    if args.data_dir is not None:
        config = config.under(args.data_dir)
    if args.print_config:
        print(as_yaml(without_secrets(config)), end="")
        return 0
    if sys.platform != "linux":
        print(f"the sidecar runs on Linux only, not on {sys.platform}", file=sys.stderr)
        return ENVIRONMENT
    from dosimeter.monitor.scores.closing import close_lane
    from dosimeter.monitor.stopping import stop_on_signals
    from dosimeter.monitor.supervising import supervise

    stop = stop_on_signals()
    if args.line_only:
        from dosimeter.monitor.service import run_line

        return run_line(config, stop)
    for name, wanted, needs in (
        ("archive", config.archive is not None, "pyarrow"),
        ("history", config.history is not None and config.history.ship is None, "duckdb"),
    ):
        if wanted and importlib.util.find_spec(needs) is None:
            print(f"`{name}` needs {needs}", file=sys.stderr)
            print("  hint: pip install 'dosimeter[history]'", file=sys.stderr)
            return ENVIRONMENT
    wrong = wrong_rules(config)
    if wrong is not None:
        print(wrong, file=sys.stderr)
        return DATA
    close_lane(config)
    return supervise(children(config, args), stop)


def wrong_rules(config: Config) -> str | None:
    """What is wrong with rules or calibrations; None if they load.

    Only the first start is refused. Later a broken file leaves the last good rules in force, and a
    restart after a crash must not turn it into an outage.
    """
    from dosimeter.monitor.rulebook import Rulebook

    return Rulebook(config.rules, config.calibrations).error


def children(config: Config, args: argparse.Namespace) -> list[Any]:
    """The line, and what was asked for beside it: delivery, archive, history (its own, or what sends to a fleet's)."""
    from dosimeter.monitor.supervising import Child

    settings = ["--config", str(args.config)] if args.config else []
    if args.data_dir is not None:
        settings += ["--data-dir", str(args.data_dir)]
    ours = [sys.executable, "-P", "-m", "dosimeter.monitor.cli.main"]  # not from where it stands
    found = [Child("line", [*ours, "sidecar", "--line-only", *settings], essential=True)]
    if config.sinks:
        found.append(Child("deliver", [*ours, "deliver", *settings]))
    if config.archive is not None:
        found.append(Child("archive", [*ours, "archive", *settings]))
    if config.history is not None and config.history.kafka is None:
        found.append(Child("history", [*ours, "history", *settings]))
    return found
