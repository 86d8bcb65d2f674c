"""A plan as one SVG file: reviews a day of each severity and of all, now and planned, beside the budget.

The JSON of the same run in, markup out; whoever opens the file needs nothing else. It never learns where numbers come
from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

WIDTH, ROW, HEAD, FOOT = 720, 58, 64, 46
LEFT, RIGHT = 130, 680
"""Where the axis of reviews begins and ends."""

STYLE = """
svg{background:#fff;font:13px system-ui,sans-serif} text{fill:#1c2430} .quiet{fill:#5b6675}
.name{font-weight:600;font-size:15px} .axis{stroke:#d5dae1} .budget{stroke:#c2412d;stroke-width:2}
.reach{stroke:#3d6fb4;stroke-width:8;stroke-opacity:.35;stroke-linecap:round} .planned{fill:#3d6fb4}
.now{fill:none;stroke:#5b6675;stroke-width:2}
@media(prefers-color-scheme:dark){svg{background:#14181f} text{fill:#e6e9ee} .quiet{fill:#9aa5b4}
.axis{stroke:#39424f} .budget{stroke:#f07a66} .reach{stroke:#6d9fe6} .planned{fill:#6d9fe6} .now{stroke:#9aa5b4}}
"""


def page(body: Mapping[str, Any]) -> str:
    """body: of `plan_report`."""
    rows: dict[str, Mapping[str, Any]] = {"together": body["together"], **body["severities"]}
    budget = body["reviews_a_day"]
    most = max(
        [budget, *(row["planned"]["high"] for row in rows.values()),
         *(row["now"]["expected"] for row in rows.values())]
    )  # fmt: skip
    step = _step(most)
    end = step * math.ceil(most * 1.05 / step)
    height = HEAD + ROW * len(rows) + FOOT
    said = f"{budget:,} reviews a day of {body['requests_a_day']:,} requests"
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(said)}"><style>{STYLE}</style>',
        f'<text class="name" x="20" y="30">{escape(said)}</text>',
    ]
    for index in range(round(end / step) + 1):
        x = _x(index * step, end)
        bottom = HEAD + ROW * len(rows)
        drawn.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{HEAD}" y2="{bottom}"/>')
        drawn.append(_text(x, bottom + 18, f"{index * step:,.0f}", "middle", "quiet"))
    legend = "→ reviews a day   ● planned, with 95 % of days   ○ now   | budget"
    drawn.append(_text(_x(0, end), height - 8, legend, "start", "quiet"))
    for index, (name, row) in enumerate(rows.items()):
        allowed = budget if name == "together" else row["allowance"]
        drawn += _row(HEAD + ROW * index, name, row, allowed, end)
    return "\n".join([*drawn, "</svg>\n"])


def _row(
    top: float, name: str, row: Mapping[str, Any], allowed: float, end: float
) -> Iterator[str]:
    now, planned = row["now"]["expected"], row["planned"]
    middle = top + 34
    at = _x(allowed, end)
    yield _text("20", middle + 5, escape(name), "start", "name" if name == "together" else "")
    yield f'<line class="budget" x1="{at}" x2="{at}" y1="{top + 16}" y2="{top + ROW - 6}"/>'
    low, high = _x(planned["low"], end), _x(planned["high"], end)
    yield f'<line class="reach" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>'
    yield f'<circle class="planned" cx="{_x(planned["expected"], end)}" cy="{middle}" r="6"/>'
    yield f'<circle class="now" cx="{_x(now, end)}" cy="{middle}" r="6"/>'
    label = (
        f"{planned['expected']:,.0f} of {allowed:,.0f}, {planned['low']:,} to {planned['high']:,}"
    )
    yield _text(_x(0, end), top + 14, label, "start", "quiet")


def _x(value: float, end: float) -> str:
    return f"{LEFT + min(value / end, 1) * (RIGHT - LEFT):.1f}"


def _text(x: str, y: float, words: str, anchor: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def _step(most: float) -> float:
    """A round number that five or fewer of make the axis."""
    raw = max(most, 1) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    return next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
