"""What the pages and the API show, as data: one class a thing, with its unit in the name.

It owns the fields and nothing else. It never learns where they are stored, nor how they look; both the HTML and the
JSON are made from these classes, so they cannot differ. Times are nanoseconds of UTC; hashes are lower-case hex. Here
is what several pages share; the rest is `shown_overview`, `shown_alerts`, `shown_rules` and `shown_log`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["critical", "high", "medium", "low", "info"]
Status = Literal["draft", "shadow", "live", "retired"]
Verdict = Literal["true", "false", "unsure"]
By = Literal["user", "tenant", "conversation"]
State = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """served = scored + sum(unscored) + unaccounted, in tokens by the server's own count."""

    served: int
    scored: int
    unscored: dict[str, int] = field(default_factory=dict)
    unaccounted: int = 0

    @property
    def share(self) -> float | None:
        return self.scored / self.served if self.served else None


@dataclass(frozen=True, slots=True)
class Hour:
    """Tokens of one hour. served 0: nothing was asked of the server, or nothing is known (`known`)."""

    start_ns: int
    served: int
    scored: int
    known: bool = True


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the reader's time zone (`2026-03-01`), and how many of each sort."""

    day: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query that can be asked by name. parameters: those it takes, all text."""

    name: str
    about: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """An answer. said: what it is qualified by, such as that there are more rows; empty: by nothing."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]
    said: str = ""
