"""What is wrong with something from outside: place, value and next step, in one grammar.

Owns `Place`, `Finding`, the spelling suggestion and the two renderings (text, JSON). It never
learns what it speaks about: cards, tensors, rules and the sidecar's configuration all report
through it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]

MAX_SAID = 2000  # characters of a message or a hint

_RANK: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


class Place(NamedTuple):
    """Where a value stands: line and column count from 1, as editors do; 0: the whole file.

    A tuple, as are the nodes of a file: of nothing else are so many made, and a tuple is made fastest.
    """

    name: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to change. `code` is stable and machine-readable, the message is for people."""

    code: str
    severity: Severity
    place: Place
    message: str
    hint: str | None = None

    def __post_init__(self) -> None:
        """What it quotes may be a whole file; cut here, so that no complaint has to think of it."""
        for name, text in (("message", self.message), ("hint", self.hint)):
            if text is not None and len(text) > MAX_SAID:
                object.__setattr__(self, name, text[: MAX_SAID - 1] + "…")

    def __str__(self) -> str:
        first = f"{self.place}: {self.severity}: {self.message} [{self.code}]"
        return first if self.hint is None else f"{first}\n  hint: {self.hint}"

    def as_json(self) -> dict[str, object]:
        return {
            "code": self.code,
            "severity": self.severity,
            "file": self.place.name,
            "line": self.place.line or None,
            "column": self.place.column or None,
            "message": self.message,
            "hint": self.hint,
        }


class InputError(ValueError):
    """Something was not accepted: `findings` has every reason, the message renders them."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings: tuple[Finding, ...] = tuple(in_order(findings))
        super().__init__(render(self.findings))

    @classmethod
    def at(
        cls, place: Place | Path | str, message: str, hint: str | None = None, code: str = "value"
    ) -> InputError:
        """Of one error; a place without a line is the whole of what it names."""
        place = place if isinstance(place, Place) else Place(str(place))
        return cls([Finding(code, "error", place, message, hint)])


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """By file, then line and column, then severity: the order in which a reader fixes them."""
    return sorted(set(findings), key=lambda f: (f.place, _RANK[f.severity], f.code, f.message))


def render(findings: Sequence[Finding]) -> str:
    """One finding a line, its hint on the next; control characters of the file made visible."""
    return "\n".join(visible(str(f), keep="\n") for f in findings)


def render_json(findings: Sequence[Finding]) -> str:
    return json.dumps({"findings": [f.as_json() for f in findings]}, indent=2)


def visible(text: str, keep: str = "") -> str:
    """`text` with what a terminal would act on (escape codes, direction marks) as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was most likely meant to be, or None if nothing is near."""
    candidates = sorted(known)
    lowered = {c.lower(): c for c in reversed(candidates)}
    if (exact := lowered.get(word.lower())) is not None:
        return exact
    near = difflib.get_close_matches(word.lower(), sorted(lowered), n=1, cutoff=0.6)
    return lowered[near[0]] if near else None


def hint_for(word: str, known: Iterable[str]) -> str:
    """`did you mean ...` where one word is near, else the list of what exists."""
    names = sorted(known)
    near = suggest(word, names)
    if near is not None:
        return f"did you mean `{near}`?"
    if not names:
        return "none is known here"
    return "known here: " + ", ".join(f"`{n}`" for n in names)
