"""What the pages ask of history: one protocol over plain data.

It owns the questions, who asks (`Reader`) and the two ways to be refused. It never learns of HTTP, nor of how history
is stored; whoever answers checks nothing about roles beyond `Reader.tenants`, since `access.py` has done so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from dosimeter.detectors.findings import Finding
from dosimeter.monitor.feature_card import Card
from dosimeter.monitor.pages import shown, shown_alerts, shown_log, shown_overview, shown_rules

Kind = Literal["query", "view", "export"]


class AccessRefused(Exception):
    """The entry of an access could not be written, so nothing may be shown. Its text says why."""


class NotPossible(Exception):
    """What was asked cannot be done with this input, or not now; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks. tenants: names of those whose rows exist for this reader; None: all. roles: by name.

    own: None, or the tenants that were given to a reader who sees all by another role: verdicts are on these alone.
    """

    name: str
    tenants: frozenset[str] | None = None
    roles: frozenset[str] = frozenset()
    own: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Empty or None: not filtered. from_ns is part of the time, to_ns no more."""

    tenant: str = ""
    rule: str = ""
    feature: str = ""
    severity: str = ""
    status: str = ""
    decision: str = ""
    from_ns: int | None = None
    to_ns: int | None = None
    labelled: bool | None = None
    mine: bool = False  # labelled by the reader
    zone: str = "UTC"  # of the times in words
    samples: bool = True  # a marked random sample of requests on which nothing fired is mixed in


class Source(Protocol):
    """History, as seen from a page. All may be called from several threads at once.

    zone: IANA name, by whose days counts are made. None: there is no such thing for this reader.
    """

    def is_stalled(self) -> bool:
        """Whether nothing can be written now."""

    def overview(self, reader: Reader, zone: str) -> shown_overview.Overview: ...

    def queue(
        self, filters: QueueFilter, reader: Reader, after: str | None, limit: int
    ) -> shown_alerts.QueuePage:
        """after: `next` of an earlier page. Raises NotPossible where it is none."""

    def alert(self, alert_id: str, reader: Reader) -> shown_alerts.AlertView | None:
        """alert_id: whole, or a beginning that is unique."""

    def evidence(self, alert_id: str, reader: Reader) -> shown_alerts.Evidence | None:
        """Called only after `record_access` has returned. None: there is none, or it was erased.

        Raises NotPossible where it cannot be opened.
        """

    def case(
        self, by: shown.By, subject_id: str, reader: Reader, zone: str
    ) -> shown_alerts.CaseView | None: ...

    def rules(self, reader: Reader) -> shown_rules.RuleList: ...

    def rule(self, name: str, reader: Reader, zone: str) -> shown_rules.RuleView | None: ...

    def lint(self, name: str, text: str) -> tuple[Finding, ...]:
        """Of the rule's whole file, were `text` in it."""

    def try_tests(self, name: str, text: str) -> tuple[shown_rules.Tried, ...]:
        """Raises NotPossible where the text does not lint."""

    def backtest(self, name: str, text: str, zone: str, reader: Reader) -> shown_rules.Backtest:
        """Raises NotPossible where the text does not lint, there is no archive, or the reader sees some tenants."""

    def features(self) -> tuple[str, ...]: ...

    def feature(self, name: str) -> Card | None: ...

    def audit(self, reader: Reader) -> shown_log.AuditView:
        """Raises NotPossible where the reader sees some tenants only."""

    def label(
        self, alert_id: str, verdict: shown.Verdict, reason: str, note: str, reader: Reader
    ) -> shown_alerts.LabelEntry | None:
        """Durable when it returns. Raises AccessRefused where it cannot be written."""

    def record_access(self, kind: Kind, reader: Reader, what: str, reason: str) -> None:
        """Durable when it returns. Raises AccessRefused where it cannot be written; NotPossible for a reason that may
        not stand in the log, and as `query` does.

        what: `queue?FILTERS`, `query NAME?PARAMETERS` as in an address, `alert ID`, or whatever page it is.
        """

    def queries(self) -> tuple[shown.NamedQuery, ...]: ...

    def query(
        self, name: str, parameters: Mapping[str, str], reader: Reader, limit: int
    ) -> shown.Table | None:
        """Raises NotPossible for a parameter it does not take or cannot read."""

    def log_file(self, path: str) -> bytes | None:
        """Of the log's directory, a path that is one of C2SP tlog-tiles; None: not written yet."""
