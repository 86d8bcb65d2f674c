"""The fields of the first page: the last day, sinks and taps, drift, pauses, captures."""

from __future__ import annotations

from dataclasses import dataclass

from dosimeter.monitor.pages.shown import Coverage, Day, Hour, State
from dosimeter.monitor.pages.shown_log import LogState


@dataclass(frozen=True, slots=True)
class Sink:
    """One place that alerts are sent to. canary_s: age of the last canary that it took; None: there is none yet."""

    name: str
    state: State
    queued: int
    oldest_s: float
    dead: int
    said: str = ""
    canary_s: float | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """A pause or a capture. since_ns, until_ns 0: its beginning did not come here.

    by_uid: who asked, by the kernel's word; -1: it is not said
    whole False: who and why are kept from this reader
    ended_ns 0: it is on, or nothing says that it ended
    """

    source: str
    state: State
    reason: str
    by_uid: int
    since_ns: int
    until_ns: int
    ended_ns: int
    said: str
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Tap:
    """One tap of the sidecar beside history. source: the model that its server runs."""

    source: str
    state: State
    said: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """A feature's live scores against its calibration."""

    feature: str
    state: State
    said: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The last 24 hours, and the last days' alerts. reviews_a_day: the team's budget; None: not set.

    worth: how far that time was watched, in words
    unasked: why nothing is known of sinks and taps; empty: the sidecar has answered
    pauses: of the last week, the newest first; captures: of 31 days
    canary_ns: when the last canary of the day that came here was planted, by whichever sidecar; 0: none came
    """

    coverage: Coverage
    hours: tuple[Hour, ...]
    days: tuple[Day, ...]  # counts by severity
    sinks: tuple[Sink, ...]
    taps: tuple[Tap, ...]
    drift: tuple[Drift, ...]
    log: LogState
    unlabelled: int
    reviewed_today: int
    reviews_a_day: int | None = None
    unasked: str = ""
    worth: tuple[str, ...] = ()
    pauses: tuple[Interval, ...] = ()
    captures: tuple[Interval, ...] = ()
    canary_ns: int = 0
