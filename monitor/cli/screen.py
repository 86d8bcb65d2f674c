"""Text for a terminal: made harmless, cut to its columns, coloured only where colour is wanted.

It owns widths and escape codes, so that no other module writes either. Text from outside passes
`plain` before it is printed; what it knows of alerts is nothing.
"""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

from dosimeter.detectors.findings import visible

BARS = "▁▂▃▄▅▆▇█"
SHADES = (None, 223, 216, 209, 203, 196)
"""256-colour backgrounds from nothing to red; black text is readable on each."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What the output can show."""

    width: int = 160  # columns; into a pipe there is no edge, but tables need one
    color: bool = False

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str] = os.environ) -> Screen:
        """Colour only on a terminal, and never with NO_COLOR set (to anything but nothing)."""
        if not stream.isatty():
            return cls()
        width = shutil.get_terminal_size((100, 24)).columns
        wanted = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        return cls(max(width, 40), wanted)

    def bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self.color else text

    def shade(self, text: str, strength: float) -> str:
        """Background by strength in 0..1. Without colour the text is returned as it is."""
        step = min(len(SHADES) - 1, max(0, int(strength * len(SHADES))))
        if not self.color or SHADES[step] is None:
            return text
        return f"\x1b[48;5;{SHADES[step]}m\x1b[38;5;16m{text}\x1b[0m"


def tell(text: str) -> None:
    """A line on stdout. Whoever reads it may have seen enough: what a command does then is done all the same."""
    with suppress(BrokenPipeError):
        print(text)


def plain(value: object) -> str:
    """One line of text in which nothing acts on a terminal: escapes and direction marks shown."""
    return visible(str(value))


def columns(text: str) -> int:
    """Terminal columns that printable `text` takes: wide characters two, combining marks none."""
    return sum(_columns(c) for c in text)


def fit(text: str, width: int) -> str:
    """Exactly `width` columns: padded with spaces, or cut with `…` at the end."""
    if columns(text) <= width:
        return text + " " * (width - columns(text))
    kept, used = [], 0
    for c in text:
        if used + _columns(c) > width - 1:
            break
        kept.append(c)
        used += _columns(c)
    return "".join(kept) + "…" + " " * (width - 1 - used)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, whole: int = 1
) -> list[str]:
    """Lines no wider than `width`: columns as wide as needed, the last takes what is left.

    Cells must be `plain`. When even that is too wide, the widest columns are cut first, but the
    first `whole` ones (ids, to be copied) only by the edge of the screen.
    """
    count = len(head)
    sizes = [max(columns(line[i]) for line in [head, *rows]) for i in range(count)]
    room = width - 2 * (count - 1)
    least = max(1, min(sizes[-1], room // 3))  # something of the last column always shows
    middle = range(whole, count - 1)
    while sum(sizes[:-1]) + least > room and any(sizes[i] > 4 for i in middle):
        sizes[max(middle, key=sizes.__getitem__)] -= 1
    sizes[-1] = max(1, min(sizes[-1], room - sum(sizes[:-1])))
    lines = ["  ".join(map(fit, line, sizes)).rstrip() for line in [head, *rows]]
    return [fit(line, width).rstrip() for line in lines]


def redraw(stream: TextIO, lines: Sequence[str], width: int, height: int) -> None:
    """Put `lines` in the place of what the terminal shows, cut to its columns and rows; the cursor stays below."""
    shown = [fit(line, width).rstrip() for line in lines[: max(1, height - 1)]]
    stream.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
    stream.flush()


def bar(value: float) -> str:
    """One character for a value in 0..1."""
    return BARS[min(len(BARS) - 1, max(0, int(value * len(BARS))))]


def _columns(c: str) -> int:
    if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1
