"""The fields of the log: what it holds, who anchors it, what was erased, who looked, and when it was verified."""

from __future__ import annotations

from dataclasses import dataclass

from dosimeter.monitor.pages.shown import State


@dataclass(frozen=True, slots=True)
class Gap:
    """Time or positions of one source of which nothing is in the log. end_ns 0: positions; source empty: of all."""

    source: str
    start_ns: int
    end_ns: int
    said: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place outside the log that holds its checkpoints. outside: of the operator's control."""

    name: str
    outside: bool
    last_ns: int
    size: int


@dataclass(frozen=True, slots=True)
class LogState:
    """unanchored_s: age of the oldest entry that no anchor covers; 0: all are covered.

    stalled: why nothing can be written now; empty: all can.
    """

    size: int
    checkpoint_ns: int
    unanchored_entries: int
    unanchored_s: float
    anchors: tuple[Anchor, ...] = ()
    gaps: tuple[Gap, ...] = ()
    stalled: str = ""
    stalled_ns: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed tree head."""

    size: int
    time_ns: int
    root: str
    signer: str
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What was erased, never what it held."""

    index: int
    time_ns: int
    subject: str
    reason: str
    approver: str


@dataclass(frozen=True, slots=True)
class Access:
    """Who looked at what, and why they said so."""

    index: int
    time_ns: int
    who: str
    kind: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The last verification, in its own exact words."""

    state: State
    said: str
    time_ns: int
    entries: int
    took_s: float


@dataclass(frozen=True, slots=True)
class AuditView:
    """The newest of each, newest first."""

    log: LogState
    verified: Verified | None
    checkpoints: tuple[Checkpoint, ...]
    tombstones: tuple[Tombstone, ...]
    access: tuple[Access, ...]
    holds: tuple[str, ...] = ()
