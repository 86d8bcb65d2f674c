"""What the pages and the API show, as data: one class a thing, with its unit in the name.

It owns the fields and nothing else. It never learns where they are stored, nor how they look; both the HTML and the
JSON are made from these classes, so they cannot differ. Times are nanoseconds of UTC; hashes are lower-case hex.
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
class Sink:
    """One place that alerts are sent to."""

    name: str
    state: State
    queued: int
    oldest_s: float
    dead: int
    said: str = ""


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
class Overview:
    """The last 24 hours, and the last days' alerts. reviews_a_day: the team's budget; None: not set.

    worth: how far that time was watched, in words.
    unasked: why nothing is known of sinks and taps; empty: the sidecar has answered.
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
    """Rows, newest first. coverage, weak and worth: of the time that was asked for, so that "none" can be weighed.

    total: None: too many to count; next: where the following page begins
    weak: times under 99 % coverage, where absence is weak evidence
    worth: the same in words, as the command line has them, the figure first
    """

    rows: tuple[Row, ...]
    next: str | None
    total: int | None
    coverage: Coverage
    weak: tuple[Hour, ...] = ()
    reviewed_today: int = 0
    reviews_a_day: int | None = None
    worth: tuple[str, ...] = ()


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
    evidence: Literal["sealed", "erased", "none"]
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
    """A rule in the list. true and false: verdicts, from which precision is computed."""

    name: str
    status: str
    severity: Severity
    owner: str
    alerts_7d: int
    true: int
    false: int


@dataclass(frozen=True, slots=True)
class RuleView:
    """One rule. path: of its file in git; text: all of that file, as written."""

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


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query that can be asked by name. parameters: those it takes, all text."""

    name: str
    about: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """An answer. said: what it is qualified by, such as coverage."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]
    said: str = ""
