"""`dosimeter audit hold` and `release`: what may neither be erased nor run out, and what may again.

It owns the arguments; a hold is `monitor/audit/people/holds`.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.audit.arguments import Usage
from dosimeter.monitor.cli.screen import plain

if TYPE_CHECKING:
    from dosimeter.monitor.audit.history import History
    from dosimeter.monitor.audit.people.holds import On


def add(commands: Any) -> None:
    for name, line in (
        ("hold", "keep an alert, a user or a tenant from being erased or running out"),
        ("release", "let go of what is on hold"),
    ):
        parser = arguments.parser(
            commands, name, line, f'dosimeter audit {name} 01a2299aeb8d --reason "case 12"'
        )
        parser.add_argument("id", nargs="?", help="of an alert, or its first 8 characters and more")
        parser.add_argument("--tenant", metavar="NAME",
                            help="all of it, or with --user one of its users")  # fmt: skip
        parser.add_argument("--user", metavar="NAME")
        parser.add_argument("--reason", required=True,
                            help="it stands in the log for good, so without names")  # fmt: skip
        parser.add_argument("--dry-run", action="store_true",
                            help="say what it would be, and do nothing")  # fmt: skip
        parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: done. 1: no such alert."""
    if bool(args.id) is bool(args.tenant) or (args.user and not args.tenant):
        hint = "give an alert's id, or --tenant, or --tenant and --user"
        raise Usage(f"{args.audit_command}: on what?\n  hint: {hint}")
    with arguments.opened(args) as history:
        from dosimeter.monitor.audit.people.access import require
        from dosimeter.monitor.audit.people.holds import put_hold, release_hold

        actor = arguments.actor_of(args)
        require(actor, "hold")
        on, about = _about(args, history)
        standing = history.hot.holds().get(bytes.fromhex(about))
        if args.dry_run:
            held = "is on hold" if standing else "is not on hold"
            print(f"would {args.audit_command} {on} {about}, which {held}")
            return 0
        act = put_hold if args.audit_command == "hold" else release_hold
        entry = act(
            history.appender, on, about, actor=actor, reason=args.reason, now_ns=time.time_ns()
        )
    if args.json:
        print(json.dumps({"on": on, "about": about, "entry": entry}))
    else:
        done = "on hold" if args.audit_command == "hold" else "released"
        print(f"{done}: {on} {about}, entry {entry}")
    return 0


def _about(args: argparse.Namespace, history: History) -> tuple[On, str]:
    from dosimeter.monitor.audit.people.access import UNKNOWN, resolved

    if args.id:
        return "alert", str(history.alert(args.id).entry["id"])
    named = {n: getattr(args, n) for n in ("tenant", "user") if getattr(args, n) is not None}
    found = resolved(named, history.keys)
    about = found["subject" if args.user else "tenant"]
    if about == UNKNOWN:
        value = plain(args.user or args.tenant)
        from dosimeter.monitor.audit.history import NoSuchEntry

        raise NoSuchEntry(
            f"`{value}` is not known to history\n  hint: never seen here, or erased already"
        )
    return "subject", str(about)
