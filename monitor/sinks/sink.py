"""What a sink is: somewhere alerts are sent, that says of each one whether it arrived.

It owns the protocol and the outcomes and nothing else. A sink never reads the ledger, keeps no
cursor and never decides how often to try: it says what happened and whether trying again can
help.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from dosimeter.monitor.history.records import StoredAlert


class Result(Enum):
    DELIVERED = "delivered"  # the other side has acknowledged it
    RETRY = "retry"  # it may have arrived or not; sending again can help
    DEAD = "dead"  # refused for what it is; sending again cannot help


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one alert of a batch."""

    result: Result
    reason: str = ""  # for people: place, value, next step
    after_s: float | None = None  # the other side asked for at least this pause


DELIVERED = Outcome(Result.DELIVERED)


def retry(reason: str, *, after_s: float | None = None) -> Outcome:
    return Outcome(Result.RETRY, reason, after_s)


def dead(reason: str) -> Outcome:
    return Outcome(Result.DEAD, reason)


class Sink(Protocol):
    """Used by one thread. Connects at the first `send`, never on construction."""

    @property
    def name(self) -> str:
        """Stable: the cursor is stored under it. A new name is sent the whole ledger."""
        ...

    def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
        """Send in order; one outcome per alert, in the same order.

        May block, for a bounded time. Raises nothing it can foresee; whatever it does raise is
        taken as `retry` for the whole batch.
        """
        ...

    def close(self) -> None:
        """Give up connections. Also called between batches after a failure of the sink itself."""
        ...
