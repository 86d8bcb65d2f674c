"""`dosimeter rules backtest`: what rules would have alerted on in stored traffic, and how many a day that makes.

It owns the arguments and the labels file; the run is `monitor/backtest`, the figures `monitor/backtest_report`, and
the screen `backtest_view`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli import calibrations, labels

if TYPE_CHECKING:
    from dosimeter.monitor.backtest import Wanted

REQUEST = re.compile(r"([0-9a-f]{1,16})/([0-9a-f]{1,16})")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "backtest", help="what rules would have alerted on in stored scores"
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="rule files or folders")
    parser.add_argument("--archive", type=Path, default=Path(".dosimeter/archive"), metavar="DIR",
                        help="scores that a sidecar stored (default .dosimeter/archive)")  # fmt: skip
    parser.add_argument("--calibration", action="append", required=True, type=calibrations.folder, metavar="DIR",
                        help="where levels are placed; may be repeated")  # fmt: skip
    parser.add_argument("--since", type=_time, metavar="TIME",
                        help="2026-11-01 or 2026-11-01T08:00, UTC; of a request's last token")  # fmt: skip
    parser.add_argument("--until", type=_time, metavar="TIME", help="the first moment left out")
    parser.add_argument("--compare", metavar="live|PATH",
                        help="what is added and what falls away: against what fired then, or other rules")  # fmt: skip
    parser.add_argument("--labels", type=Path, metavar="CSV",
                        help="columns request (EPOCH/KEY) and label (yes, no): gives precision")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--plot", type=Path, metavar="SVG",
                        help="alerts a day, and values beside thresholds")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: done. 1: no rule could be run. 3: something is not installed. 4: data that is wrong."""
    from dosimeter.monitor.backtest import backtest, tokens_kept
    from dosimeter.monitor.backtest_report import report
    from dosimeter.monitor.cli.rules.backtest_view import lines
    from dosimeter.monitor.cli.screen import Screen, tell
    from dosimeter.monitor.progress import Progress

    said = read_labels(args.labels) if args.labels else None
    wanted = _wanted(args)
    progress, of = Progress("replaying"), tokens_kept(args.archive, wanted)
    try:
        answer = backtest(args.archive, wanted, lambda done: progress(done, of))
    finally:
        progress.close()
    body = report(answer, said)
    if args.json:
        tell(json.dumps(body, indent=2))
    else:
        tell("\n".join(lines(body, Screen.of(sys.stdout))))
    if args.plot:  # last: where it cannot be written, the run was not for nothing
        from dosimeter.monitor.backtest_plots import page

        args.plot.write_text(page(body, answer.values), encoding="utf-8")
    return 0 if any(one["run"] for one in body["rules"]) or not answer.inactive else 1


def read_labels(path: Path) -> dict[tuple[int, int], bool]:
    """Raises InputError."""
    from dosimeter.detectors.findings import InputError, visible

    found: dict[tuple[int, int], bool] = {}
    for place, name, right in labels.rows(path, "request"):
        match = REQUEST.fullmatch(name)
        if match is None:
            hint = "write EPOCH/KEY, which `dosimeter alerts show` has as `request`"
            raise InputError.at(place, f"`{visible(name)[:80]}` is no request", hint)
        labels.note(found, (int(match[1], 16), int(match[2], 16)), right, place, name)
    return found


def _wanted(args: argparse.Namespace) -> Wanted:
    from dosimeter.monitor.backtest import Wanted
    from dosimeter.rules.language.schema import load_rules

    against = args.compare
    if against not in (None, "live"):
        against = load_rules([Path(against)])
    return Wanted(
        load_rules(args.paths),
        tuple(calibrations.loaded(args.calibration)),
        datetime.now(UTC).date(),
        args.since,
        args.until,
        against,
        values=args.plot is not None,
    )


def _time(text: str) -> int:
    """ns of an ISO date or time; without a zone it is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        said = f"`{text[:40]}` is no time; write 2026-11-01 or 2026-11-01T08:00"
        raise argparse.ArgumentTypeError(said) from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return int(found.timestamp()) * 1_000_000_000
