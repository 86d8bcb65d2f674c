"""One HTML page without script: escaping, numbers as people read them, tables, figures and the frame.

Everything that comes out of a document passes `text`, `number`, `share` or `count`, so nothing of it can be markup.
It never learns what a figure means.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from dosimeter.detectors.findings import visible
from dosimeter.monitor.fitting.style import STYLE

Document = Mapping[str, Any]

ABSENT = "not measured"
THIN = "\u202f"  # narrow no-break space: between thousands, before a unit
KEPT = "\u00a0\u202f"
"""Not printable to Python and harmless on a page."""

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def part(document: Document, key: str) -> Document:
    """The mapping under `key`; empty where there is none."""
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def members(document: Document, key: str, most: int) -> tuple[list[Any], int]:
    """The first `most` of the list under `key`, and how many were left out."""
    value = document.get(key)
    found = value if isinstance(value, list | tuple) else []
    return list(found[:most]), max(0, len(found) - most)


def mappings(document: Document, key: str, most: int) -> tuple[list[Document], int]:
    found, left = members(document, key, most)
    return [one for one in found if isinstance(one, Mapping)], left


def more(left: int, what: str) -> str:
    return f'<p class="note">{count(left)} more {what} not shown here.</p>' if left else ""


def real(value: Any) -> float | None:
    """A finite number, or None: for a bool, a text, NaN, an integer beyond a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def text(value: Any, most: int = 200) -> str:
    """Safe between tags and inside a quoted attribute; longer than `most` characters ends in `…`."""
    if not isinstance(value, str):
        return ABSENT if real(value) is None else number(value, 4)
    cut = value[:most]
    return escape(visible(cut, keep=KEPT)) + ("…" if len(value) > most else "") if value else ABSENT


def name(value: Any, most: int = 200) -> str:
    """`text` that cannot turn the direction of what stands around it."""
    return f"<bdi>{text(value, most)}</bdi>"


def count(value: Any) -> str:
    found = real(value)
    if found is None or found != int(found) or abs(found) > 1e15:
        return number(value, 6)
    return _signed(f"{int(found):,}".replace(",", THIN))


def number(value: Any, digits: int = 3) -> str:
    """Up to `digits` decimals, e.g. `0.970`; scientific where that would hide the number."""
    found = real(value)
    if found is None:
        return ABSENT
    if abs(found) >= 1e6 or 0 < abs(found) < 0.5 * 10**-digits:
        return _signed(f"{found:.3g}")
    return _signed(f"{found:.{digits}f}")


def figure_of_merit(value: Any) -> str:
    """Three decimals, more where three would round it to a perfect 1."""
    found = real(value)
    if found is None or not 0 < found < 1:
        return number(value)
    exact = (f"{found:.{digits}f}" for digits in range(3, 9))
    return next((e for e in exact if not e.startswith("1")), "1.000")


def shortest(value: Any) -> str:
    """A figure of whatever kind, to four places that matter."""
    found = real(value)
    return (
        ABSENT if found is None else count(found) if abs(found) >= 1000 else _signed(f"{found:.4g}")
    )


def share(value: Any) -> str:
    """As a percentage of three figures; never rounded to 100 % or to nothing."""
    found = real(value)
    if found is None:
        return ABSENT
    written = f"{100 * found:.3g}"
    if written == "100" and found < 1:
        exact = (f"{100 * found:.{digits}f}" for digits in range(2, 9))
        written = next((e for e in exact if not e.startswith("100")), "100")
    return f"{_signed(written)}{THIN}%"


def interval(of: Document, form: Callable[[Any], str] = figure_of_merit) -> str:
    """`0.970 [0.950, 0.980]`, of a mapping with `value`, `low` and `high`."""
    value, low, high = (form(of.get(key)) for key in ("value", "low", "high"))
    if value == ABSENT or ABSENT in (low, high):
        return value
    return f"{value} [{low.removesuffix(f'{THIN}%')}, {high}]"


def _signed(written: str) -> str:
    """With a minus sign as wide as a plus, except in an exponent."""
    return re.sub(r"^-", "−", written)


def table(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], stack: bool = False
) -> str:
    """Cells are markup; the first of a row is its heading. `stack`: a card a row on a narrow screen."""
    if not rows:
        return f'<p class="absent">{caption}: {ABSENT}.</p>'
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    body = []
    for row in rows:
        cells = [f'<th scope="row">{row[0]}</th>']
        for label, cell in zip(heads[1:], row[1:], strict=True):
            kind = ' class="absent"' if cell == ABSENT else ""
            cells.append(f'<td{kind} data-label="{label}">{cell}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    kind = ' class="stack"' if stack else ' class="narrow"' if len(heads) == 2 else ""
    return (
        f'<table{kind}><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )  # fmt: skip


def figure(title: str, drawing: str | None, caption: str) -> str:
    """A drawing whose numbers the caption repeats."""
    if drawing is None and caption == ABSENT:
        return f'<figure><h4>{title}</h4><p class="absent">{ABSENT}</p></figure>'
    drawn = drawing or f'<p class="absent">{ABSENT}</p>'
    return f"<figure><h4>{title}</h4>{drawn}<figcaption>{caption}</figcaption></figure>"


def page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )
