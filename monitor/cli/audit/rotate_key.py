"""`dosimeter audit rotate-key`: the log goes on under a new signing key, and verifies across the change.

It owns the arguments and what is said; the change is `monitor/audit/people/rotating`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.screen import plain

REFUSED = 3


def add(commands: Any) -> None:
    parser = arguments.parser(
        commands,
        "rotate-key",
        "sign the log with a new key from here on",
        'dosimeter audit rotate-key --reason "yearly"',
        role="operator",
    )
    parser.add_argument("--reason", required=True,
                        help="it stands in the log for good, so without names")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: done. 3: a history is running."""
    from dosimeter.monitor.history.lock import AlreadyWriting

    with arguments.opened(args) as history:
        from dosimeter.monitor.audit.people.rotating import rotate_key

        try:
            done = rotate_key(history, arguments.actor_of(args), args.reason, time.time_ns())
        except AlreadyWriting as error:
            print(
                f"{error}\n  hint: end `dosimeter history` first, it holds the key", file=sys.stderr
            )
            return REFUSED
    if args.json:
        print(json.dumps({"old": done.old.vkey, "new": done.new.vkey, "size": done.size}))
    else:
        print(f"the key of {plain(done.new.name)} was changed at entry {done.size:,}; keep both:")
        print(f"  before  {done.old.vkey}\n  after   {done.new.vkey}")
        print("destroy every copy of the old private key, backups too")
    return 0
