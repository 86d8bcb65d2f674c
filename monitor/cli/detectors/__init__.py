"""`dosimeter detectors`: from a model and texts to a pack with a verdict, and what comes after it.

It owns the list of subcommands; each is a module here with `add(commands)`.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from dosimeter.monitor.cli.detectors import (
    build,
    calibrate,
    captured,
    compare,
    drift,
    evaluate,
    imports,
    interference,
    persona,
    promote,
)


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "detectors", help="fit, evaluate, calibrate and compare probe packs"
    )
    commands = parser.add_subparsers(dest="detectors_command", required=True, metavar="COMMAND")
    for module in (
        build, evaluate, calibrate, compare, persona, promote, imports, drift, interference,
        captured,
    ):  # fmt: skip
        module.add(commands)
    for child in commands.choices.values():
        child.set_defaults(act=child.get_default("run"), run=run)


def run(args: argparse.Namespace) -> int:
    """The subcommand's own code; 3 where something is not installed, 4 for data that is wrong."""
    from dosimeter.detectors.bank import BankError
    from dosimeter.detectors.findings import InputError, visible
    from dosimeter.detectors.fit import FitError
    from dosimeter.detectors.registry import RegistryError, UnknownFeature

    try:
        code: int = args.act(args)
        return code
    except BrokenPipeError:  # `main` knows what that means
        raise
    except (InputError, FitError, RegistryError, BankError) as error:
        print(visible(str(error), keep="\n"), file=sys.stderr)
        return 4
    except UnknownFeature as error:
        print(error.args[0], file=sys.stderr)
        return 2
    except (ImportError, RuntimeError, OSError) as error:
        said = visible(str(error), keep="\n")
        print(f"dosimeter detectors {args.detectors_command}: {said}", file=sys.stderr)
        if isinstance(error, ImportError):
            print("  hint: pip install 'dosimeter[torch,fit]'", file=sys.stderr)
        return 3
