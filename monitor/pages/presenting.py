"""From the data of history to what a template prints: tokens with their shade, precision in words, links outward.

It owns those few computations; markup is the templates', arithmetic of intervals is `detectors/binomial.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from urllib.parse import quote, urlsplit

from dosimeter.detectors.binomial import wilson
from dosimeter.detectors.findings import visible
from dosimeter.detectors.frames import CODES_PER_SD
from dosimeter.monitor.pages.shown_alerts import AlertView, Evidence

SHADES = 10
MOST_FEATURES, MOST_TOKENS, MOST_CELLS, BEFORE = 3, 256, 420, 48
MOST_TEXT, LEAST_TEXT, MOST_TEXTS = 80, 12, 20_000
"""Of what is printed, so that no evidence makes a page too large: features, tokens of one, of all together, of those
before the span; characters of a token, or the fewer that are left when all texts together are too long."""
_ID = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20}\b")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Cell:
    """One token. shade: 0 to SHADES, from nothing to twice the threshold; mark: what stands where there is no text."""

    position: int
    text: str | None
    value: float | None
    shade: int
    over: bool
    opens: bool
    closes: bool
    inside: bool

    @property
    def said(self) -> str:
        scored = "not scored" if self.value is None else f"{self.value:.2f} sd"
        return f"token {self.position}: {scored}"


@dataclass(frozen=True, slots=True)
class Strip:
    """The scores of one feature along the evidence, against the condition that read it."""

    feature: str
    threshold: float
    span: tuple[int, int]
    first: int
    values: tuple[float | None, ...]
    cells: tuple[Cell, ...]
    left_out: int  # tokens beyond what is printed


def strips(alert: AlertView, evidence: Evidence) -> list[Strip]:
    """One a feature, in the order of the conditions and over the same tokens; of several on one feature the first."""
    found = {c.feature: (c.threshold_sd, (c.start, c.end)) for c in reversed(alert.clauses)}
    order = dict.fromkeys(c.feature for c in alert.clauses) or dict.fromkeys(evidence.columns)
    names = [name for name in order if name in evidence.columns][:MOST_FEATURES]
    if not names:
        return []
    tokens = min(MOST_TOKENS, MOST_CELLS // len(names))
    begin = found.get(names[0], (0.0, (0, 0)))[1][0] - evidence.first - BEFORE
    left = max(0, min(begin, len(evidence.codes) - tokens))
    kept = range(left, min(len(evidence.codes), left + tokens))
    texts = _texts(evidence, kept, len(names))
    return [_strip(evidence, name, *found.get(name, (0.0, (0, 0))), kept, texts) for name in names]


def _texts(evidence: Evidence, kept: range, times: int) -> list[str] | None:
    if evidence.tokens is None:
        return None
    texts = [token_text(evidence.tokens[i]) for i in kept]
    if times * sum(len(escape(text)) for text in texts) > MOST_TEXTS:
        texts = [token_text(evidence.tokens[i], LEAST_TEXT) for i in kept]
    return texts


def _strip(
    evidence: Evidence,
    feature: str,
    threshold: float,
    span: tuple[int, int],
    kept: range,
    texts: list[str] | None,
) -> Strip:
    column = evidence.columns.index(feature)
    full = 2 * max(threshold, 1.0)
    cells = []
    for at, i in enumerate(kept):
        code, position = evidence.codes[i][column], evidence.first + i
        value = None if code is None else code / CODES_PER_SD
        shade = 0 if value is None else round(SHADES * max(0.0, min(1.0, value / full)))
        cells.append(
            Cell(
                position,
                None if texts is None else texts[at],
                value,
                shade,
                over=value is not None and threshold > 0 and value >= threshold,
                opens=position == span[0] < span[1],
                closes=span[0] < span[1] == position + 1,
                inside=span[0] <= position < span[1],
            )
        )
    return Strip(
        feature,
        threshold,
        span,
        evidence.first + kept.start,
        tuple(cell.value for cell in cells),
        tuple(cells),
        len(evidence.codes) - len(cells),
    )


def token_text(token: str, most: int = MOST_TEXT) -> str:
    """With everything in it that a reader would not see made visible, and cut."""
    text = visible(token.replace("\n", "↵").replace("\t", "⇥"))
    return text if len(text) <= most else text[: most - 1] + "…"


def precision(true: int, false: int) -> str:
    """With its 95 % Wilson interval; `unsure` counts for nothing."""
    n = true + false
    if not n:
        return "no verdicts yet"
    low, high = wilson(true / n, n)
    return f"{100 * true / n:.0f} % [{100 * low:.0f}, {100 * high:.0f}] of {n:,}"


def share(part: int, whole: int) -> str:
    """Cut and never rounded up: 99.996 % is not 100.00 %."""
    if not whole:
        return "no tokens"
    hundredths = 10_000 * part // whole
    return f"{hundredths // 100}.{hundredths % 100:02d} %"


def rough(number: float) -> str:
    """Three figures are all that an estimate has: 19,400 and 0.0123."""
    return f"{float(f'{number:.3g}'):,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def short_ids(text: str) -> str:
    """For a table's cell: ids cut as they are elsewhere on the pages."""
    return _ID.sub(r"\1", text)


def transcript_link(template: str, labels: dict[str, str]) -> str:
    """Where the operator shows the text of this request; empty where that is not known."""
    request_id = labels.get("request_id", "")
    return template.replace("{request_id}", quote(request_id, safe="")) if request_id else ""


def trace_link(template: str, labels: dict[str, str]) -> tuple[str, str]:
    """(trace id, address); both empty where the request had no trace, the address where no template is set."""
    match = _TRACEPARENT.fullmatch(labels.get("traceparent", ""))
    return ("", "") if match is None else (match[1], template.replace("{trace_id}", match[1]))


def outward(url: str) -> str:
    """The address, if a browser may follow it; empty for any other scheme."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in ("https", "http") and parts.netloc else ""


def invisible(text: str) -> list[str]:
    """`line 3: \\u202e` for what an editor would not show: nobody should sign what they cannot see."""
    return [
        f"line {number}: {visible(c)}"
        for number, line in enumerate(text.split("\n"), start=1)
        for c in sorted({c for c in line if not c.isprintable() and c != "\r"})
    ][:20]
