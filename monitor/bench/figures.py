"""What a benchmark prints: figures with their goals, and where they were measured.

It owns the one shape that every `dosimeter bench` has, as a table and as JSON, and whether the
goals are met. It measures nothing itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. goal: as `<= 2`, `== 0`, `>= 1`, or None where it is only reported."""

    name: str
    value: float | int | None  # None: could not be measured here
    unit: str
    goal: str | None = None
    interval: tuple[float, float] | None = None  # of 95 %, where one was worked out

    def as_record(self) -> dict[str, Any]:
        found = {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "goal": self.goal,
            "met": self.met,
        }
        return found if self.interval is None else found | {"interval": [*self.interval]}

    @property
    def met(self) -> bool | None:
        if self.goal is None or self.value is None:
            return None
        relation, bound = self.goal.split()
        limit = float(bound)
        return {
            "<=": self.value <= limit,
            ">=": self.value >= limit,
            "==": self.value == limit,
        }[relation]


@dataclass(frozen=True)
class Result:
    """What one benchmark found."""

    name: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()  # what was run, and what could not be and why

    @property
    def met(self) -> bool:
        """No stated goal was missed."""
        return all(figure.met is not False for figure in self.figures)

    def as_json(self) -> str:
        body: dict[str, Any] = {"name": self.name, "environment": environment()}
        if self.notes:
            body["notes"] = self.notes
        body["figures"] = [figure.as_record() for figure in self.figures]
        return json.dumps(body, indent=2)

    def as_table(self) -> str:
        shown = {True: "met", False: "MISSED", None: ""}
        rows = [("figure", "value", "unit", "goal", "")]
        for f in self.figures:
            value = "not measured" if f.value is None else f"{f.value:,.4g}"
            if isinstance(f.value, int):
                value = f"{f.value:,}"
            if f.interval is not None:
                value += " [{:,.3g} to {:,.3g}]".format(*f.interval)
            rows.append((f.name, value, f.unit, f.goal or "", shown[f.met]))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = (
            f"{name:<{widths[0]}}  {value:>{widths[1]}}  {unit:<{widths[2]}}  "
            f"{goal:<{widths[3]}}  {met}"
            for name, value, unit, goal, met in rows
        )
        said = (f"bench {self.name}", *(line.rstrip() for line in lines), *self.notes)
        return "\n".join(said)


def undisturbed() -> None:
    """Ask to be scheduled before the neighbours, as on a machine that is ours; `environment` says if it worked."""
    with contextlib.suppress(PermissionError):
        os.nice(-10 - os.nice(0))


def environment() -> dict[str, Any]:
    """Where the figures hold: without it they mean nothing."""
    try:
        model = next(
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "nice": os.nice(0),
        "load_1min": round(os.getloadavg()[0], 2),
    }
