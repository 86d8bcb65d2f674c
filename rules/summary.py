"""The one line of an alert that people read: text with `{field}`s from a closed list.

Owns the list, the check of a template and its rendering. Only fields that cannot name a person
are on the list, because a rendered summary is part of a record that is never rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache

FIELDS = (
    "rule",
    "feature",
    "scope",
    "severity",
    "level",  # as the rule says it
    "tokens",  # length of the span that satisfied the shape
    "value",  # the statistic, in benign standard deviations
    "threshold",  # what it was compared with, in the same unit
    "model",
    "tenant",
    "route",
)
MAX_LABEL = 120

_PIECE = re.compile(r"\{\{|\}\}|\{(?P<field>[^{}]*)\}|(?P<stray>[{}])")
_ABSENT = "?"


def problems(
    template: str, fields: Collection[str] = FIELDS
) -> Iterator[tuple[int, str, str | None]]:
    """(offset, what is wrong, the field meant or None) for each place that would not render."""
    for match in _PIECE.finditer(template):
        if match["stray"]:
            yield match.start(), f"a single `{match['stray']}`", None
        elif match["field"] is not None and match["field"] not in fields:
            yield match.start(), f"unknown field `{{{match['field']}}}`", match["field"]


def render(template: str, values: Mapping[str, str]) -> str:
    """The template with its fields filled in; a field without a value reads `?`.

    Values come from outside, so they are cut to 120 characters and to printable ones: no control
    characters, line breaks or direction marks reach a terminal or a log line through a label.
    """

    text = _written(template)
    return text % tuple([printable(values.get(name, "")) or _ABSENT for name in fields(template)])


@lru_cache(maxsize=4096)
def fields(template: str) -> tuple[str, ...]:
    """The fields that it names, in its order."""
    return tuple(
        match["field"] for match in _PIECE.finditer(template) if match["field"] is not None
    )


@lru_cache(maxsize=4096)
def _written(template: str) -> str:
    """With `%s` for each field."""

    def piece(match: re.Match[str]) -> str:
        return match[0][0] if match["field"] is None else "%s"

    return _PIECE.sub(piece, template.replace("%", "%%"))


def printable(text: str, most: int = MAX_LABEL) -> str:
    """The printable characters of `text`, at most `most`, with a mark where it was cut."""
    if len(text) <= most and text.isprintable():
        return text
    clean = "".join(c for c in text[: 4 * most] if c.isprintable())
    return clean if len(clean) <= most else clean[: most - 1] + "…"
