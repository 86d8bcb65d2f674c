"""`dosimeter doctor`: what would keep a tap from seeing, or a sidecar from running and being heard; and what to do."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

SERVERS = ("transformers", "vllm", "sglang")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="check that a model server here can be watched, and a sidecar run",
        description="With --server, in the server's environment: whether it can be watched. With --config, where the "
        "sidecar runs, as its user: whether it can run and be heard. Nothing is started, written or sent.",
        epilog="example: dosimeter doctor --server vllm --model ./model --pack packs/core -- vllm serve ./model",
    )
    parser.add_argument("--server", choices=SERVERS, help="which server")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the sidecar's own file")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="the model it is to serve")
    parser.add_argument(
        "--pack",
        action="append",
        default=[],
        type=Path,
        metavar="FOLDER",
        help="a probe pack; repeat for several",
    )
    parser.add_argument("--socket", type=Path, metavar="PATH", help="the sidecar's socket")
    parser.add_argument("--json", action="store_true", help="one object a finding, in a list")
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        help="-- and the server's own command: its options are then checked too (vllm, sglang)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: nothing found. 1: something would keep the tap from seeing, or the sidecar from running. 2: wrong options."""
    from dosimeter.monitor.cli.attach import ENGINES
    from dosimeter.monitor.doctor import WRONG, as_lines, examine

    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if args.server is None and args.config is None:
        print("doctor: give --server, --config or both", file=sys.stderr)
        return 2
    if args.server is None and (args.model or args.pack or args.socket or command):
        print("doctor: --model, --pack, --socket and a command go with --server", file=sys.stderr)
        return 2
    if command and args.server not in ENGINES:
        print(
            "doctor: only the commands of vLLM and SGLang are looked into; leave it out",
            file=sys.stderr,
        )
        return 2
    if command:
        asked = f"doctor: asking {ENGINES[args.server][0]} what these options come to …"
        print(asked, file=sys.stderr, flush=True)
    findings = []
    if args.config is not None:
        from dosimeter.monitor.doctor_sidecar import examine_sidecar

        logging.getLogger("dosimeter").addHandler(logging.NullHandler())  # findings say it
        findings += examine_sidecar(args.config)
    if args.server is not None:
        findings += examine(args.server, args.model, args.pack, args.socket, command)
    if args.json:
        print(json.dumps([one.as_dict() for one in findings], indent=2))
    else:
        print(*as_lines(findings), sep="\n")
    return int(any(one.state == WRONG for one in findings))
