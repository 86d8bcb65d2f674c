"""What `dosimeter audit attack` prints: a row a manipulation, a row an adversary, and whether the goals are met."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dosimeter.monitor.bench.figures import Figure, Result, environment
from dosimeter.monitor.chaos.audit_attack import REACH
from dosimeter.monitor.chaos.audit_run import Outcome

MOST = 20
"""Alarms and misses that are listed."""


@dataclass(frozen=True)
class Report:
    """histories: untouched ones, and what was said of them."""

    outcomes: Sequence[Outcome]
    histories: int
    alarms: Sequence[str]
    entries: int
    seconds: float

    @property
    def result(self) -> Result:
        locatable = [one for one in self.outcomes if one.manipulation.expected == "located"]
        located = sum(one.actual == "located" for one in locatable)
        expected = sum(one.as_expected for one in self.outcomes)
        return Result("audit attack", (
            Figure("manipulations", len(self.outcomes), ""),
            Figure("with another verdict than was due", len(self.outcomes) - expected, "", "== 0"),
            Figure("that can be located", len(locatable), ""),
            Figure("of these located at the entry or file", 100 * located / max(1, len(locatable)), "%", ">= 99"),
            Figure("untouched histories", self.histories, ""),
            Figure("alarms on these", len(self.alarms), "", "== 0"),
            Figure("entries of the history attacked", self.entries, ""),
            Figure("took", self.seconds, "s"),
        ))  # fmt: skip

    def by_name(self) -> dict[tuple[str, str], list[Outcome]]:
        found = defaultdict[tuple[str, str], list[Outcome]](list)
        for one in self.outcomes:
            found[one.manipulation.adversary, one.manipulation.name].append(one)
        return dict(found)

    def as_json(self) -> str:
        body: dict[str, Any] = json.loads(self.result.as_json())
        body["environment"] = environment()
        body["manipulations"] = [
            {"adversary": who, "name": name, "expected": each[0].manipulation.expected, "runs": len(each),
             "as_expected": sum(one.as_expected for one in each), "example": each[0].said[:300]}
            for (who, name), each in self.by_name().items()
        ]  # fmt: skip
        body["missed"] = [
            {"name": one.manipulation.name, "expected": one.manipulation.expected, "actual": one.actual,
             "said": one.said[:300]}
            for one in self.outcomes if not one.as_expected
        ][:MOST]  # fmt: skip
        body["alarms"] = list(self.alarms[:MOST])
        return json.dumps(body, indent=2)

    def as_table(self) -> str:
        lines = []
        names = self.by_name()
        for who, reach in REACH.items():
            mine = [one for one in self.outcomes if one.manipulation.adversary == who]
            if not mine:
                continue
            fine = sum(one.as_expected for one in mine)
            lines += [f"{who}: {reach}", f"  {fine} of {len(mine)} verdicts as stated beforehand"]
            for (_, name), each in ((key, one) for key, one in names.items() if key[0] == who):
                met = sum(one.as_expected for one in each)
                due = each[0].manipulation.expected
                others = sorted({one.actual for one in each if not one.as_expected})
                but = f"  MISSED: {', '.join(others)}" if others else ""
                lines.append(f"  {name:<44}{due:<14}{met} of {len(each)}{but}")
        lines += [f"alarm: {one}" for one in self.alarms[:MOST]]
        return "\n".join([*lines, "", self.result.as_table()])
