"""Mixed traffic for as long as it takes: everything is accounted for, a sample is compared in full.

A round at a time, so that what is kept does not grow; a round goes on when the one before it has been held
against the server's counts. What a round asks is drawn here, how it is asked is the server's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from dosimeter.monitor.conformance.asked import Asked, Read
from dosimeter.monitor.conformance.case import Outcome, heard
from dosimeter.monitor.conformance.ear import Ear
from dosimeter.monitor.conformance.findings import Findings
from dosimeter.monitor.conformance.reference import Reference

SAMPLE = 500
"""Requests compared position by position in a soak of any length."""
ROUND = 60
"""Requests in flight or waiting at a time."""
USUAL = 150
"""Tokens of a request, about."""
SAY_S = 5.0
LIMIT = 4
"""So many times the tokens are served at most, where clients do not come to be cut off."""

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Wish:
    """One request to make. shares: which prefix it begins with, and how much of it."""

    length: int
    new: int
    shares: tuple[int, int] | None
    leave: float | None  # 0 to 1: how far into its answer


def wishes(rng: np.random.Generator, context: int, count: int, leaving: int) -> list[Wish]:
    """A round: short, middle and long prompts, some with a prefix that others have too."""
    found = []
    longest = max(8, min(context, 768) - 64)
    for number in range(count):
        low, high = [(2, 24), (2, 24), (24, longest // 3), (longest // 3, longest)][rng.integers(4)]
        length = int(rng.integers(low, max(low + 1, high)))
        shares = None
        if rng.random() < 0.4 and length > 4:
            shares = (int(rng.integers(4)), int(rng.integers(2, length)))
        leave = float(rng.random()) if number < leaving else None
        found.append(Wish(length, int(rng.integers(1, 48)), shares, leave))
    return [found[index] for index in rng.permutation(count)]


Round = Callable[[Sequence[Wish]], list[Asked]]
Traffic = Callable[[S], AbstractContextManager[Round]]


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is enough: tokens served, clients that went before the end."""

    tokens: int
    cancels: int

    def reached(self, found: Findings) -> bool:
        if found.served >= self.tokens and found.gone >= self.cancels:
            return True
        if found.served > LIMIT * (self.tokens + 10_000):
            raise RuntimeError(
                f"{found.gone:,} of {self.cancels:,} clients could go early: answers end too soon"
            )
        return False

    def leaving(self, found: Findings) -> int:
        """Clients that should go in the next round, with some to spare: not each is in time."""
        due = round(self.cancels * self.share(found)) - found.gone
        return min(ROUND // 2, due + 3) if due > 0 else 0

    def round(self, found: Findings) -> int:
        """Requests of the next round: fewer where little is left to serve."""
        return max(2 * self.leaving(found), 8, min(ROUND, (self.tokens - found.served) // USUAL))

    def share(self, found: Findings) -> float:
        """Of the way that is gone, and a little more: what must be done by now."""
        return min(1.0, found.served / max(1, self.tokens) + 0.02)


def soak(
    outcome: Outcome,
    traffic: Traffic[S],
    site: S,
    context: int,
    ear: Ear,
    reference: Reference,
    read: Read,
    amount: Amount,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Rounds until it is enough; what came of them goes into `outcome`."""
    rng = np.random.default_rng(seed)
    began = said = time.monotonic()
    total = Findings()
    try:
        ear.take()
        refusals = ear.refusals
        with traffic(site) as go:
            while not amount.reached(total):
                asked = go(wishes(rng, context, amount.round(total), amount.leaving(total)))
                wanted = round(SAMPLE * amount.share(total)) - total.compared_requests
                total.add(heard(_sampled(asked, wanted), ear, reference, read))
                if ear.failure is not None or ear.refusals > refusals:
                    raise RuntimeError(f"the listener refused a message: {ear.refused}")
                if time.monotonic() - said > SAY_S:
                    said = time.monotonic()
                    say(
                        f"{total.served:,} of {amount.tokens:,} tokens served, {total.gone:,} "
                        f"clients gone, {total.unaccounted} unaccounted, "
                        f"{total.served / (said - began):,.0f} tokens/s"
                    )
    except Exception as error:
        outcome.error = f"{type(error).__name__}: {error}"
    outcome.about = (
        f"{total.served:,} tokens served in {time.monotonic() - began:.0f} s, {total.gone:,} clients "
        f"gone, {total.cancelled:,} requests given up; "
        f"{total.compared_requests:,} of {total.requests:,} requests compared in full"
    )
    outcome.findings = total
    outcome.faults = total.faults(repeats=True, scored=True)
    outcome.seconds = time.monotonic() - began


def _sampled(asked: Sequence[Asked], wanted: int) -> list[Asked]:
    """`wanted` of them to be compared, spread evenly; all to be accounted for."""
    every = -(-len(asked) // max(1, wanted))
    return [
        replace(one, compare=wanted > 0 and number % every == 0) for number, one in enumerate(asked)
    ]
