"""Drawings of an evidence page as inline SVG: dots with an interval, ROC, mirrored histogram, line over layers.

Numbers in, markup out; a drawing whose numbers make no sense is None. Widths in percent keep the letters of `dots`
at one size on every screen. It never learns where the numbers come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from dosimeter.monitor.fitting.page import figure_of_merit, number, share, text

Point = tuple[float, float]

ROW = 40  # px of a row of `dots`
WIDTH, HEIGHT = 360.0, 280.0  # of the other drawings, in their own units
LEFT, RIGHT, TOP, BOTTOM = 44.0, 350.0, 12.0, 238.0


def dots(
    own: tuple[str, float, float | None, float | None],
    nulls: Sequence[tuple[str, float]],
    described: str,
) -> str:
    """The detector (name, value, low, high) above its nulls (name, value) on one axis that ends at 1."""
    _, value, low, high = own
    lowest = min(value, value if low is None else low, *(v for _, v in nulls), 0.5)
    start = math.floor(max(0.0, lowest) * 10) / 10

    def x(at: float) -> str:
        return f"{1.5 + 97 * min(1.0, max(0.0, (at - start) / (1 - start))):.2f}%"

    bottom = ROW * (1 + len(nulls)) + 4
    drawn = [_open(f'height="{bottom + 36}"', described)]
    step = 0.1 if start >= 0.4 else 0.2
    for i in range(round((1 - start) / step) + 1):
        at = 1 - i * step
        kind = "chance" if abs(at - 0.5) < 1e-9 else "axis"
        drawn.append(f'<line class="{kind}" x1="{x(at)}" x2="{x(at)}" y1="0" y2="{bottom}"/>')
        anchor = "end" if not i else "start" if at <= start + 1e-9 else "middle"
        edge = "100%" if not i else "0" if anchor == "start" else x(at)
        drawn.append(_text(edge, bottom + 15, f"{at:.1f}", anchor))
    drawn.append(_text("0", bottom + 32, "AUROC: 0.5 is chance, 1 is perfect"))
    if low is not None and high is not None:
        wide = float(x(high)[:-1]) - float(x(low)[:-1])
        drawn.append(
            f'<rect class="band" x="{x(low)}" y="0" width="{max(0.0, wide):.2f}%" height="{bottom}"/>'
            f'<line class="reach" x1="{x(low)}" x2="{x(high)}" y1="28" y2="28"/>'
        )
    drawn.append(f'<circle class="dot" cx="{x(value)}" cy="28" r="7"/>')
    for i, (label, at) in enumerate([(own[0], value), *nulls]):
        strong = "" if i else "strong"
        said = f'{text(label, 48)} <tspan class="strong">{figure_of_merit(at)}</tspan>'
        drawn.append(_text("0", ROW * i + 16, said, "start", f"halo {strong}".strip()))
        if i:
            y = ROW * i + 28
            drawn.append(f'<line class="stem" x1="{x(start)}" x2="{x(at)}" y1="{y}" y2="{y}"/>')
            drawn.append(
                f'<svg class="mark" x="{x(at)}" y="{y}" width="1" height="1">'
                '<path class="null" d="M0-6L6 0L0 6L-6 0Z"/></svg>'
            )
    return "".join(drawn) + "</svg>"


def roc(
    points: Sequence[Point], marks: Sequence[tuple[float, float, float, float]], described: str
) -> str | None:
    """True over false positives, the diagonal of chance, and operating points (fpr, tpr, low, high)."""
    if len(points) < 2:
        return None
    drawn = [_scaled(described), *_shares(), _shares_across()]
    drawn.append(f'<line class="chance" x1="{LEFT}" y1="{BOTTOM}" x2="{RIGHT}" y2="{TOP}"/>')
    drawn.append(_line([(_x(fpr), _y(tpr)) for fpr, tpr in points]))
    for fpr, tpr, low, high in marks:
        drawn.append(
            f'<line class="reach" x1="{_x(fpr):.1f}" x2="{_x(fpr):.1f}" y1="{_y(low):.1f}" y2="{_y(high):.1f}"/>'
            f'<circle class="dot" cx="{_x(fpr):.1f}" cy="{_y(tpr):.1f}" r="6"/>'
        )
        if fpr == max(m[0] for m in marks):
            label = f"{share(tpr)} at {share(fpr)}"
            drawn.append(_text(f"{_x(fpr) + 12:.1f}", _y(tpr) + 4, label, "start", "strong"))
    drawn.append(_text(f"{LEFT}", HEIGHT - 8, "→ benign rows that fire"))
    drawn.append(_text(f"{RIGHT}", BOTTOM - 10, "↑ risky rows that fire", "end"))
    return "".join(drawn) + "</svg>"


def histogram(
    edges: Sequence[float], risky: Sequence[float], benign: Sequence[float], described: str
) -> str | None:
    """Shares of either class by score, risky upwards and benign downwards, on one scale."""
    bins = len(edges) - 1
    if bins < 1 or len(risky) != bins or len(benign) != bins or min(*risky, *benign) < 0:
        return None
    if any(b <= a for a, b in pairwise(edges)):
        return None
    sums = sum(risky), sum(benign)
    tallest = max((max(c) / s for c, s in zip((risky, benign), sums, strict=True) if s), default=0)
    if not tallest:
        return None
    left, middle, reach = 8.0, (TOP + BOTTOM) / 2, (BOTTOM - TOP) / 2 - 4
    across = (RIGHT - left) / (edges[-1] - edges[0])
    drawn = [_scaled(described)]
    for at in _ticks(edges[0], edges[-1]):
        x = left + (at - edges[0]) * across
        drawn.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}"/>')
        drawn.append(
            _text(f"{x:.1f}", BOTTOM + 16, number(at, 0 if at == int(at) else 1), "middle")
        )
    for counts, total, kind in ((risky, sums[0], "up"), (benign, sums[1], "down")):
        for i, held in enumerate(counts):
            if held:
                x, wide = left + (edges[i] - edges[0]) * across, (edges[i + 1] - edges[i]) * across
                high = held / total / tallest * reach
                y = middle - 1 - high if kind == "up" else middle + 1
                says = f"{number(edges[i], 2)} to {number(edges[i + 1], 2)}: {number(held, 0)} of {number(total, 0)}"
                drawn.append(
                    f'<rect class="{kind}" x="{x + 0.5:.1f}" y="{y:.1f}" width="{max(0.5, wide - 1):.1f}" '
                    f'height="{high:.1f}"><title>{says}</title></rect>'
                )
    drawn.append(f'<line class="axis" x1="{left}" x2="{RIGHT}" y1="{middle}" y2="{middle}"/>')
    drawn.append(_text(f"{left}", TOP + 10, f"↑ risky ({number(sums[0], 0)})", "start", "risky"))
    drawn.append(_text(f"{RIGHT}", BOTTOM - 4, f"↓ benign ({number(sums[1], 0)})", "end", "benign"))
    drawn.append(_text(f"{left}", HEIGHT - 8, "→ score"))
    return "".join(drawn) + "</svg>"


def layers(sweep: Sequence[Point], chosen: Sequence[float], described: str) -> str | None:
    """AUROC of every layer alone (layer, auroc); the chosen ones are diamonds on the line."""
    if not sweep:
        return None
    first, last = sweep[0][0], max(sweep[-1][0], sweep[0][0] + 1)
    floor = math.floor(max(0.0, min(0.9, *(at for _, at in sweep))) * 10) / 10

    def place(point: Point) -> Point:
        layer, at = point
        up = min(1.0, max(0.0, (at - floor) / (1 - floor)))
        return LEFT + (layer - first) / (last - first) * (RIGHT - LEFT), _y(up)

    drawn = [_scaled(described)]
    step = 0.1 if floor >= 0.5 else 0.2
    for i in range(round((1 - floor) / step) + 1):
        y = place((first, 1 - i * step))[1]
        drawn.append(f'<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(_text(f"{LEFT - 8}", y + 4, f"{1 - i * step:.1f}", "end"))
    for layer in (at for at in _ticks(first, last) if at == int(at)):
        x = place((layer, 0))[0]
        drawn.append(_text(f"{x:.1f}", BOTTOM + 16, f"{int(layer)}", "middle"))
    drawn.append(_line([place(point) for point in sweep]))
    for point in sweep:
        x, y = place(point)
        if point[0] in chosen:
            drawn.append(f'<path class="chosen" d="M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8-8Z"/>')
        elif len(sweep) <= 40:
            drawn.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    drawn.append(_text(f"{LEFT}", HEIGHT - 8, "→ layer"))
    drawn.append(_text(f"{RIGHT}", HEIGHT - 8, "◆ chosen", "end", "risky"))
    return "".join(drawn) + "</svg>"


def bar(value: float, bad: bool = False) -> str:
    """A share as a bar beside its number."""
    wide = 100 * min(1.0, max(0.0, value))
    return (
        '<svg class="bar" aria-hidden="true"><rect class="track" width="100%" height="100%"/>'
        f'<rect class="{"bad" if bad else "fill"}" width="{wide:.1f}%" height="100%"/></svg>'
    )


def _open(size: str, described: str, kind: str = "plot") -> str:
    return f'<svg class="{kind}" {size} role="img" aria-label="{described}">'


def _scaled(described: str) -> str:
    return _open(f'viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}"', described, "scaled")


def _text(x: str, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text{kind} x="{x}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def _line(points: Sequence[Point]) -> str:
    return f'<polyline class="line" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _x(of: float) -> float:
    return LEFT + min(1.0, max(0.0, of)) * (RIGHT - LEFT)


def _y(of: float) -> float:
    return BOTTOM - min(1.0, max(0.0, of)) * (BOTTOM - TOP)


def _shares() -> list[str]:
    return [
        f'<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{_y(at):.1f}" y2="{_y(at):.1f}"/>'
        + _text(f"{LEFT - 8}", _y(at) + 4, share(at), "end")
        for at in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]


def _shares_across() -> str:
    return "".join(
        _text(f"{_x(at):.1f}", BOTTOM + 16, share(at), "middle") for at in (0.0, 0.5, 1.0)
    )


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers within [low, high]."""
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw - 1e-12)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, first + 12) if i * step <= high + 1e-9 * step]
