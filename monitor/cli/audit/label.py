"""`dosimeter audit label`: what a reviewer says of an alert.

It owns the arguments; a label is `monitor/audit/people/labels`.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.audit.arguments import Usage

VERDICTS = ("true", "false", "unsure")


def add(commands: Any) -> None:
    parser = arguments.parser(
        commands,
        "label",
        "say of an alert that it is true, false, or that you are unsure",
        "dosimeter audit label 01a2299aeb8d false --because fiction",
        role="reviewer",
    )
    parser.add_argument("id", help="of an alert, or its first 8 characters and more")
    parser.add_argument("verdict", choices=VERDICTS)
    parser.add_argument("--because", default="seen", metavar="CODE",
                        help="a word for counting, such as fiction or quoted; it stays for good")  # fmt: skip
    parser.add_argument("--note", default="", help="a sentence; encrypted, and erased with the user")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="say what it would be, and do nothing")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: done. 1: no such alert."""
    with arguments.opened(args) as history:
        from dosimeter.monitor.audit.people.access import require
        from dosimeter.monitor.audit.people.labels import About, label

        actor = arguments.actor_of(args)
        require(actor, "label")
        found = history.alert(args.id)
        entry = found.entry
        if entry["kind"] != "alert":
            said = f"label: `{entry['id']}` is no alert but a {entry['kind']}"
            raise Usage(f"{said}\n  hint: `dosimeter audit query` lists alerts")
        if args.dry_run:
            print(f"would label alert {entry['id']} of rule {found.record.get('rule')}: {args.verdict}")  # fmt: skip
            return 0
        about = About(str(entry["id"]), tenant=entry.get("tenant"), subject=entry.get("subject"))
        try:
            made = label(
                history.appender,
                about,
                args.verdict,
                actor=actor,
                reason_code=args.because,
                note=args.note,
                now_ns=time.time_ns(),
            )
        except ValueError as error:
            raise Usage(str(error)) from None
    if args.json:
        print(json.dumps({"alert": entry["id"], "verdict": args.verdict, "entry": made}))
    else:
        print(f"alert {entry['id']} labelled {args.verdict}, entry {made}")
    return 0
