"""`dosimeter audit labels`: what reviewers said, as the file that rules are judged and promoted by, and how often rules
are right.

It owns the arguments and the table; the figures are `monitor/audit/people/precision`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.screen import Screen, plain, table

if TYPE_CHECKING:
    from dosimeter.monitor.audit.history import History
    from dosimeter.monitor.audit.people.labels import Label
    from dosimeter.monitor.audit.people.precision import Judged

HEAD = ("rule", "group", "right", "of", "precision", "95 % interval", "unsure", "disputed")


def add(commands: Any) -> None:
    parser = arguments.parser(
        commands,
        "labels",
        "how often rules are right, and the labels as a file for rules backtest, plan and promote",
        "dosimeter audit labels --rule scam-in-answer --out labels.csv",
        role="reviewer",
    )
    parser.add_argument("--rule", metavar="NAME", help="of this rule alone")
    parser.add_argument("--out", type=Path, metavar="CSV", help="write them as --labels reads them")
    parser.add_argument("--by", choices=("request", "event_id"), default="request",
                        help="request for backtest, plan, calibrate (default); event_id for promote")  # fmt: skip
    parser.add_argument("--force", action="store_true", help="write over the file of --out")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: there are labels. 1: none."""
    with arguments.opened(args) as history:
        from dosimeter.monitor.audit.exports.outfile import check, new_file
        from dosimeter.monitor.audit.people.precision import agreement, labels_csv, precision

        if args.out is not None:
            check(args.out, args.force)
        what = {"labels": True, **({"rule": args.rule} if args.rule else {})}
        history.access.ask(arguments.actor_of(args), "query", what)
        labels, found = _judged(history, args.rule)
    if args.out is not None:
        with new_file(args.out, force=args.force) as part:
            part.write_text(labels_csv(found, args.by, args.rule or ""), encoding="utf-8")
    figures, agreed = precision(found), agreement(labels)
    if args.json:
        agrees = {**asdict(agreed), "disagreement": agreed.disagreement}
        print(json.dumps({"precision": [asdict(one) for one in figures], "agreement": agrees}, indent=2))  # fmt: skip
    else:
        screen = Screen.of(sys.stdout)
        rows = [
            [
                plain(one.rule), one.group, f"{one.right:,}", f"{one.n:,}",
                f"{100 * one.right / one.n:.1f} %" if one.n else "-",
                f"{100 * one.low:.1f} to {100 * one.high:.1f} %", f"{one.unsure:,}", f"{one.disputed:,}",
            ]
            for one in figures
        ]  # fmt: skip
        if rows:
            head, *body = table(HEAD, rows, screen.width)
            print(screen.bold(head), *body, sep="\n")
        print(_agreed(len(labels), agreed))
        if args.out is not None:
            print(f"written to {plain(args.out)}")
    return 0 if labels else 1


def _judged(history: History, rule: str | None) -> tuple[list[Label], list[Judged]]:
    from dosimeter.monitor.audit.erasure.known import KnownEntries
    from dosimeter.monitor.audit.people.labels import Label
    from dosimeter.monitor.audit.people.precision import judged

    leaves = KnownEntries(history.hot, history.folder).of_kind("label")
    labels = [Label.of_leaf(leaf) for leaf in leaves]
    alerts: dict[str, tuple[str, str, str, str]] = {}
    for id_ in {one.of for one in labels if "/" not in one.of}:
        for row in history.rows("alert_by_id", prefix=id_):
            request = f"{row['epoch']}/{row['key']}"
            alerts[id_] = (row["rule"], row["status"], row["decision"], request)
    if rule is not None:
        alerts = {id_: one for id_, one in alerts.items() if one[0] == rule}
        labels = [one for one in labels if one.of in alerts]
    return labels, judged(labels, alerts)


def _agreed(count: int, agreed: Any) -> str:
    said = f"{count:,} label{'s' if count != 1 else ''}"
    if not agreed.twice:
        return f"{said}; none by two reviewers, so nothing is known of their agreement"
    kappa = "" if agreed.kappa is None else f", Cohen's kappa {agreed.kappa:.2f}"
    return f"{said}; {agreed.twice:,} by two reviewers, {agreed.agreed:,} the same{kappa}"
