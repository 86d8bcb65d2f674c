"""`dosimeter audit show`: one alert whole, and with a reason the evidence of it.

It owns the arguments and the order; the picture is that of `dosimeter alerts show`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dosimeter.monitor.cli.audit import arguments
from dosimeter.monitor.cli.audit.arguments import Usage
from dosimeter.monitor.cli.screen import Screen, plain

if TYPE_CHECKING:
    from dosimeter.monitor.audit.evidence.evidence_body import Body
    from dosimeter.monitor.audit.history import Found, History


def add(commands: Any) -> None:
    parser = arguments.parser(
        commands,
        "show",
        "one alert whole; with --text its evidence",
        'dosimeter audit show 01a2299aeb8d --text --reason "ticket 4411"',
    )
    parser.add_argument("id", help="of the entry, or its first 8 characters and more")
    parser.add_argument("--text", action="store_true",
                        help="also what is encrypted: labels, summary, scores")  # fmt: skip
    parser.add_argument("--reason", help="why; it stands in the log for good, so without names")
    parser.add_argument("--tz", default="UTC", metavar="ZONE", help="IANA name (default UTC)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0: shown. 1: no such entry."""
    from dosimeter.monitor.audit.people.access import who
    from dosimeter.monitor.audit.queries.times import zone_of

    if args.reason and not args.text:
        raise Usage("--reason: without --text nothing needs one\n  hint: add --text")
    zone = zone_of(args.tz)
    with arguments.opened(args) as history:
        actor = arguments.actor_of(args)
        history.access.ask(actor, "query", {"id": args.id.lower()[:32]})
        found = history.alert(args.id)
        body: Body | str | None = None
        if args.text:
            body = history.evidence(found, actor, args.reason)
        about = history.rows("entries_about", about=found.entry["id"])
        if args.json:
            print(json.dumps(_object(history, found, body, about), indent=2))
            return 0
        screen = Screen.of(sys.stdout)
        trail = [_about(row, who(row["actor"], actor, history.keys), zone) for row in about]
        print(*_lines(history, found, body, trail, screen, zone), sep="\n")
    return 0


def _lines(
    history: History,
    found: Found,
    body: Body | str | None,
    trail: list[str],
    screen: Screen,
    zone: Any,
) -> list[str]:
    from dosimeter.monitor.audit.queries.times import shown
    from dosimeter.monitor.cli.alert_view import evidence_lines, record_lines
    from dosimeter.monitor.history.evidence import Evidence
    from dosimeter.monitor.history.records import StoredAlert

    entry, record = found.entry, dict(found.record)
    labels = {
        n: str(entry[n]) for n in ("tenant", "subject", "conversation", "route") if n in entry
    }
    if (name := history.name_of(entry.get("tenant"))) is not None:
        labels["tenant"] = f"{name} ({entry['tenant']})"
    if body is not None and not isinstance(body, str):
        record["summary"] = body.summary
        labels |= {n: v for n, v in body.labels.items() if n != "tenant"}
    alert = StoredAlert(
        found.idx, str(entry["id"]), json.dumps({**record, "labels": labels}).encode(), True, 0
    )
    lines = list(record_lines(alert, screen))
    lines += [
        f"  log            entry {found.idx}, taken in {shown(int(entry['ingested_ns']), zone)}",
        f"  source         {plain(entry['source'])} seq {entry['seq']}",
    ]
    if entry["kind"] != "alert":
        shown_fields = {n: v for n, v in entry.items() if n not in ("id", "more")}
        lines += [f"  {plain(n):14} {plain(v)}" for n, v in sorted(shown_fields.items())]
    lines += [f"  {line}" for line in trail]
    if isinstance(body, str):
        lines += ["", f"evidence  {body}"]
    elif body is not None:
        evidence = (
            Evidence(body.first, body.columns, body.codes, body.tokens) if body.columns else None
        )
        lines += ["", *evidence_lines(record, evidence, screen)]
        if body.coverage:
            lines.append(f"coverage  {plain(body.coverage)}")
    elif "evidence" in entry:
        lines += ["", "evidence  encrypted; --text --reason R shows it, and the log says so"]
    return lines


def _about(row: Mapping[str, Any], by: str, zone: Any) -> str:
    """One line of what was done with it, and by whom."""
    from dosimeter.monitor.audit.queries.times import shown

    said = f" {row['verdict']}" if row["verdict"] else ""
    why = f": {row['reason']}" if row["reason"] else ""
    return plain(f"{row['kind']:14} {shown(row['time_ns'], zone)}{said} by {by}{why}")


def _object(
    history: History, found: Found, body: Body | str | None, about: list[dict[str, Any]]
) -> dict[str, Any]:
    evidence: dict[str, Any] | None = None
    if isinstance(body, str):
        evidence = {"none": body}
    elif body is not None:
        evidence = {
            "labels": dict(body.labels),
            "summary": body.summary,
            "coverage": body.coverage,
            "first": body.first,
            "columns": list(body.columns),
            "codes": body.codes.tolist(),
            "tokens": None if body.tokens is None else list(body.tokens),
        }
    return {
        "idx": found.idx,
        "entry": dict(found.entry),
        "record": dict(found.record),
        "tenant": history.name_of(found.entry.get("tenant")),
        "about": about,
        "evidence": evidence,
        "blobs": sorted(found.blobs),
    }
