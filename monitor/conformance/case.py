"""A case: one way in which a server can run requests, named, so that a table of them means something.

What a case does is a function that asks and says what it asked; what comes of it is held against the
reference here. It knows neither how a server is reached nor what one is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dosimeter.monitor.conformance.asked import Asked, Read
from dosimeter.monitor.conformance.compare import compare
from dosimeter.monitor.conformance.ear import Ear
from dosimeter.monitor.conformance.ear import Sequence as Told
from dosimeter.monitor.conformance.findings import Findings
from dosimeter.monitor.conformance.reference import Reference

S = TypeVar("S")
MIXED = "mixed traffic"
"""The case that every server has, of whatever length is wanted."""
END_S = 60.0
"""How long after the last reply every request must have ended at the listener."""


class NotOffered(Exception):
    """This server, or this model, has no such mode: there is nothing to prove."""


class CannotRun(RuntimeError):
    """Something that the kit needs is not here. The message names it."""


@dataclass(frozen=True, slots=True)
class Case(Generic[S]):
    """repeats: the case makes the server run positions again; scored: False where every token must be refused."""

    name: str
    about: str
    run: Callable[[S], list[Asked]]
    repeats: bool = False
    scored: bool = True


@dataclass(slots=True)
class Outcome:
    """What came of a case. skipped: why it does not apply; error: why it broke off."""

    server: str
    case: str
    about: str
    seconds: float
    findings: Findings | None = None
    faults: dict[str, int] | None = None
    skipped: str | None = None
    error: str | None = None

    @property
    def verdict(self) -> str:
        if self.skipped is not None:
            return "not offered"
        return "conforms" if self.error is None and not self.faults else "FAILS"


def carry_out(
    case: Case[S],
    server: str,
    site: S,
    ear: Ear,
    reference: Reference,
    read: Read,
    put_off: Callable[[], int],
) -> Outcome:
    """Run one case and compare; what a server or the kit breaks on is an error of this case alone.

    put_off: how many requests the server says so far that it put off, to run their positions again later:
    whether a cache runs short is a matter of timing, so a case without one of `repeats` is held to what it says.
    """
    began = time.monotonic()
    outcome = Outcome(server, case.name, case.about, 0.0)
    try:
        ear.take()  # what an earlier case left behind is not this one's
        refusals, before = ear.refusals, put_off()
        asked = case.run(site)
        outcome.findings = heard(asked, ear, reference, read)
        repeats = case.repeats or put_off() > before
        outcome.faults = outcome.findings.faults(repeats=repeats, scored=case.scored)
        if ear.failure is not None or ear.refusals > refusals:
            outcome.error = f"the listener refused a message: {ear.refused}"
    except NotOffered as error:
        outcome.skipped = str(error)
    except Exception as error:
        outcome.error = f"{type(error).__name__}: {error}"
    outcome.seconds = time.monotonic() - began
    return outcome


def heard(asked: list[Asked], ear: Ear, reference: Reference, read: Read) -> Findings:
    """Wait until all that was asked has ended at the listener, and compare."""
    answered = {one.label for one in asked if one.ended}

    def over(told: list[Told]) -> bool:
        ended = {one.label for one in told if ear.over(one)}
        return answered <= ended and all(one.closed is not None for one in told)

    ear.wait(over, END_S)
    told, account = ear.take()
    return compare(asked, told, account, reference, read)
