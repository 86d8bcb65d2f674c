"""All alerts of one user, tenant or conversation, rolled up.

Owns what is counted for it, and that the many alerts of a tenant are counted once. How days are drawn is `days.py`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.answers.blind import counted
from dosimeter.monitor.answers.days import days_of, weeks_of
from dosimeter.monitor.answers.queue import row_of
from dosimeter.monitor.audit.history import dicts
from dosimeter.monitor.pages import shown, shown_alerts
from dosimeter.monitor.pages.source import Reader

COLUMNS = {"user": "subject", "tenant": "tenant", "conversation": "conversation"}
ROWS = 50
ALL = 2**31
_Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Counts:
    """Rows of the queries of these names: `per_day`, `count_by_rule`, `count_by_verdict`, `alerts`."""

    alerts: int
    first_ns: int
    last_ns: int
    conversations: int
    by_rule: _Rows
    by_day: _Rows
    by_verdict: _Rows
    newest: _Rows


def case(
    asked: Asked, by: shown.By, subject_id: str, reader: Reader, zone: str
) -> shown_alerts.CaseView | None:
    """By the random id of a user, tenant or conversation."""
    params = {"kind": "alert", COLUMNS[by]: subject_id, **asked.own(reader)}
    found = _of_many(asked, params, zone) if by == "tenant" else _of_few(asked, params, zone)
    if not found.alerts:
        return None
    by_severity: Counter[str] = Counter()
    for row in found.by_day:
        by_severity[row["severity"] or ""] += row["n"]
    return shown_alerts.CaseView(
        by=by,
        id=subject_id,
        name=asked.name(subject_id),
        alerts=found.alerts,
        first_ns=found.first_ns,
        last_ns=found.last_ns,
        conversations=found.conversations,
        by_rule={r["rule"] or "": r["n"] for r in found.by_rule},
        by_severity=dict(by_severity.most_common()),
        verdicts=counted({r["verdict"] or "none": r["n"] for r in found.by_verdict}, reader),
        days=days_of(found.by_day),
        weeks=weeks_of(found.by_day),
        rows=tuple(row_of(asked, row, reader) for row in found.newest),
    )


def _of_few(asked: Asked, params: Mapping[str, Any], zone: str) -> _Counts:
    """Looked for once."""
    with asked.history.queries.narrowed(**params) as of:
        (total,) = dicts(of.run("people"))
        return _Counts(
            total["n"],
            total["first_ns"],
            total["last_ns"],
            total["conversations"],
            dicts(of.run("count_by_rule")),
            dicts(of.by_day("per_day", ZoneInfo(zone))),
            dicts(of.run("count_by_verdict")),
            dicts(of.run("alerts", limit=ROWS)),
        )


def _of_many(asked: Asked, params: Mapping[str, Any], zone: str) -> _Counts:
    """Each by a question whose answer is remembered, or that the newest files answer."""
    queries = asked.history.queries
    by_rule = asked.rows("top_rules", **params, limit=ALL)
    if not by_rule:
        return _Counts(0, 0, 0, 0, (), (), (), ())
    return _Counts(
        sum(row["n"] for row in by_rule),
        min(row["first_ns"] for row in by_rule),
        max(row["last_ns"] for row in by_rule),
        queries.different("conversation", **params),
        by_rule,
        dicts(queries.by_day("per_day", ZoneInfo(zone), **params)),
        asked.rows("count_by_verdict", **params),
        asked.rows("alerts", **params, limit=ROWS),
    )
