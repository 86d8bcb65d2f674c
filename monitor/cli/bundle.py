"""`dosimeter bundle`: one file for a support ticket, without what was said and by whom.

It owns the arguments and the exit code; what is in it is `monitor/bundle.py`'s.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from dosimeter.monitor.cli.status import ENVIRONMENT, USAGE, add_target, target


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "bundle",
        help="write one file for a support ticket, redacted",
        description="Write configuration, status, versions, counts and sizes into one archive. Credentials, labels, "
        "names of tenants and users, texts and logs are not in it.",
        epilog="example: dosimeter bundle --config /etc/dosimeter/sidecar.yaml --out ticket.tar.gz",
    )
    add_target(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.tar.gz")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: written, whether or not a sidecar answered. 2: usage. 3: it could not be written."""
    from dosimeter.monitor.bundle import contents, write
    from dosimeter.monitor.status_client import NotAnsweredError, address, ask

    config = target(args)
    if config is None:
        return USAGE
    answer = None
    try:
        answer = ask(address(config, args.url))
    except NotAnsweredError as error:
        print(f"{error}\n  the bundle lacks the status", file=sys.stderr)
    files = contents(config, answer, now_ns=time.time_ns())
    try:
        write(args.out, files)
    except FileExistsError:
        print(f"{args.out}: is there already\n  hint: give `--out` another name", file=sys.stderr)
        return USAGE
    except OSError as error:
        print(f"{args.out}: {error.strerror}\n  hint: give `--out` another folder", file=sys.stderr)
        return ENVIRONMENT
    size = args.out.stat().st_size
    print(f"{args.out}: {len(files)} files, {size / 1000:.1f} kB; read them before you send it")
    return 0
