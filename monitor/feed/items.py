"""What history is told: alerts, evidence, blobs, coverage and signs of life, as plain frozen data.

It owns these records. It knows nothing of ledgers, of Kafka, or of what history makes of an item.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


class FeedAway(RuntimeError):
    """Nothing can be read from there now; the same call may be made again later."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A record of a ledger: alert, digest, count, absent or shift, whatever was decided of it.

    It may come again, then with more evidence: that of a second coming counts like an `Evidence`.
    """

    kind: ClassVar[str] = "alert"
    source: str
    seq: int  # position in the source, from 1, without a hole
    event_id: str
    core: bytes  # the ledger's bytes
    evidence: bytes | None  # as far as it was there
    final: bool  # False: one `Evidence` follows, with more or with the same


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of an alert that came earlier, in full."""

    kind: ClassVar[str] = "evidence"
    source: str
    event_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Blob:
    """Rule text or program that records name by hash."""

    kind: ClassVar[str] = "blob"
    sha256: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one server process was seen to do in [from_ns, to_ns), in tokens: differences, so that they add up.

    One UTC hour; several, where nobody looked in between; the rest of one, where a feed ended. from_ns is 0 where
    the feed came later than the sidecar. A request that was open when a sidecar was killed is taken back from
    `requests`, and counts that an explanation came for from `unaccounted`: both may be negative.
    """

    kind: ClassVar[str] = "coverage"
    source: str
    epoch: str
    from_ns: int
    to_ns: int
    served: int
    served_by: Mapping[str, int]
    scored: int
    unscored: Mapping[str, int]
    unaccounted: int
    requests: int
    closed: int


@dataclass(frozen=True, slots=True)
class Hello:
    """A sidecar began to write this source, for the first time or again."""

    kind: ClassVar[str] = "hello"
    source: str
    name: str  # of the host or the pod
    started_ns: int  # 0: nothing says when
    first_seq: int  # the first position that is still there: retention took those before
    exact_after: int  # from here on no position is skipped; an older release skipped some
    last_seq: int


@dataclass(frozen=True, slots=True)
class Alive:
    """The sidecar lives, and so does what feeds us from it."""

    kind: ClassVar[str] = "alive"
    source: str
    last_seq: int  # accepted so far, sent or not
    at_ns: int


@dataclass(frozen=True, slots=True)
class Bye:
    """The last word of a source for now."""

    kind: ClassVar[str] = "bye"
    source: str
    last_seq: int
    at_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class Rolled:
    """The source went back from position `had` to `has`, as a restored backup does; positions after are given anew."""

    kind: ClassVar[str] = "rolled"
    source: str
    had: int
    has: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Something came that is no item, or cannot be sent as one."""

    kind: ClassVar[str] = "refused"
    source: str | None  # as far as it can be told
    where: str
    because: str


Item = Alert | Evidence | Blob | Coverage | Hello | Alive | Bye | Rolled | Refused


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read gave. The cursor goes into the transaction that stores the items; without items it need not."""

    items: tuple[Item, ...] = ()
    cursor: Mapping[str, Any] = field(default_factory=dict)
