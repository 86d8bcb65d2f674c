"""`dosimeter chaos`: attacks on a stage of its own, and whether the monitor noticed.

It owns the arguments; the attacks and the verdict are in `monitor/chaos`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    chaos = subparsers.add_parser("chaos", help="attack a stage of its own and see what is said")
    commands = chaos.add_subparsers(dest="chaos", required=True, metavar="NAME")
    blind = commands.add_parser("blind", help="every way we know to blind the monitor")
    blind.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="this attack; may be repeated"
    )
    blind.add_argument("--list", action="store_true", help="name the attacks, and end")
    blind.add_argument("--json", action="store_true", help="one object instead of a table")
    blind.set_defaults(run=run)
    kill = commands.add_parser("kill", help="kill -9 in the middle of faults; is anything lost?")
    kill.add_argument("--runs", type=_runs, default=20, metavar="N", help="20; each takes seconds")
    kill.add_argument("--seed", type=int, default=0, metavar="N", help="of the order of faults")
    kill.add_argument("--apache-kafka", type=Path, metavar="DIR",
                      help="its jars (`make setup-kafka`): a broker that is killed and may forget nothing")  # fmt: skip
    kill.add_argument("--json", action="store_true", help="one object instead of a table")
    kill.set_defaults(run=run_kill)


def _runs(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def run_kill(args: argparse.Namespace) -> int:
    """0: nothing was lost. 1: a goal was missed. 3: it could not be carried out here."""
    try:
        from dosimeter.monitor.bench.child import BenchError
        from dosimeter.monitor.chaos.kill import KillError
        from dosimeter.monitor.chaos.kill import run as run_kills
        from dosimeter.monitor.lab.broker import BrokerError
    except ImportError as error:
        print(f"chaos: {error}\n  hint: pip install 'dosimeter[demo]'", file=sys.stderr)
        return 3
    try:
        result = run_kills(args.runs, args.seed, _say, args.apache_kafka)
    except (KillError, BenchError, BrokerError, OSError) as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 3
    print(result.as_json() if args.json else result.as_table())
    return 0 if result.met else 1


def run(args: argparse.Namespace) -> int:
    """0: every goal was met. 1: one was missed. 2: no such attack. 3: no stage could be made here."""
    try:
        from dosimeter.monitor.chaos import report
        from dosimeter.monitor.chaos.arena import Arena, ArenaError
        from dosimeter.monitor.chaos.attacks import chosen, listing
        from dosimeter.monitor.chaos.run import Outcome
        from dosimeter.monitor.chaos.run import run as run_attacks
        from dosimeter.monitor.lab.broker import BrokerError
        from dosimeter.monitor.lab.interrupting import interruptible
        from dosimeter.monitor.lab.stage import StageError
    except ImportError as error:
        print(f"chaos: {error}\n  hint: pip install 'dosimeter[demo]'", file=sys.stderr)
        return 3
    if args.list:
        print(listing())
        return 0
    try:
        attacks = chosen(args.only)
    except KeyError as error:
        print(f"chaos: {error.args[0]}", file=sys.stderr)
        return 2
    outcomes: list[Outcome] = []
    try:
        with interruptible(), Arena(_say) as arena:
            outcomes += run_attacks(attacks, arena, _say)
    except (ArenaError, StageError, BrokerError) as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 3
    print(report.as_json(outcomes) if args.json else report.as_table(outcomes))
    return 0 if all(not outcome.missed for outcome in outcomes) else 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
