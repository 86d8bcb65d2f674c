"""`dosimeter resume`: ends a pause before its time."""

from __future__ import annotations

import argparse
import time
from typing import Any

from dosimeter.monitor.cli.pause import answered, asked
from dosimeter.monitor.cli.status import ENVIRONMENT, USAGE, add_target, target


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "resume",
        help="look again before a pause is over",
        description="The sidecar looks again at what arrives, if it was paused.",
        epilog="example: dosimeter resume --config sidecar.yaml",
    )
    add_target(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: it looks, as the sidecar says. 2: usage. 3: it may not be asked here, or nobody answers."""
    config = target(args)
    if config is None:
        return USAGE
    now_ns = time.time_ns()
    if not asked(config, "resumed", now_ns, now_ns):
        return ENVIRONMENT
    if answered(config, args.url, lambda paused: paused is None) is None:
        return ENVIRONMENT
    print("the sidecar looks")
    return 0
