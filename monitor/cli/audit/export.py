"""`dosimeter audit export`: alerts as a zip that somebody else can check, and open in a spreadsheet.

It owns the arguments and what is said; what is in the zip is `monitor/audit/exports/exporting`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.audit.arguments import Usage
from dosimeter.monitor.cli.audit.query import CODES, summary
from dosimeter.monitor.cli.screen import plain

if TYPE_CHECKING:
    from dosimeter.monitor.audit.exports.exporting import By


def add(commands: Any) -> None:
    parser = arguments.parser(
        commands,
        "export",
        "a zip of alerts with their proofs and a verifier",
        "dosimeter audit export --tenant acme --from 2026-03-01 --to 2026-04-01 --tz Europe/Berlin --out march.zip",
    )
    arguments.add_filters(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="ZIP", help="a new file")
    parser.add_argument("--force", action="store_true", help="write over the file of --out")
    parser.add_argument("--evidence", action="store_true",
                        help="also what is encrypted: labels, summaries, scores; needs --reason")  # fmt: skip
    parser.add_argument("--reason", help="why; it stands in the log for good, so without names")
    parser.add_argument("--dry-run", action="store_true",
                        help="say how many it would be, and write nothing")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: written. 1: written, without an alert in it. 5, 6: the same, and none or not all of that time was watched."""
    from dosimeter.monitor.audit.exports.outfile import check, new_file
    from dosimeter.monitor.progress import Progress

    if args.evidence and not (args.reason or "").strip():
        raise Usage('--evidence: why?\n  hint: --reason "ticket 4411"')
    filters, within = arguments.filters_of(args), arguments.range_of(args)
    arguments.notes(within.notes)
    check(args.out, args.force)
    with arguments.opened(args) as history:
        from dosimeter.monitor.audit.exports.exporting import export_alerts
        from dosimeter.monitor.audit.queries.asking import ask, question

        actor = arguments.actor_of(args)
        asked = question(history, filters, within, actor)
        if args.dry_run:
            answer = ask(history, asked, actor, limit=0)
            print(*(plain(line) for line in summary(asked, answer)), sep="\n")
            return CODES[answer.standing]
        answer = ask(
            history, asked, actor, limit=None, kind="export", reason=args.reason, text=args.evidence
        )
        progress = Progress("export")
        try:
            with new_file(args.out, force=args.force) as part:
                done = export_alerts(
                    history, asked, answer, part, by(args, answer.entry, within.zone),
                    evidence=args.evidence, progress=progress,
                )  # fmt: skip
        finally:
            progress.close()
    if args.json:
        print(json.dumps({"file": str(args.out), **asdict(done), "access": answer.entry}, indent=2))
    else:
        print(*(plain(line) for line in summary(asked, answer)), sep="\n", file=sys.stderr)
        out = plain(args.out)
        proven = f"{done.records:,} entries proven in a log of {done.size:,}"
        print(f"{out}: {done.alerts:,} alerts, {proven}")
        print(f"check it: unzip -p {out} verify.py > verify.py && python3 -I verify.py {out}")
    return CODES[answer.standing]


def by(args: argparse.Namespace, entry: str, zone: Any) -> By:
    from dosimeter.monitor.audit.exports.exporting import By

    return By(arguments.user_name(), args.role, args.reason, entry, zone, args.tz)
