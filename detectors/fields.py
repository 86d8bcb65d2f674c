"""Reading a card value by value: each is asked for by name and type; leftovers are errors.

The first value that is wrong raises InputError, since the next ones need it; the checks and their
words are `Reader`'s. It never learns which card it reads.
"""

from __future__ import annotations

import math
import re
from typing import Any, TypeVar

from dosimeter.detectors.findings import InputError, Place, visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node

MAX_TEXT = 20_000  # characters
HEX64 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""A feature: it becomes a column, a metric label and a key in rules."""

T = TypeVar("T")


class Fields:
    """One mapping of a card. Methods raise InputError."""

    def __init__(self, node: Node) -> None:
        self._node, self._reader = node, Reader()
        self._asked: set[str] = set()
        if node.kind != "map":
            self._reader.expected(node, "a mapping")
            self._reader.refuse_if_wrong()

    def at(self, name: str) -> Place:
        """Where the value of a key stands; the mapping's place where there is none."""
        entry = self._node.entries.get(name)
        return self._node.place if entry is None else entry.value.place

    def optional(self, name: str) -> bool:
        """True if the key is there and not null."""
        self._asked.add(name)
        return name in self._node.entries and self._node.entries[name].value.kind != "null"

    def text(
        self, name: str, *, most: int = MAX_TEXT, pattern: re.Pattern[str] | None = None
    ) -> str:
        value = self._got(self._reader.text(self._take(name), most))
        if pattern is not None and not pattern.fullmatch(value):
            message = f"`{name}` is `{visible(value)[:60]}`"
            raise InputError.at(self.at(name), message, f"it matches `{pattern.pattern}`")
        return value

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        return self._got(self._reader.one_of(self._take(name), choices))

    def integer(self, name: str, low: int, high: int) -> int:
        return self._got(self._reader.integer(self._take(name), low, high))

    def number(self, name: str) -> float:
        return self._got(self._reader.number(self._take(name), -math.inf, math.inf))

    def boolean(self, name: str) -> bool:
        return self._got(self._reader.boolean(self._take(name)))

    def integers(self, name: str, low: int, high: int, most: int) -> tuple[int, ...]:
        nodes = self._items(name)
        if not 1 <= len(nodes) <= most:
            raise InputError.at(self.at(name), f"`{name}` has {len(nodes)} members, 1 to {most}")
        return tuple(self._got(self._reader.integer(node, low, high)) for node in nodes)

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._got(self._reader.text(node, MAX_TEXT)) for node in self._items(name))

    def mapping(self, name: str) -> dict[str, Any]:
        """Free-form plain data (metrics): kept as it is."""
        plain: dict[str, Any] = self.section(name)._node.plain()
        return plain

    def section(self, name: str) -> Fields:
        return Fields(self._take(name))

    def sections(self, name: str) -> list[Fields]:
        return [Fields(node) for node in self._items(name)]

    def done(self) -> None:
        """Every key must have been asked for."""
        self._reader.mapping(self._node, self._asked)
        self._reader.refuse_if_wrong()

    def _take(self, name: str) -> Node:
        self._asked.add(name)
        if name not in self._node.entries:
            raise InputError.at(self._node.place, f"`{name}` is missing", code="missing-key")
        return self._node.entries[name].value

    def _items(self, name: str) -> tuple[Node, ...]:
        nodes = self._reader.items(self._take(name))
        self._reader.refuse_if_wrong()
        return nodes

    def _got(self, value: T | None) -> T:
        self._reader.refuse_if_wrong()
        assert value is not None  # a getter that returns None has complained
        return value
