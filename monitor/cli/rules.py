"""`dosimeter rules`: what an analyst does with rule files, on any machine and without a server.

It owns the arguments; the checks are in `rules/lint`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dosimeter.detectors.pack import load_pack
from dosimeter.detectors.registry import load_features
from dosimeter.rules.lint import lint_command


def add_parser(subparsers: Any) -> None:
    rules = subparsers.add_parser("rules", help="check rule files")
    commands = rules.add_subparsers(dest="rules_command", required=True, metavar="COMMAND")
    lint = commands.add_parser("lint", help="say what is wrong, or will surprise, in rule files")
    lint.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or a folder")
    lint.add_argument("--pack", action="append", default=[], type=Path, metavar="DIR",
                      help="a pack of your own, whose features are known too; may be repeated")  # fmt: skip
    lint.add_argument("--json", action="store_true", help="findings as one JSON object")
    lint.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: nothing to change. 1: findings. 2: usage. 4: a pack that cannot be read."""
    known = {
        *load_features(),
        *(name for folder in args.pack for name in load_pack(folder).features),
    }
    return lint_command(args.paths, args.json, sys.stdout, known)
