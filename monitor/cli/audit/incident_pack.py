"""`dosimeter audit incident-pack`: one alert with all that belongs to it, as a zip that somebody else can check.

It owns the arguments and what is said; what is in the zip is `monitor/audit/exports/exporting`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli import calibrations
from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.audit.arguments import Usage
from dosimeter.monitor.cli.screen import plain

if TYPE_CHECKING:
    from dosimeter.monitor.audit.history import Found


def add(commands: Any) -> None:
    parser = arguments.parser(
        commands,
        "incident-pack",
        "one alert with its rule, scores, trail and proof, as a zip",
        'dosimeter audit incident-pack 01a2299aeb8d --reason "INC-441" --out inc-441.zip',
    )
    parser.add_argument("id", help="of an alert, or its first 8 characters and more")
    parser.add_argument("--reason", required=True,
                        help="why; it stands in the log for good, so without names")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="ZIP", help="a new file")
    parser.add_argument("--force", action="store_true", help="write over the file of --out")
    parser.add_argument("--archive", type=Path, metavar="DIR",
                        help="the score archive (default: `archive` in data-dir, where there is one)")  # fmt: skip
    parser.add_argument("--calibration", action="append", default=[], type=calibrations.folder, metavar="DIR",
                        help="the one that the alert names, to go with it")  # fmt: skip
    parser.add_argument("--tz", default="UTC", metavar="ZONE", help="IANA name (default UTC)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: written. 1: no such alert."""
    from dosimeter.monitor.audit.exports.outfile import check, new_file
    from dosimeter.monitor.audit.queries.times import zone_of

    zone = zone_of(args.tz)
    check(args.out, args.force)
    with arguments.opened(args) as history:
        from dosimeter.monitor.audit.evidence.reproduce_history import from_history
        from dosimeter.monitor.audit.exports.exporting import export_incident
        from dosimeter.monitor.cli.audit.export import by
        from dosimeter.monitor.cli.audit.reproduce import because

        actor = arguments.actor_of(args)
        history.access.ask(actor, "query", {"id": args.id.lower()[:32]})
        found = history.alert(args.id)
        _fits(args, found)
        id_ = str(found.entry["id"])
        names = ("tenant", "subject", "conversation")
        what = {n: found.entry[n] for n in names if n in found.entry} | {"id": id_, "text": True}
        entry = history.access.ask(actor, "export", what, args.reason, about=id_)
        again = from_history(history, args.archive or args.data_dir / "archive")(found.record)
        with new_file(args.out, force=args.force) as part:
            done = export_incident(
                history, found, part, by(args, entry, zone),
                reproduced={**asdict(again), "because": because(again)},
                calibrations=args.calibration,
            )  # fmt: skip
    if args.json:
        print(json.dumps({"file": str(args.out), **asdict(done), "access": entry}, indent=2))
    else:
        proven = f"{done.records:,} entries proven in a log of {done.size:,}"
        print(f"{plain(args.out)}: alert {id_}, {proven}, decided again: {again.status}")
    return 0


def _fits(args: argparse.Namespace, found: Found) -> None:
    """A calibration that the alert does not name would mislead. Raises Usage, InputError."""
    from dosimeter.detectors.calibrate import Calibration

    each = [found.record, *found.record.get("also", ())]
    named = {one.get("calibration_sha256") for one in each}
    for folder in args.calibration:
        digest = Calibration.load(folder).digest
        if digest not in named:
            said = f"--calibration: `{plain(folder)}` is not the one that decided"
            wanted = ", ".join(sorted(str(one) for one in named if one))
            raise Usage(f"{said}\n  hint: the alert names {plain(wanted) or 'none'}")
