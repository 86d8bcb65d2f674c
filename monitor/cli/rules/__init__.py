"""`dosimeter rules`: what an analyst does with rule files, on any machine and without a server.

It owns the list of subcommands; each is a module here with `add(commands)`, and only the one that was asked for is
loaded in full where that matters for what it imports.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from dosimeter.monitor.cli.rules import (
    backtest,
    explain,
    lint,
    new,
    plan,
    promote,
    schema,
    test,
    why_not,
)


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("rules", help="write, check and try rules")
    commands = parser.add_subparsers(dest="rules_command", required=True, metavar="COMMAND")
    for module in (backtest, explain, lint, new, plan, promote, schema, test, why_not):
        module.add(commands)
    for child in commands.choices.values():
        child.set_defaults(act=child.get_default("run"), run=run)


def run(args: argparse.Namespace) -> int:
    """The subcommand's own code; 3 where something is not installed, 4 for data that is wrong."""
    from dosimeter.detectors.findings import InputError, visible

    try:
        code: int = args.act(args)
        return code
    except BrokenPipeError:  # `main` knows what that means
        raise
    except InputError as error:
        print(visible(str(error), keep="\n"), file=sys.stderr)
        return 4
    except (ImportError, OSError) as error:
        said = visible(str(error), keep="\n")
        print(f"dosimeter rules {args.rules_command}: {said}", file=sys.stderr)
        return 3
