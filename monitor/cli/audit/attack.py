"""`dosimeter audit attack`: manipulates histories made for it, and holds each verdict against the one that was due.

It owns the arguments and the exit code; the tables of manipulations are in `monitor/chaos/audit_*`, by
adversary. It touches no history of yours.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

RUNS, HISTORIES = 500, 200


def add(commands: Any) -> None:
    line = "manipulate histories made for it, and check each verdict against the one that is due"
    parser = commands.add_parser(
        "attack",
        help=line,
        description=f"{line[0].upper()}{line[1:]}. Five adversaries; no history of yours is touched.",
        epilog="example: dosimeter audit attack --runs 500 --json",
    )
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N",
                        help=f"manipulations, by turns from the table (default {RUNS})")  # fmt: skip
    parser.add_argument("--clean", type=int, default=HISTORIES, metavar="N",
                        help=f"histories that nobody touched (default {HISTORIES})")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed, another run")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: every goal is met. 1: one is missed."""
    from dosimeter.monitor.chaos import audit_all
    from dosimeter.monitor.cli.audit.arguments import Usage
    from dosimeter.monitor.cli.screen import plain
    from dosimeter.monitor.progress import Progress

    if args.runs < 0 or args.clean < 0 or not args.runs + args.clean:
        raise Usage("--runs, --clean: nothing to do\n  hint: leave them out")
    progress = Progress("attack")
    try:
        report = audit_all.run(args.runs, args.clean, seed=args.seed, progress=progress)
    finally:
        progress.close()
    if args.json:
        sys.stdout.write(report.as_json() + "\n")
    else:
        print(*(plain(line) for line in report.as_table().splitlines()), sep="\n")
    return 0 if report.result.met else 1
