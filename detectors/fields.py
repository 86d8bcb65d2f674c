"""Reading a card field by field: values are asked for by name and type; leftovers are errors.

It owns the checks and their messages (place, value, next step); it never learns which card it
reads.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from dosimeter.detectors.strictyaml import DataError, Document

HEX64 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""A feature: it becomes a column, a metric label and a key in rules."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Hint for a misspelt name: the nearest one, then all that exist."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    listed = ", ".join(f"`{n}`" for n in names[:20]) or "none"
    return (f"did you mean `{near[0]}`? " if near else "") + f"known: {listed}"


class Fields:
    """One mapping of a document. Methods raise DataError with `file:line:column`."""

    def __init__(self, document: Document, place: str, data: Any = None, key: str = "") -> None:
        self._document, self._place, self._key = document, place, key
        data = document.data if data is None and not key else data
        if not isinstance(data, dict):
            raise DataError(self.at(), "expected a mapping of keys to values")
        self._data: dict[str, Any] = data
        self._left = set(data)
        self._asked: set[str] = set()

    def at(self, name: str = "") -> str:
        """Where a key stands, as `file:line:column`."""
        key = ".".join(part for part in (self._key, name) if part)
        line, column = self._document.marks.get(key) or self._document.marks.get(self._key, (1, 1))
        return f"{self._place}:{line}:{column}"

    def take(self, name: str, kind: type | tuple[type, ...], what: str) -> Any:
        self._asked.add(name)
        if name not in self._data:
            raise DataError(self.at(), f"key `{name}` is missing", f"it holds {what}")
        self._left.discard(name)
        value = self._data[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise DataError(self.at(name), f"`{name}` is `{value!r:.60}`", f"it holds {what}")
        return value

    def optional(self, name: str) -> bool:
        """True if the key is there and not null; a null key counts as read."""
        self._asked.add(name)
        if self._data.get(name) is None:
            self._left.discard(name)
            return False
        return True

    def text(self, name: str, *, most: int = 20_000, pattern: re.Pattern[str] | None = None) -> str:
        value: str = self.take(name, str, "text")
        if not value or len(value) > most:
            raise DataError(self.at(name), f"`{name}` has {len(value)} characters, 1 to {most}")
        if pattern is not None and not pattern.fullmatch(value):
            raise DataError(
                self.at(name), f"`{name}` is `{value[:60]}`", f"it matches `{pattern.pattern}`"
            )
        return value

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        value: str = self.take(name, str, "one of " + ", ".join(choices))
        if value not in choices:
            raise DataError(
                self.at(name), f"`{name}` is `{value[:60]}`", suggestion(value, choices)
            )
        return value

    def integer(self, name: str, low: int, high: int) -> int:
        value: int = self.take(name, int, f"a whole number from {low} to {high}")
        if not low <= value <= high:
            raise DataError(self.at(name), f"`{name}` is {value}, not within {low} to {high}")
        return value

    def number(self, name: str) -> float:
        return float(self.take(name, (int, float), "a number"))

    def integers(self, name: str, low: int, high: int, most: int) -> tuple[int, ...]:
        values: list[Any] = self.take(name, list, "a list of whole numbers")
        good = all(type(v) is int and low <= v <= high for v in values)
        if not values or len(values) > most or not good:
            raise DataError(
                self.at(name), f"`{name}` must be 1 to {most} whole numbers from {low} to {high}"
            )
        return tuple(values)

    def texts(self, name: str) -> tuple[str, ...]:
        values: list[Any] = self.take(name, list, "a list of texts")
        if not all(isinstance(v, str) and v for v in values):
            raise DataError(self.at(name), f"`{name}` must be a list of texts")
        return tuple(values)

    def mapping(self, name: str) -> dict[str, Any]:
        """Free-form plain data (metrics): kept as it is."""
        value: dict[str, Any] = self.take(name, dict, "a mapping")
        return value

    def section(self, name: str) -> Fields:
        return Fields(self._document, self._place, self.mapping(name), self._child(name))

    def sections(self, name: str) -> list[Fields]:
        values: list[Any] = self.take(name, list, "a list of mappings")
        key = self._child(name)
        return [
            Fields(self._document, self._place, value if value is not None else [], f"{key}[{i}]")
            for i, value in enumerate(values)
        ]

    def done(self) -> None:
        """Every key must have been asked for."""
        for name in sorted(self._left):
            raise DataError(self.at(name), f"unknown key `{name}`", suggestion(name, self._asked))

    def _child(self, name: str) -> str:
        return f"{self._key}.{name}" if self._key else name
