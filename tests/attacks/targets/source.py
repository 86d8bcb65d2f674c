"""Choices out of bytes: what a fuzzer mutates becomes a sequence of hostile acts, the same on every replay.

It owns the reading of those bytes and the values that have broken parsers before. It never learns what
is attacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

INTS = (
    0, 1, 2, 3, 5, 9, 255, 256, 4096, -1, -(1 << 31), (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
    (1 << 48), (1 << 53) + 1, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64,
    10**400,
)  # fmt: skip
"""Where widths end, and one that no width holds."""

TEXTS = (
    "",
    "a",
    "deception",
    "\x00",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "\u202eright to left\u2066",
    "\u200b\u200d\ufeff",
    "\ud800",
    "\r\nx-tenant-id: acme",
    "<|assistant|>",
    '"usage": {"prompt_tokens": 1, "completion_tokens": 1}',
    "{value.__class__}",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "[bold red]\\",
    "../../etc/passwd",
    "\U0001f468\u200d\U0001f469\u0301\u0301",
    "漢" * 40,
    "x" * 1100,
)
"""Text that acts on a terminal, a log, a header, a template or a parser that trusts it."""


class Source:
    """Reads choices from bytes; when they are used up, every choice is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return max(0, len(self._data) - self._at)

    def take(self, most: int) -> bytes:
        """Up to `most` bytes, as they stand."""
        found = self._data[self._at : self._at + most]
        self._at += most
        return found

    def byte(self) -> int:
        return next(iter(self.take(1)), 0)

    def below(self, n: int) -> int:
        """0 … n - 1, for n up to 65536."""
        if n <= 256:
            return self.byte() % n
        return int.from_bytes(self.take(2), "little") % n

    def choice(self, among: Sequence[T]) -> T:
        return among[self.below(len(among))]

    def integer(self) -> int:
        return self.choice(INTS)

    def text(self) -> str:
        """One of TEXTS, or bytes of the source as text."""
        which = self.below(len(TEXTS) + 4)
        if which < len(TEXTS):
            return TEXTS[which]
        return self.take(self.below(32)).decode("utf-8", "replace")

    def json(self, depth: int = 2) -> object:
        """Anything JSON can say, and what Python's reader takes beyond it."""
        kind = self.below(8 if depth else 6)
        if kind == 6:
            return [self.json(depth - 1) for _ in range(self.below(5))]
        if kind == 7:
            return {self.text(): self.json(depth - 1) for _ in range(self.below(4))}
        return (
            self.integer() if kind == 0 else
            self.text() if kind == 1 else
            (None, True, False, float("nan"), float("inf"), -0.5)[self.below(6)]
        )  # fmt: skip


def edited(base: bytes, source: Source, snippets: Sequence[bytes] = ()) -> bytes:
    """`base` after some edits: bytes replaced, taken out, repeated, or a snippet put in."""
    data = bytearray(base)
    for _ in range(1 + source.below(4)):
        at = source.below(65536) % (len(data) + 1)
        act = source.below(5)
        if act == 0:
            data[at : at + 1] = source.take(1)
        elif act == 1:
            del data[at : at + 1 + source.below(64)]
        elif act == 2:
            data[at:at] = source.take(1 + source.below(24))
        elif act == 3 and snippets:
            data[at:at] = source.choice(snippets)
        else:
            data[at:at] = data[at : at + source.below(64)]
    return bytes(data)
