"""`dosimeter detectors interference`: which probes of your packs read each other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dosimeter.detectors.findings import InputError, visible


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "interference",
        help="which probes read each other, so that a rule on one fires for another",
        description="Compare the directions of packs, from their weights alone.",
        epilog="example: dosimeter detectors interference packs/core packs/scam --limit 0.5",
    )
    parser.add_argument("pack", nargs="+", type=Path, metavar="PACK", help="a pack's folder")
    parser.add_argument("--limit", type=_limit, default=0.5, metavar="COSINE",
                        help="from here on a pair is a finding, up to 1 (0.5)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the matrices and findings, one object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: no pair reaches the limit. 1: one does. 4: packs that cannot be used together."""
    from dosimeter.detectors.bank import BankError, ProbeBank
    from dosimeter.detectors.findings import render
    from dosimeter.detectors.interference import Interference, as_json, as_lines
    from dosimeter.detectors.pack import load_pack

    packs = [load_pack(folder) for folder in args.pack]
    try:
        found = Interference.of(ProbeBank.from_packs(packs))
    except BankError as error:
        raise InputError.at("packs", str(error)) from None
    findings = found.findings(args.limit)
    if args.json:
        print(as_json(found, args.limit))
    else:
        print(*as_lines(found), sep="\n")
        if findings:
            print(render(findings))
    return int(bool(findings))


def _limit(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"`{visible(text)[:20]}` is not above 0 and up to 1")
    return value
