"""`dosimeter audit sql`: one SELECT over the views of history.

It owns the arguments and the forms; what such a statement may do is `monitor/audit/queries/free_sql`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.audit.arguments import Usage
from dosimeter.monitor.cli.screen import plain

MAX_TEXT = 8000
"""Of a statement: it stands in the log."""
MAX_ROWS, MAX_S = 10_000_000, 3600


def add(commands: Any) -> None:
    parser = arguments.parser(
        commands,
        "sql",
        "one SELECT over the views alerts, labels, rules, access, coverage, entries",
        'dosimeter audit sql "SELECT rule, count(*) FROM alerts GROUP BY rule"',
    )
    parser.add_argument("text", metavar="SELECT",
                        help="it becomes part of the log for good: write ids in it, never names")  # fmt: skip
    parser.add_argument("--limit", type=int, default=10_000, metavar="N",
                        help="rows at most (default 10,000)")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="at most (default 30)")  # fmt: skip
    parser.add_argument(
        "--tz", default="UTC", metavar="ZONE", help="IANA name, for times (default UTC)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="rows as CSV, harmless in a spreadsheet")
    form.add_argument("--jsonl", action="store_true", help="rows as JSON, one a line")
    form.add_argument("--parquet", type=Path, metavar="FILE", help="rows as Parquet")
    parser.add_argument("--force", action="store_true", help="write over the file of --parquet")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: rows. 1: none."""
    if len(args.text) > MAX_TEXT:
        hint = f"at most {MAX_TEXT:,}; ask for less"
        raise Usage(f"sql: {len(args.text):,} characters\n  hint: {hint}")
    if not 1 <= args.limit <= MAX_ROWS:
        raise Usage(
            f"--limit: 1 to {MAX_ROWS:,}\n  hint: for all of them, --parquet of `audit query`"
        )
    if not 0 < args.seconds <= MAX_S:
        raise Usage(f"--seconds: more than 0, at most {MAX_S:,}\n  hint: leave it out")
    with arguments.opened(args) as history:
        from dosimeter.monitor.audit.exports import tables
        from dosimeter.monitor.audit.exports.outfile import check, new_file
        from dosimeter.monitor.audit.queries.free_sql import run_sql
        from dosimeter.monitor.audit.queries.times import zone_of
        from dosimeter.monitor.cli.audit.named import draw

        zone = zone_of(args.tz).key
        if args.parquet is not None:
            check(args.parquet, args.force)
        history.access.ask(arguments.actor_of(args), "query", {"sql": args.text})
        found = run_sql(
            history.folder, args.text, zone=zone, max_rows=args.limit, seconds=args.seconds
        )
    columns = list(found.columns)
    rows = [tuple(tables.people(value) for value in row) for row in found.rows]
    if args.json:
        print(json.dumps(list(tables.objects(columns, rows)), indent=2))
    elif args.csv:
        tables.write_csv(columns, rows, sys.stdout)
    elif args.jsonl:
        tables.write_jsonl(columns, rows, sys.stdout)
    elif args.parquet is not None:
        with new_file(args.parquet, force=args.force) as part:
            tables.write_parquet(columns, rows, tables.kinds_of(columns, rows), part)
        print(f"{len(rows):,} rows in {plain(args.parquet)}")
    else:
        draw(columns, rows)
    if found.cut:
        print(f"cut at {args.limit:,} rows; --limit N for more", file=sys.stderr)
    return 0 if rows else 1
