"""`dosimeter audit reproduce`: stored alerts decided again by the stored program on the stored scores.

It owns the arguments and what is said; deciding again is `monitor/audit/evidence/reproduce`. No text is
shown, so no reason is asked for; where a text differs, only that it does is said.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.audit.arguments import Usage
from dosimeter.monitor.cli.screen import plain

if TYPE_CHECKING:
    from dosimeter.monitor.audit.evidence.reproduced import Reproduced
    from dosimeter.monitor.audit.history import Found, History

KINDS = ("alert", "count", "digest")
PERSONAL = ("summary:", "labels")
SHOWN, PAGE = 20, 1000


def add(commands: Any) -> None:
    parser = arguments.parser(
        commands,
        "reproduce",
        "run a rule again on the stored scores, and compare",
        "dosimeter audit reproduce --all --since 7d",
    )
    parser.add_argument("id", nargs="?", help="of an alert, or its first 8 characters and more")
    parser.add_argument("--all", action="store_true", help="every alert of that time")
    parser.add_argument("--archive", type=Path, metavar="DIR",
                        help="the score archive (default: `archive` in data-dir, where there is one)")  # fmt: skip
    arguments.add_times(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: the same, or what cannot be decided again says why. 1: none, or some cannot. 4: one differs."""
    if bool(args.id) is args.all:
        raise Usage("reproduce: an id or --all\n  hint: dosimeter audit reproduce --all --since 7d")
    within = arguments.range_of(args)
    arguments.notes(within.notes)
    with arguments.opened(args) as history:
        from dosimeter.monitor.audit.evidence.reproduce_history import from_history
        from dosimeter.monitor.progress import Progress

        actor = arguments.actor_of(args)
        times = {"from_ns": within.from_ns, "to_ns": within.to_ns}
        what = {"reproduce": "all", **times} if args.all else {"reproduce": args.id[:32]}
        history.access.ask(actor, "query", what)
        archive = args.archive or args.data_dir / "archive"
        reproducer = from_history(history, archive)
        total = (
            sum(history.rows("count", kind=k, **times)[0]["n"] for k in KINDS) if args.all else 1
        )
        each = _each(history, times) if args.all else iter([history.alert(args.id)])
        found: dict[str, Reproduced] = {}
        progress = Progress("reproduce")
        try:
            for one in each:
                found[str(one.entry["id"])] = reproducer(one.record)
                progress(len(found), total)
        finally:
            progress.close()
    return _said(args, found)


def _each(history: History, times: Mapping[str, int]) -> Iterator[Found]:
    """Alerts first, each kind with the newest first."""
    for kind in KINDS:
        before: dict[str, int] = {}
        while rows := history.rows("alerts", kind=kind, **{**times, **before}, limit=PAGE):
            for row in rows:
                yield history.whole(row)
            before = {"before_ns": rows[-1]["time_ns"], "before_idx": rows[-1]["idx"]}


def _said(args: argparse.Namespace, found: dict[str, Reproduced]) -> int:
    counts = Counter(one.status for one in found.values())
    code = 4 if counts["differs"] else 1 if counts["cannot"] or not found else 0
    if args.json:
        each = {
            id_: {"status": one.status, "by": one.by, "because": because(one), "compared": list(one.compared)}
            for id_, one in found.items()
        }  # fmt: skip
        print(json.dumps({"counts": dict(counts), "alerts": each}, indent=2))
        return code
    if not args.all:
        for id_, one in found.items():
            print(f"{id_} {one.status}{_why(one)}")
            if one.compared:
                print(f"  compared: {', '.join(one.compared)}")
        return code
    wrong = [(id_, one) for id_, one in found.items() if one.status != "same"]
    for id_, one in sorted(wrong, key=lambda each: each[1].status != "differs")[:SHOWN]:
        print(f"{id_} {one.status}{_why(one)}")
    if len(wrong) > SHOWN:
        print(f"and {len(wrong) - SHOWN:,} more", file=sys.stderr)
    by = Counter(one.by for one in found.values() if one.status == "same")
    ways = ", ".join(f"{n:,} {way}" for way, n in sorted(by.items()))
    same = f"{counts['same']:,} of {len(found):,} came out the same"
    rest = f"; {counts['differs']:,} differ, {counts['cannot']:,} cannot be decided again"
    print(same + (f" ({ways})" if ways else "") + (rest if wrong else ""))
    return code


def because(one: Reproduced) -> str:
    """Without the texts that may lead to somebody."""
    parts = [
        f"{part.partition(':')[0]}: another text" if part.startswith(PERSONAL) else part
        for part in one.because.split("; ")
    ]
    return "; ".join(parts)


def _why(one: Reproduced) -> str:
    said = because(one) or one.by
    return f": {plain(said)}" if said else ""
