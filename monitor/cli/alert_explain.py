"""Why an alert came, as people read it in a terminal. It owns the picture; the facts are `monitor/explaining.py`'s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dosimeter.monitor.cli.screen import Screen, plain, table

HEAD = ("condition", "value", "threshold", "level", "as rare as", "tokens")


def explain_lines(facts: Mapping[str, Any], screen: Screen) -> list[str]:
    became = f"{facts['decision']}" + (f": {facts['reason']}" if facts["reason"] else "")
    if facts["status"] == "shadow":
        act = "would have notified" if facts["would_act"] else "would not have notified"
        became += f" ({act}, were the rule live)"
    rows = [[plain(one[name]) for name in HEAD] for one in facts["conditions"]]
    head, *body = table(HEAD, rows, screen.width)
    lines = [
        screen.bold(f"alert {plain(facts['event_id'])} of rule `{plain(facts['rule'])}`"),
        f"  {plain(became)}",
        f"  request {plain(facts['request'])}",
        "",
        screen.bold(head),
        *body,
    ]
    for folder, names in facts["lacking"].items():
        missing = ", ".join(f"`{plain(name)}`" for name in names)
        lines += ["", f"this calibration has no {missing}: {plain(folder)}"]
    if facts["lookalikes"]:
        lines += ["", screen.bold("ordinary requests that look most like it")]
        for one in facts["lookalikes"]:
            scores = ", ".join(
                f"{plain(name)} {value:+.2f}" for name, value in one["scores"].items()
            )
            lines.append(
                f"  request {one['request']} ({plain(one['route'])}), "
                f"{one['distance']:.2f} sd away: {scores}"
            )
    elif not facts["lacking"] and not any(one["as rare as"] for one in facts["conditions"]):
        lines += ["", "name the calibration with `--calibration DIR` to see how rare this is"]
    return lines
