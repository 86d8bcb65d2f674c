"""What the kit prints: a table a server, one line of verdict, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dosimeter.detectors.frames import CODES_PER_SD
from dosimeter.monitor.conformance.case import MIXED, Outcome

HEAD = (
    "case",
    "requests",
    "positions",
    "max diff",
    "misattributed",
    "missing",
    "reused",
    "twice",
    "unaccounted",
    "verdict",
)


def conforms(outcomes: Sequence[Outcome]) -> bool:
    """Every case that the servers offer does, and there was one."""
    offered = [one for one in outcomes if one.skipped is None]
    return bool(offered) and all(one.verdict == "conforms" for one in offered)


def as_table(outcomes: Sequence[Outcome]) -> str:
    lines: list[str] = []
    for server in dict.fromkeys(one.server for one in outcomes):
        mine = [one for one in outcomes if one.server == server]
        rows = [HEAD, *(_row(one) for one in mine)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
        lines += ["", server]
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [row[i].rjust(widths[i]) for i in range(1, len(HEAD) - 1)]
            lines.append("  ".join([*cells, row[-1]]).rstrip())
        for one in mine:
            if one.skipped or one.error or one.faults:
                lines += _why(one)
            elif one.case == MIXED:
                lines.append(f"  {one.case}: {one.about}")
    return "\n".join([*lines, "", verdict(outcomes)]).lstrip("\n")


def verdict(outcomes: Sequence[Outcome]) -> str:
    done = [one.findings for one in outcomes if one.findings is not None]
    failed = [one for one in outcomes if one.verdict == "FAILS"]
    compared = sum(found.compared for found in done)
    served = sum(found.served for found in done)
    cases = sum(one.skipped is None for one in outcomes)
    worst = max((found.worst for found in done), default=0)
    end = (
        f"{cases} cases, {served:,} tokens served, {compared:,} positions compared, "
        f"largest difference {worst} code{'s' * (worst != 1)} ({worst / CODES_PER_SD:.4f} sd)"
    )
    beyond = sum(found.beyond for found in done)
    if beyond:
        end += f"; {beyond:,} rows not compared: the server alone knew their tokens"
    if conforms(outcomes):
        return f"conforms: {end}"
    if not cases:
        return "does not conform: nothing was offered that could be compared"
    names = ", ".join(f"{one.case} ({one.server})" for one in failed[:6])
    return f"does not conform: {len(failed)} of {end}\n  first: {names}"


def as_json(outcomes: Sequence[Outcome]) -> str:
    return json.dumps(
        {"conforms": conforms(outcomes), "cases": [_record(one) for one in outcomes]}, indent=2
    )


def _record(one: Outcome) -> dict[str, Any]:
    record: dict[str, Any] = {
        "server": one.server,
        "case": one.case,
        "about": one.about,
        "verdict": one.verdict,
        "seconds": round(one.seconds, 2),
    }
    if one.findings is not None:
        record |= asdict(one.findings)
        record["worst_sd"] = one.findings.worst / CODES_PER_SD
    for name in ("faults", "skipped", "error"):
        if getattr(one, name):
            record[name] = getattr(one, name)
    return record


def _row(one: Outcome) -> tuple[str, ...]:
    found = one.findings
    if found is None:
        return (one.case, *("" for _ in HEAD[2:]), one.verdict)
    return (
        one.case,
        f"{found.requests:,}",
        f"{found.compared:,}",
        f"{found.worst}/{CODES_PER_SD}",
        f"{found.misattributed:,}",
        f"{found.missing:,}",
        f"{found.reused:,}",
        f"{found.twice:,}",
        f"{found.unaccounted:,}",
        one.verdict,
    )


def _why(one: Outcome) -> list[str]:
    said = one.skipped or one.error or ""
    faults = ", ".join(f"{name} {n:,}" for name, n in (one.faults or {}).items())
    lines = [f"  {one.case}: {'; '.join(part for part in (said, faults) if part)}"]
    return lines + [f"    {text}" for text in (one.findings.examples if one.findings else [])]
