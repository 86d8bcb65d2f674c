"""A backtest as one SVG file: for each rule its alerts a day, and how far out requests lie beside its threshold.

Numbers of the same run in, markup out; whoever opens the file needs nothing else. Names are escaped. It never learns
where the numbers come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from html import escape
from typing import Any

from dosimeter.detectors.findings import visible
from dosimeter.rules.backtesting.distribution import BELOW, BINS, BINS_A_SD, Distribution

MOST_RULES = 20
"""Those with the most alerts."""
WIDTH, ROW, HEAD = 960, 190, 56
DAYS_X, DAYS_W, VALUES_X, VALUES_W = 60, 380, 530, 400
TOP, HIGH = 44, 96
"""Of a row: where its plots begin, and how high they are."""

STYLE = """
svg{background:#fff;color:#1c2430;font:13px system-ui,sans-serif}
text{fill:#1c2430} .quiet{fill:#5b6675} .name{font-weight:600;font-size:15px}
.bar{fill:#3d6fb4} .over{fill:#c2412d} .axis{stroke:#d5dae1} .level{stroke:#c2412d;stroke-width:2}
.mean{stroke:#1c2430;stroke-dasharray:4 3}
@media(prefers-color-scheme:dark){svg{background:#14181f;color:#e6e9ee} text{fill:#e6e9ee} .quiet{fill:#9aa5b4}
.axis{stroke:#39424f} .mean{stroke:#e6e9ee} .bar{fill:#6d9fe6} .over{fill:#f07a66} .level{stroke:#f07a66}}
"""


def page(body: Mapping[str, Any], values: Mapping[str, Distribution]) -> str:
    """body: of `backtest_report`; values: by rule, where there are any."""
    rules = sorted(body["rules"], key=lambda one: -one["alerts"]["value"])[:MOST_RULES]
    height = HEAD + ROW * max(len(rules), 1)
    of = body["archive"]
    said = (
        f"Backtest: {of['from'][:10]} to {of['to'][:10]}, {of['requests_kept']:,} requests "
        f"kept of about {of['requests']:,}"
        if of["requests_kept"]
        else "Backtest: no request of that time is in the archive"
    )
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(said)}"><style>{STYLE}</style>',
        _text(20, 30, said, "name"),
    ]
    left = len(body["rules"]) - len(rules)
    if left:
        drawn.append(
            _text(WIDTH - 20, 30, f"{left} rules with fewer alerts are left out", "quiet", "end")
        )
    for index, rule in enumerate(rules):
        drawn.append(f'<g transform="translate(0 {HEAD + ROW * index})">')
        drawn += _rule(rule, _days(of), values.get(rule["rule"]))
        drawn.append("</g>")
    return "\n".join([*drawn, "</svg>\n"])


def _rule(
    rule: Mapping[str, Any], days: Sequence[str], values: Distribution | None
) -> Iterator[str]:
    daily = rule["alerts_a_day"]
    mean = (
        f"{_number(daily['value'])} a day, 95 % {_number(daily['low'])} to {_number(daily['high'])}"
        if daily
        else ""
    )
    yield _text(20, 18, visible(rule["rule"]), "name")
    yield _text(20, 34, f"alerts a day: {mean}", "quiet")
    yield from _by_day(rule["by_day"], days, daily["value"] if daily else None)
    if values is not None:
        yield from _histogram(values)


def _by_day(by_day: Mapping[str, int], days: Sequence[str], mean: float | None) -> Iterator[str]:
    counts = [by_day.get(day, 0) for day in days]
    top = max([1, *counts, mean or 0])
    bottom = TOP + HIGH
    yield _line(DAYS_X, bottom, DAYS_X + DAYS_W, bottom, "axis")
    yield _text(DAYS_X - 8, TOP + 10, _number(max([1, *counts])), "quiet", "end")
    yield _text(DAYS_X - 8, bottom, "0", "quiet", "end")
    wide = DAYS_W / max(len(days), 1)
    for i, (day, count) in enumerate(zip(days, counts, strict=True)):
        high = HIGH * count / top
        yield (
            f'<rect class="bar" x="{DAYS_X + wide * i + wide * 0.1:.1f}" y="{bottom - high:.1f}" '
            f'width="{wide * 0.8:.1f}" height="{high:.1f}"><title>{day}: {count:,}</title></rect>'
        )
    if mean is not None:
        y = bottom - HIGH * mean / top
        yield _line(DAYS_X, y, DAYS_X + DAYS_W, y, "mean")
    if days:
        yield _text(DAYS_X, bottom + 18, days[0], "quiet")
    if len(days) > 1:
        yield _text(DAYS_X + DAYS_W, bottom + 18, days[-1], "quiet", "end")


def _histogram(of: Distribution) -> Iterator[str]:
    """Requests on a scale of powers of ten, since the tail is what matters and it is thin."""
    counts = of.counts.tolist()
    held = [i for i, count in enumerate(counts) if count]
    if not held:
        return
    first, last = max(0, min(held[0], BELOW) - 1), min(BINS, max(held[-1], BELOW) + 2)
    level = of.threshold
    low, high = (level + (at - BELOW) / BINS_A_SD for at in (first, last))
    top = math.log10(max(counts)) + 0.3
    bottom, across = TOP + HIGH, VALUES_W / (high - low)
    words = f"requests by {visible(of.feature)[:24]}, benign sd; red: beyond the level"
    yield _text(VALUES_X, 34, words, "quiet")
    yield _line(VALUES_X, bottom, VALUES_X + VALUES_W, bottom, "axis")
    for power in range(math.floor(top) + 1):
        y = bottom - HIGH * (power + 0.3) / (top + 0.3)
        yield _line(VALUES_X, y, VALUES_X + VALUES_W, y, "axis")
        yield _text(VALUES_X - 8, y + 4, _number(10**power), "quiet", "end")
    for i in range(first, last):
        if not counts[i]:
            continue
        at = level + (i - BELOW) / BINS_A_SD
        tall = HIGH * (math.log10(counts[i]) + 0.3) / (top + 0.3)
        kind = "over" if i >= BELOW else "bar"
        yield (
            f'<rect class="{kind}" x="{VALUES_X + (at - low) * across:.1f}" y="{bottom - tall:.1f}" '
            f'width="{max(across / BINS_A_SD - 1, 0.5):.1f}" height="{tall:.1f}">'
            f"<title>{at:.2f} to {at + 1 / BINS_A_SD:.2f} sd: {counts[i]:,}</title></rect>"
        )
    x = VALUES_X + (level - low) * across
    yield _line(x, TOP - 4, x, bottom, "level")
    yield _text(x, bottom + 18, f"level {of.threshold:.2f} sd", "", "middle")
    for at in range(math.ceil(low), math.floor(high) + 1):
        there = VALUES_X + (at - low) * across
        if at % (2 if high - low < 14 else 5) == 0 and abs(there - x) > 60:
            yield _text(there, bottom + 18, f"{at}", "quiet", "middle")


def _days(of: Mapping[str, Any]) -> list[str]:
    """Every day of the time, those without an alert too."""
    if not of["requests_kept"]:
        return []
    first, last = date.fromisoformat(of["from"][:10]), date.fromisoformat(of["to"][:10])
    return [(first + timedelta(days=i)).isoformat() for i in range((last - first).days + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    styled = f' class="{kind}"' if kind else ""
    return f'<text{styled} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
