"""The fields of rules: the list, one rule with its versions, its tests, and a backtest."""

from __future__ import annotations

from dataclasses import dataclass

from dosimeter.monitor.pages.shown import Day, Severity


@dataclass(frozen=True, slots=True)
class Tried:
    """One test of a rule, run."""

    name: str
    passed: bool
    said: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """One text of a rule that was in force."""

    sha256: str
    first_ns: int
    last_ns: int
    status: str
    alerts: int


@dataclass(frozen=True, slots=True)
class RuleLine:
    """A rule in the list. true and false: verdicts, from which precision is computed.

    judged: alerts with a verdict, where the reader is told no more of them
    """

    name: str
    status: str
    severity: Severity
    owner: str
    alerts_7d: int
    true: int
    false: int
    judged: int = 0


@dataclass(frozen=True, slots=True)
class RuleList:
    """worth: how far the days of `alerts_7d` were watched, in words."""

    lines: tuple[RuleLine, ...]
    worth: str = ""


@dataclass(frozen=True, slots=True)
class RuleView:
    """One rule. path: of its file in git; text: all of that file, as written.

    judged: as of a line in the list; worth: how far the days were watched, in words
    """

    name: str
    path: str
    text: str
    sha256: str
    status: str
    severity: Severity
    owner: str
    true: int
    false: int
    unsure: int
    disagreed: int
    days: tuple[Day, ...]
    versions: tuple[Version, ...]
    features: tuple[str, ...]
    judged: int = 0
    worth: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backtest:
    """An edited text over the archive. bins: (low edge in sd, requests), each `bin_sd` wide.

    alerts_a_day with its 95 % interval, since the archive is a weighted sample; traffic_s: of how long it is
    """

    rule: str
    requests: int
    kept: int
    alerts: float
    alerts_a_day: float
    low: float
    high: float
    days: tuple[Day, ...]
    feature: str
    threshold_sd: float
    bin_sd: float
    bins: tuple[tuple[float, int], ...]
    traffic_s: float = 0.0
