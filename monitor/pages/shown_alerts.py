"""The fields of alerts: the queue, one alert and its evidence, and the case of one user, tenant or conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dosimeter.monitor.pages.shown import By, Coverage, Day, Hour, Severity, Verdict

Kept = Literal["sealed", "erased", "none", "damaged"]
"""Of evidence. damaged: it is there and was not erased, and cannot be opened."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the queue. kind `sample`: no rule fired; drawn at random to see what rules miss.

    value, threshold    as people read them, with their unit; empty for a sample
    rarity              `1 in 12,000`; empty: not known
    verdict             the last one; disagreed: reviewers said different things
    blind               another has judged it, and says what only after the reader has
    """

    id: str
    kind: Literal["alert", "sample"]
    time_ns: int
    tenant: str
    rule: str = ""
    feature: str = ""
    severity: Severity = "info"
    status: str = ""
    decision: str = ""
    value: str = ""
    threshold: str = ""
    rarity: str = ""
    verdict: Verdict | None = None
    reviewer: str = ""
    disagreed: bool = False
    blind: bool = False


@dataclass(frozen=True, slots=True)
class QueuePage:
    """Rows, newest first. coverage, weak and worth: of the time that `then` names, so that "none" can be weighed.

    total: None: too many to count; next: where the following page begins
    weak: times under 99 % coverage, where absence is weak evidence
    worth: the same in words, as the command line has them, the figure first
    then: the time that was asked for, or a day of it where no beginning was
    """

    rows: tuple[Row, ...]
    next: str | None
    total: int | None
    coverage: Coverage
    weak: tuple[Hour, ...] = ()
    reviewed_today: int = 0
    reviews_a_day: int | None = None
    worth: tuple[str, ...] = ()
    then: str = "In that time"


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition of a rule as it was met. value_sd and threshold_sd in benign standard deviations."""

    feature: str
    scope: str
    shape: str
    value: str
    threshold: str
    level: str
    rarity: str
    value_sd: float
    threshold_sd: float
    start: int
    end: int
    position: int
    tokens_scored: int
    tokens_unscored: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An ordinary request of the calibration that looks most like the alert."""

    request: str
    route: str
    distance_sd: float
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class Proof:
    """Where the entry stands in the log. index None: not in the log yet; size 0: in no checkpoint yet."""

    index: int | None
    leaf_sha256: str
    size: int = 0
    root: str = ""
    checkpoint_ns: int = 0
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """What one reviewer said. note None: notes are shown with the evidence."""

    time_ns: int
    reviewer: str
    verdict: Verdict
    reason: str
    note: str | None = None


@dataclass(frozen=True, slots=True)
class AlertView:
    """One alert without anything personal. evidence: what may be asked for with a reason. blind: as of a row."""

    id: str
    kind: Literal["alert", "sample"]
    time_ns: int
    ingested_ns: int
    tenant: str  # its name, as far as it may still be known
    tenant_id: str  # this and the next two: random ids, empty where there is no such label
    subject: str
    conversation: str
    route: str
    request: str  # EPOCH/KEY
    rule: str
    rule_sha256: str
    severity: Severity
    status: str
    decision: str
    reason: str
    would_act: bool
    owner: str
    runbook: str
    model: str
    clauses: tuple[Clause, ...]
    nearest: tuple[Neighbour, ...]
    hashes: dict[str, str]
    proof: Proof
    labels: tuple[LabelEntry, ...]
    evidence: Kept
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """The tokens around an alert's span. codes[token][column] in 1/256 benign sd; None: not scored.

    tokens: their texts; None where the tenant keeps none. labels: tenant, user, conversation, request_id, traceparent.
    """

    summary: str
    labels: dict[str, str]
    first: int
    columns: tuple[str, ...]
    codes: tuple[tuple[int | None, ...], ...]
    tokens: tuple[str, ...] | None
    notes: tuple[LabelEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseView:
    """Everything of one user, tenant or conversation, by its random id. rows: the newest.

    weeks: the counts of `days` by week, each under its first day, where a page holds no more days; else empty.
    """

    by: By
    id: str
    name: str
    alerts: int
    first_ns: int
    last_ns: int
    conversations: int
    by_rule: dict[str, int]
    by_severity: dict[str, int]
    verdicts: dict[str, int]
    days: tuple[Day, ...]
    rows: tuple[Row, ...]
    weeks: tuple[Day, ...] = ()
