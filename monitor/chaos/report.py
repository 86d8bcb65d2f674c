"""What `dosimeter chaos` prints: one row an attack, and whether every goal was met."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dosimeter.monitor.bench.figures import environment
from dosimeter.monitor.chaos.run import GOALS, Outcome

WIDTH = 74
HEAD = ("attack", "what the monitor said", "after s", "re-armed s", "others scored", "")


def as_json(outcomes: Sequence[Outcome]) -> str:
    body: dict[str, Any] = {
        "name": "blind",
        "environment": environment(),
        "goals": asdict(GOALS) | {"unaccounted": 0},
        "met": all(not one.missed for one in outcomes),
        "attacks": [one.as_dict() for one in outcomes],
    }
    return json.dumps(body, indent=2, ensure_ascii=False)


def as_table(outcomes: Sequence[Outcome]) -> str:
    rows = [HEAD, *(_row(one) for one in outcomes)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    for one in outcomes:
        lines += [f"not met: {one.attack}: {missed}" for missed in one.missed]
    met = sum(not one.missed for one in outcomes)
    lines.append(
        f"{met} of {len(outcomes)} attacks: named within {GOALS.named_s:.0f} s, re-armed within "
        f"{GOALS.rearmed_s:.0f} s, every token of the others scored or counted"
    )
    return "\n".join(line.rstrip() for line in lines)


def _row(one: Outcome) -> tuple[str, ...]:
    others = f"{one.others_scored} of {one.others}"
    if one.others_scored < one.others or one.others_must == "counted":
        others += f", counted: {_counted(one)}"
    said = one.said or one.error or "nothing"
    said = " ".join(said.split())
    return (
        one.attack + (" (fake)" if one.fake else ""),
        said if len(said) <= WIDTH else said[: WIDTH - 1] + "…",
        _seconds(one.said_s),
        _seconds(one.rearmed_s),
        others,
        "met" if not one.missed else "MISSED",
    )


def _counted(one: Outcome) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in one.unscored.items()) or "none"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
