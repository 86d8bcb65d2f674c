"""Plots as SVG inside the page: counts a day, coverage by hour, scores along tokens, a histogram.

Numbers in, markup out, with a sentence that says the same to whoever cannot see it. Colours are classes of the style
sheet, since the content policy allows no inline style; no mark differs from another by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from dosimeter.detectors.findings import visible
from dosimeter.monitor.pages.shown import Day, Hour
from dosimeter.monitor.pages.shown_rules import Backtest

SEVERITIES = ("critical", "high", "medium", "low", "info")
WIDE, LONG, HIGH = 560, 820, 96


def days(of: Sequence[Day], what: str) -> Markup:
    """A bar a day, stacked by severity; the total stands on it."""
    totals = [sum(one.counts.values()) for one in of]
    top = max([1, *totals])
    said = f"{what}: " + ", ".join(
        f"{one.day} {n:,}" for one, n in zip(of, totals, strict=True) if n
    )
    if not any(totals):
        said = f"{what}: none in {len(of)} days"
    step = WIDE / max(len(of), 1)
    parts = [_axis()]
    for i, (one, total) in enumerate(zip(of, totals, strict=True)):
        foot = float(HIGH)
        known = [name for name in SEVERITIES if one.counts.get(name)]
        for name in [*known, *(n for n in one.counts if n not in SEVERITIES and one.counts[n])]:
            tall = (HIGH - 16) * one.counts[name] / top
            foot -= tall
            title = f"{one.day}: {one.counts[name]:,} {name}"
            kind = f"sev-{name}" if name in SEVERITIES else "bar"
            parts.append(_rect(step * i + step * 0.12, foot, step * 0.76, tall, kind, title))
        if total and step > 14:
            parts.append(_label(step * (i + 0.5), foot - 3, f"{total:,}", "middle"))
    if of:
        parts += [
            _label(0, HIGH + 14, of[0].day, "start"),
            _label(WIDE, HIGH + 14, of[-1].day if len(of) > 1 else "", "end"),
        ]
    return _svg(WIDE, HIGH + 18, said, parts)


def coverage(hours: Sequence[Hour], names: Sequence[str]) -> Markup:
    """A bar an hour: how much went unseen, from nothing (a dot on the line) to all. names: of the hours, for titles."""
    parts = [_axis()]
    step = WIDE / max(len(hours), 1)
    weak = 0
    for i, (hour, name) in enumerate(zip(hours, names, strict=True)):
        x = step * i + step * 0.12
        if not hour.known:
            parts.append(_rect(x, HIGH - 40, step * 0.76, 40, "unknown", f"{name}: not known"))
            parts.append(_label(x + step * 0.38, HIGH - 44, "?", "middle"))
            continue
        if not hour.served:
            parts.append(_label(x + step * 0.38, HIGH - 4, "–", "middle"))
            continue
        missed = 1 - hour.scored / hour.served
        weak += missed > 0.01
        tall = max(2.0, (HIGH - 16) * min(1.0, math.sqrt(missed)))
        title = f"{name}: {100 - 100 * missed:.2f} % of {hour.served:,} tokens scored"
        parts.append(
            _rect(x, HIGH - tall, step * 0.76, tall, "miss" if missed > 0.01 else "bar", title)
        )
        if missed > 0.01:
            parts.append(_label(x + step * 0.38, HIGH - tall - 3, f"{100 * missed:.0f}%", "middle"))
    if names:
        parts += [
            _label(0, HIGH + 14, names[0], "start"),
            _label(WIDE, HIGH + 14, names[-1], "end"),
        ]
    unknown = sum(not hour.known for hour in hours)
    said = f"tokens not scored by hour: {weak} of {len(hours)} hours over 1 %"
    said += f", {unknown} not known" if unknown else ""
    return _svg(WIDE, HIGH + 18, said, parts)


def scores(
    values: Sequence[float | None],
    threshold: float,
    first: int,
    span: tuple[int, int],
    feature: str,
) -> Markup:
    """A bar a token, the threshold a line, the span bracketed below. values in benign sd; None: not scored."""
    held = [v for v in values if v is not None]
    top = max([threshold * 1.25, 1.0, *held])
    low = min([0.0, *held])
    scale = HIGH / (top - low)
    zero = HIGH + low * scale
    step = LONG / max(len(values), 1)
    over = sum(v >= threshold for v in held)
    parts = [f'<line class="axis" x1="0" y1="{zero:.1f}" x2="{LONG}" y2="{zero:.1f}"/>']
    for i, value in enumerate(values):
        x = step * i
        if value is None:
            parts.append(_label(x + step / 2, zero - 2, "·", "middle"))
            continue
        tall = abs(value) * scale
        y = zero - tall if value > 0 else zero
        kind = "over" if value >= threshold else "bar"
        parts.append(_rect(x + step * 0.08, y, step * 0.84, max(tall, 0.5), kind))
    level = HIGH - (threshold - low) * scale
    parts.append(f'<line class="level" x1="0" y1="{level:.1f}" x2="{LONG}" y2="{level:.1f}"/>')
    calm = _highest(values[: len(values) // 7]) < _highest(values[-(len(values) // 7) :])
    x, anchor = (0, "start") if calm else (LONG, "end")
    parts.append(_label(x, level - 4, f"threshold {threshold:.2f} sd", anchor))
    left, right = (step * min(max(at - first, 0), len(values)) for at in span)
    foot = HIGH + 6
    parts.append(f'<path class="span" d="M{left:.1f} {foot - 4}v4H{right:.1f}v-4"/>')
    parts.append(_label((left + right) / 2, foot + 13, f"{span[0]} to {span[1]}", "middle"))
    said = (
        f"scores of {feature} along {len(values)} tokens from {first}: {over} at or over the threshold of "
        f"{threshold:.2f} sd, highest {max(held, default=0):.2f} sd"
    )
    return _svg(LONG, HIGH + 24, said, parts)


def _highest(values: Sequence[float | None]) -> float:
    return max((v for v in values if v is not None), default=0.0)


def histogram(of: Backtest) -> Markup:
    """Requests by statistic, on a scale of powers of ten since the tail is what matters and it is thin."""
    bins = [(low, n) for low, n in of.bins if n > 0]
    if not bins:
        return Markup("")
    low, high = bins[0][0], bins[-1][0] + of.bin_sd
    low, high = min(low, of.threshold_sd - of.bin_sd), max(high, of.threshold_sd + of.bin_sd)
    across = WIDE / (high - low)
    top = math.log10(max(n for _, n in bins)) + 0.3
    beyond = sum(n for edge, n in bins if edge >= of.threshold_sd)
    parts = [_axis()]
    for edge, n in bins:
        tall = (HIGH - 14) * (math.log10(n) + 0.3) / top
        kind = "over" if edge >= of.threshold_sd else "bar"
        title = f"{edge:.2f} to {edge + of.bin_sd:.2f} sd: {n:,}"
        wide = max(across * of.bin_sd - 1, 0.5)
        parts.append(_rect((edge - low) * across, HIGH - tall, wide, tall, kind, title))
    x = (of.threshold_sd - low) * across
    parts.append(f'<line class="level" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{HIGH}"/>')
    right = x < WIDE / 2
    parts += [
        _label(
            x + (5 if right else -5),
            9,
            f"level {of.threshold_sd:.2f} sd",
            "start" if right else "end",
        ),
        _label(0, HIGH + 14, f"{low:.1f}", "start"),
        _label(WIDE, HIGH + 14, f"{high:.1f}", "end"),
    ]
    said = (
        f"requests by {of.feature} in benign sd, logarithmic: {beyond:,} of "
        f"{sum(n for _, n in bins):,} kept ones beyond the level"
    )
    return _svg(WIDE, HIGH + 18, said, parts)


def meter(value: float, threshold: float) -> Markup:
    """One statistic against its threshold, small enough for a table's cell; the numbers stand beside it."""
    top = max(value, threshold, 0.01) * 1.15
    at, mark = (max(0.0, min(1.0, x / top)) * 120 for x in (value, threshold))
    kind = "over" if value >= threshold else "bar"
    return Markup(
        '<svg class="meter" viewBox="0 0 120 12" width="120" height="12" aria-hidden="true">'
        '<rect class="{}" x="0" y="3" width="{:.1f}" height="6"/>'
        '<line class="level" x1="{:.1f}" y1="0" x2="{:.1f}" y2="12"/></svg>'
    ).format(kind, at, mark, mark)


def _svg(wide: int, high: int, said: str, parts: Iterable[str]) -> Markup:
    head = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        wide, high, visible(said)
    )
    return head + Markup("".join(parts)) + Markup("</svg>")


def _axis() -> str:
    return f'<line class="axis" x1="0" y1="{HIGH}" x2="{WIDE}" y2="{HIGH}"/>'


def _rect(x: float, y: float, wide: float, tall: float, kind: str, title: str = "") -> str:
    shape = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"').format(
        kind, x, y, wide, tall
    )
    return shape + (
        Markup("><title>{}</title></rect>").format(visible(title)) if title else Markup("/>")
    )


def _label(x: float, y: float, words: str, anchor: str) -> str:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, visible(words)
    )
