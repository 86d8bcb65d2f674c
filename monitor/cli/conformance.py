"""`dosimeter conformance`: proves on a server that every row finds its request, or says where it does not.

It owns the arguments; the kit is `monitor/conformance`. Progress goes to stderr, the table to stdout.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SERVERS = ("generate", "continuous", "serve", "serve-continuous")
NEEDS = "pip install 'dosimeter[torch]' 'transformers[serving]'"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "conformance",
        help="prove on a server that every row finds its request",
        description="Run a model server with a tap in it through every case that mixes rows up, and compare "
        "each position with an unbatched forward. Without a command: transformers' own ways.",
        epilog="example: dosimeter conformance --model ./model -- vllm serve ./model",
    )
    parser.add_argument(
        "--server",
        action="append",
        choices=SERVERS,
        metavar="NAME",
        help=f"one of {', '.join(SERVERS)}; repeat for several (default: all)",
    )
    parser.add_argument("--model", type=Path, help="a model's folder (default: the lab model)")
    parser.add_argument("--case", default="", help="only cases with this in their name")
    parser.add_argument(
        "--tokens",
        type=int,
        default=20_000,
        metavar="N",
        help="mixed traffic goes on until so many were served (default: %(default)s)",
    )
    parser.add_argument(
        "--cancels",
        type=int,
        default=40,
        metavar="N",
        help="and so many clients went before the end (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and a server's own command")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: it conforms. 1: it does not. 2: wrong options. 3: it cannot be run here."""
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if command and args.server:
        return _wrong("--server names what is started without a command; leave one of them out")
    if command and args.model is None:
        return _wrong("a command needs --model FOLDER: the reference is computed from it")
    if min(args.tokens, args.cancels) < 0:
        return _wrong("--tokens and --cancels are counts")
    try:
        from dosimeter.monitor.conformance import kit, report
        from dosimeter.monitor.conformance.case import CannotRun
    except ImportError as error:
        print(f"conformance: {error}\n  hint: {NEEDS}", file=sys.stderr)
        return 3
    wanted = kit.Wanted(
        model=args.model or kit.LAB,
        servers=args.server or SERVERS,
        command=command,
        only=args.case,
        tokens=args.tokens,
        cancels=args.cancels,
    )
    try:
        outcomes = kit.run(wanted, lambda line: print(line, file=sys.stderr, flush=True))
    except CannotRun as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 3
    print(report.as_json(outcomes) if args.json else report.as_table(outcomes))
    return 0 if report.conforms(outcomes) else 1


def _wrong(what: str) -> int:
    print(f"conformance: {what}", file=sys.stderr)
    return 2
