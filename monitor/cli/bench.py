"""`dosimeter bench`: measures a figure that we state, and says whether its goal is met.

It owns the arguments; each benchmark is a module of `monitor/bench` with a `run() -> Result`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from dosimeter.monitor.bench.child import BenchError
from dosimeter.monitor.cli.arguments import amount

BENCHES = {
    "attach": "ways to read activations in one run: ours, loops, nnsight, TransformerLens",
    "audit": "ingest, bytes at rest, questions, verification and pages of history",
    "backtest": "rules over an archive of stored scores, on two processes",
    "budget": "whether a plan for so many reviews a day holds on traffic it has not seen",
    "detectors": "whether detectors tell the truth: public sets, nulls, levels, refusals",
    "cache": "what scores for a server's prefix cache cost, in time and memory",
    "emit": "delivery: an outage and its drain, processor time, memory, start and end",
    "hook": "what the tap takes of a model server's forward",
    "line": "hook to decision and decision to durable, through the whole sidecar",
    "projection": "the product with the probes, of every size, beside its floors and a loop",
    "reload": "a thousand changes of rules under load: what is lost, mixed or held up",
    "rules": "tokens a second through the rules, beside numpy, and memory of a conversation",
    "storm": "a million hits in a minute: what is stored, what is sent, how fast",
    "wire": "how long a model server's thread is held by a send",
}


def add_parser(subparsers: Any) -> None:
    bench = subparsers.add_parser("bench", help="measure the figures we state")
    commands = bench.add_subparsers(dest="bench", required=True, metavar="NAME")
    for name, line in BENCHES.items():
        one = commands.add_parser(name, help=line)
        one.add_argument("--json", action="store_true", help="one object instead of a table")
        if name == "detectors":
            _detectors(one)
        if name == "audit":
            one.add_argument("--rows", type=amount, default=1_000_000, metavar="N",
                             help="entries that questions are asked of; 1e7 takes minutes")  # fmt: skip
        if name == "emit":
            one.add_argument("--alerts", type=amount, default=100_000, metavar="N",
                             help="accepted in the outage; 7.2e5 are an hour's at 200/s")  # fmt: skip
        if name == "backtest":
            one.add_argument("--tokens", type=amount, default=20_000_000, metavar="N",
                             help="in the archive, such as 1e8: 8 GB of scratch space")  # fmt: skip
        one.set_defaults(run=run)


def _detectors(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="public sets, `scam_<set>.jsonl` and `benign_<set>.jsonl`")  # fmt: skip
    parser.add_argument("--only", action="append", metavar="PART",
                        choices=("reader", "lab", "levels", "refusals", "time"),
                        help="reader, lab, levels, refusals or time; repeat for several")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """0: every goal is met, or could not be measured here. 1: one is missed. 3: nothing ran."""
    try:
        measure = importlib.import_module(f"dosimeter.monitor.bench.{args.bench}").run
        if args.bench == "detectors":
            result = measure(args.data, args.only)
        elif args.bench == "backtest":
            result = measure(args.tokens)
        elif args.bench == "audit":
            result = measure(args.rows)
        elif args.bench == "emit":
            result = measure(args.alerts)
        else:
            result = measure()
    except BenchError as error:
        print(f"dosimeter bench {args.bench}: {error}", file=sys.stderr)
        return 3
    except ModuleNotFoundError as error:
        print(f"dosimeter bench {args.bench}: {error}", file=sys.stderr)
        print("  hint: run it in the environment of the model server", file=sys.stderr)
        return 3
    print(result.as_json() if args.json else result.as_table())
    return 0 if result.met else 1
