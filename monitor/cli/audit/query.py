"""`dosimeter audit query`: alerts by filters and time, and what the answer is worth.

It owns the arguments, the table and the exit code; reading is `monitor/audit/queries/asking`, forms are
`monitor/audit/exports/tables`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.audit.arguments import Usage
from dosimeter.monitor.cli.screen import Screen, plain, table

if TYPE_CHECKING:
    from dosimeter.monitor.audit.history import History
    from dosimeter.monitor.audit.queries.asking import Answer, Question

ON_SCREEN = 50
SHORT_ID = 16
CODES = {"found": 0, "none": 1, "no data": 5, "in part": 6}


def add(commands: Any) -> None:
    parser = arguments.parser(
        commands,
        "query",
        "alerts by tenant, user, rule and time, with what the answer is worth",
        "dosimeter audit query --tenant acme --feature deception --from 2026-03-01 --to 2026-04-01 --tz Europe/Berlin",
    )
    arguments.add_filters(parser)
    parser.add_argument("--limit", type=int, metavar="N",
                        help=f"rows, newest first (default {ON_SCREEN} on a screen, all in a file)")  # fmt: skip
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="rows as CSV, harmless in a spreadsheet")
    form.add_argument("--jsonl", action="store_true", help="rows as JSON, one a line")
    form.add_argument("--parquet", type=Path, metavar="FILE", help="rows as Parquet")
    parser.add_argument("--force", action="store_true", help="write over the file of --parquet")
    parser.add_argument("--name", metavar="QUERY", help="a named query instead of alerts")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="of a parameter of the named query; may be repeated")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="the named queries")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: there are such alerts. 1: none, and the time was watched. 5, 6: none, and none or not all of it was."""
    from dosimeter.monitor.cli.audit import named

    if args.list:
        return named.show_list(args)
    if args.name is not None:
        return named.run_named(args)
    if args.set:
        raise Usage("--set: there is nothing to set\n  hint: name a query with --name")
    if args.limit is not None and args.limit < 1:
        raise Usage(f"--limit: `{args.limit}` is no number of rows\n  hint: 1 or more")
    filters, within = arguments.filters_of(args), arguments.range_of(args)
    with arguments.opened(args) as history:
        from dosimeter.monitor.audit.exports.outfile import check
        from dosimeter.monitor.audit.queries.asking import ask, question

        if args.parquet is not None:
            check(args.parquet, args.force)
        actor = arguments.actor_of(args)
        asked = question(history, filters, within, actor)
        in_file = args.csv or args.jsonl or args.json or args.parquet is not None
        limit = args.limit or (None if in_file else ON_SCREEN)
        found = ask(history, asked, actor, limit=limit)
        _show(args, history, asked, found)
    return CODES[found.standing]


def _show(args: argparse.Namespace, history: History, asked: Question, found: Answer) -> None:
    from dosimeter.monitor.audit.exports import tables
    from dosimeter.monitor.audit.queries.asking import table_of

    arguments.notes(asked.within.notes)
    if args.json:
        print(json.dumps(_object(asked, found), indent=2))
        return
    columns, rows = table_of(found.rows, asked.within.zone)
    lines = summary(asked, found)
    if args.csv:
        tables.write_csv(columns, rows, sys.stdout)
    elif args.jsonl:
        tables.write_jsonl(columns, rows, sys.stdout)
    elif args.parquet is not None:
        from dosimeter.monitor.audit.exports.outfile import new_file

        with new_file(args.parquet, force=args.force) as part:
            tables.write_parquet(columns, rows, tables.kinds_of(columns, rows), part)
        lines.insert(0, f"{len(rows):,} rows in {plain(args.parquet)}")
    else:
        screen = Screen.of(sys.stdout)
        if found.rows:
            head, *body = table(HEAD, _cells(history, found.rows, asked), screen.width)
            print(screen.bold(head), *body, sep="\n")
            print()
        print(*(plain(line) for line in lines), sep="\n")
        return
    print(*(plain(line) for line in lines), sep="\n", file=sys.stderr)


HEAD = ("id", "time", "severity", "feature", "rule", "tenant", "decision", "verdict")


def _cells(history: History, rows: Sequence[Mapping[str, Any]], asked: Question) -> list[list[str]]:
    from dosimeter.monitor.audit.queries.times import shown

    names = {row["tenant"]: history.name_of(row["tenant"]) or "" for row in rows if row["tenant"]}
    return [
        [
            plain(cell)
            for cell in (
                row["id"][:SHORT_ID],
                shown(row["time_ns"], asked.within.zone),
                row["severity"] or "",
                row["feature"] or "",
                row["rule"] or "",
                names.get(row["tenant"], ""),
                row["decision"] or "",
                "disputed" if row.get("disagreed") else row.get("judged") or "",
            )
        ]
        for row in rows
    ]


def summary(asked: Question, found: Answer) -> list[str]:
    """What was asked, how many there are, what that is worth."""
    from dosimeter.monitor.audit.queries.worth import NOT_KNOWN, worth

    lines_ = [f"{arguments.said_filters(asked.filters)}, {asked.within}"]
    for name in asked.unknown:
        lines_.append(f"{name} `{asked.filters[name]}` {NOT_KNOWN}")
    many = f"{found.total:,} alert" + ("s" if found.total != 1 else "")
    each = ((found.live, "live"), (found.shadow, "shadow"))
    rules = [f"{n} {word} rule{'s' if n != 1 else ''}" for n, word in each if n]
    many += f" ({', '.join(rules)})" if rules else ""
    if len(found.rows) < found.total:
        many += f", the newest {len(found.rows):,} shown"
    head, *rest = worth(found.watched, asked.within.zone, total=found.total, unread=found.unread)
    return [*lines_, f"{many} · {head}", *rest]


def _object(asked: Question, found: Answer) -> dict[str, Any]:
    from dosimeter.monitor.audit.queries.worth import none_found

    return {
        "filters": dict(asked.filters),
        "unknown": list(asked.unknown),
        "from_ns": asked.within.from_ns,
        "to_ns": asked.within.to_ns,
        "zone": asked.within.zone.key,
        "standing": found.standing,
        "total": found.total,
        "live_rules": found.live,
        "shadow_rules": found.shadow,
        "none_means": None if found.total else none_found(found.watched, found.unread),
        "coverage": found.watched.as_json(),
        "access": found.entry,
        "alerts": found.rows,
    }
