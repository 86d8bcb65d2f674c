"""`dosimeter audit query --name`: a named query with its parameters, and the list of them.

It owns how parameters are written on a command line. The queries are `monitor/audit/queries/queries.sql`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import date
from itertools import repeat
from typing import Any
from zoneinfo import ZoneInfo

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.audit.arguments import Usage
from dosimeter.monitor.cli.screen import Screen, plain, table

EPOCH = date(1970, 1, 1).toordinal()
SHORT_ID = 16
_ID = re.compile(r"[0-9a-f]{32}")


def show_list(args: argparse.Namespace) -> int:
    from dosimeter.monitor.audit.queries.named_queries import QUERIES

    if args.json:
        each = [
            {"name": q.name, "about": q.about, "parameters": list(q.parameters), "required": sorted(q.required)}
            for q in QUERIES.values()
        ]  # fmt: skip
        print(json.dumps(each, indent=2))
        return 0
    screen = Screen.of(sys.stdout)
    rows = [[q.name, " ".join(q.parameters), q.about] for q in QUERIES.values()]
    head, *body = table(("query", "parameters (--set)", "what it gives"), rows, screen.width)
    print(screen.bold(head), *body, sep="\n")
    return 0


def run_named(args: argparse.Namespace) -> int:
    """0: rows. 1: none."""
    from dosimeter.monitor.audit.exports import tables
    from dosimeter.monitor.audit.exports.outfile import check, new_file
    from dosimeter.monitor.audit.history import dicts
    from dosimeter.monitor.audit.people.access import UNKNOWN, resolved
    from dosimeter.monitor.audit.queries.beside import Rows
    from dosimeter.monitor.audit.queries.named_queries import query_named
    from dosimeter.monitor.audit.queries.names import check as check_names

    query = query_named(args.name)
    within = arguments.range_of(args)
    arguments.notes(within.notes)
    if args.parquet is not None:
        check(args.parquet, args.force)
    filters = arguments.filters_of(args)
    with arguments.opened(args) as history:
        actor = arguments.actor_of(args)
        what = resolved(filters, history.keys)
        given = {**what, **_given(args.set)}
        if args.from_ or args.since or args.to:
            given |= {"from_ns": within.from_ns, "to_ns": within.to_ns}
        if args.limit is not None:
            given["limit"] = args.limit
        own = history.access.tenants(actor)
        if own is not None:
            if "tenants" not in query.parameters:
                raise Usage(f"--name {query.name}: not for one tenant\n  hint: --role auditor")
            given["tenants"] = sorted(own)
        nobody = {name: "0" * 32 for name, value in given.items() if value == UNKNOWN}
        # What it does not take is no part of the log.
        most = query.asked({**given, **nobody}).values.get("limit")
        history.access.ask(actor, "query", {"query": query.name, **given})
        check_names(history, filters, own=own)
        if UNKNOWN in what.values():
            print("no rows: such a name is not known to history", file=sys.stderr)
            return 1
        if "offset_ns" in query.parameters and "offset_ns" not in given:
            found = history.queries.by_day(query.name, within.zone, **given)
        else:
            one_more = {} if most is None else {"limit": most + 1}
            found = history.queries.run(query.name, **{**given, **one_more})
    if most is not None and len(found.rows) > most:
        found = Rows(found.columns, found.rows[:most])
        print(f"cut at {most:,} rows; --limit N for more", file=sys.stderr)
    columns = list(found.columns)
    rows = [tuple(tables.people(value) for value in row) for row in found.rows]
    if args.json:
        print(json.dumps(dicts(found), indent=2))
    elif args.csv:
        tables.write_csv(columns, rows, sys.stdout)
    elif args.jsonl:
        tables.write_jsonl(columns, rows, sys.stdout)
    elif args.parquet is not None:
        with new_file(args.parquet, force=args.force) as part:
            tables.write_parquet(columns, rows, tables.kinds_of(columns, rows), part)
    else:
        draw(*_for_people(columns, found.rows, within.zone))
    return 0 if rows else 1


def _for_people(
    columns: list[str], rows: Sequence[Sequence[Any]], zone: ZoneInfo
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Times in words, ids as the hex they begin with, a day as its date; `--json` and files have all as it is."""
    made = [tuple(map(_cell, columns, row, repeat(zone))) for row in rows]
    return [name.removesuffix("_ns") for name in columns], made


def _cell(column: str, value: Any, zone: ZoneInfo) -> Any:
    from dosimeter.monitor.audit.queries.times import shown

    if isinstance(value, bytes):
        return value.hex()[:SHORT_ID]
    if column == "source":
        return value[:SHORT_ID]
    if isinstance(value, int) and column.endswith("_ns"):
        return shown(value, zone) if value else ""
    if isinstance(value, int) and column == "day":
        return str(date.fromordinal(EPOCH + value))
    if column == "more" and value:
        return json.dumps(_worded(json.loads(value), zone))
    return value


def _worded(value: Any, zone: ZoneInfo) -> Any:
    """JSON with times in words."""
    if isinstance(value, list):
        return [_worded(one, zone) for one in value]
    if isinstance(value, dict):
        return {
            name.removesuffix("_ns"): _cell(name, _worded(one, zone), zone)
            for name, one in value.items()
        }
    return value


def draw(columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Without columns that have nothing in any row."""
    if not rows:
        print("no rows")
        return
    shown = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    cells = [["" if row[i] is None else plain(row[i]) for i in shown] for row in rows]
    screen = Screen.of(sys.stdout)
    head, *body = table([plain(columns[i]) for i in shown], cells, screen.width)
    print(screen.bold(head), *body, sep="\n")


def _given(written: list[str]) -> dict[str, str]:
    from dosimeter.monitor.audit.queries.named_queries import PARAMETERS

    found = {}
    for one in written:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise Usage(f"--set: `{plain(one)[:80]}` is not NAME=VALUE\n  hint: --set day=20000")
        if PARAMETERS.get(name) in ("id", "ids") and _ID.fullmatch(value) is None:
            hint = "32 hex characters, as --json shows them"
            if name in arguments.FILTERS:
                hint = f"--{name} NAME for a name, or {hint}"
            raise Usage(f"--set: `{plain(one)[:80]}` is no id\n  hint: {hint}")
        found[name] = value
    return found
