"""All alerts of one user, tenant or conversation, rolled up, as of one moment.

Owns what is counted for it, and that many alerts, as of a tenant, are counted once. How days are drawn is `days.py`'s.
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
from dosimeter.monitor.audit.queries.beside import Rows
from dosimeter.monitor.audit.queries.few import Few
from dosimeter.monitor.audit.queries.moment import Moment
from dosimeter.monitor.pages import shown, shown_alerts
from dosimeter.monitor.pages.source import Reader

COLUMNS = {"user": "subject", "tenant": "tenant", "conversation": "conversation"}
ROWS = 50
_Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Counts:
    """by_day: of the query `per_day_by_rule`; by_verdict: rows of `count_by_verdict`; newest: of `alerts`."""

    conversations: int
    by_day: Rows
    by_verdict: _Rows
    newest: _Rows


def case(
    asked: Asked, by: shown.By, subject_id: str, reader: Reader, zone: str
) -> shown_alerts.CaseView | None:
    """By the random id of a user, tenant or conversation."""
    params = {"kind": "alert", COLUMNS[by]: subject_id, **asked.own(reader)}
    many = by == "tenant"

    def ask(of: Moment) -> _Counts:
        few = None if many else of.few(**params)
        return _of_many(of, params, zone) if few is None else _of_few(few, zone)

    found = asked.history.queries.at_one_moment(ask, learnt=many)
    if not found.by_day.rows:
        return None
    by_rule, by_severity, per_day = Counter[str](), Counter[str](), Counter[tuple[int, str]]()
    for day, rule, severity, n, _, _ in found.by_day.rows:
        by_rule[rule or ""] += n
        by_severity[severity or ""] += n
        per_day[day, severity] += n
    days = [{"day": day, "severity": which, "n": n} for (day, which), n in per_day.items()]
    return shown_alerts.CaseView(
        by=by,
        id=subject_id,
        name=asked.name(subject_id),
        alerts=by_rule.total(),
        first_ns=min(row[4] for row in found.by_day.rows),
        last_ns=max(row[5] for row in found.by_day.rows),
        conversations=found.conversations,
        by_rule=dict(by_rule.most_common()),
        by_severity=dict(by_severity.most_common()),
        verdicts=counted({r["verdict"] or "none": r["n"] for r in found.by_verdict}, reader),
        days=days_of(days),
        weeks=weeks_of(days),
        rows=tuple(row_of(asked, row, reader) for row in found.newest),
    )


def _of_few(few: Few, zone: str) -> _Counts:
    (total,) = dicts(few.run("people"))
    return _Counts(
        total["conversations"],
        few.by_day("per_day_by_rule", ZoneInfo(zone)),
        dicts(few.run("count_by_verdict")),
        dicts(few.run("alerts", limit=ROWS)),
    )


def _of_many(of: Moment, params: Mapping[str, Any], zone: str) -> _Counts:
    """Each by a question whose answer is remembered, or that the newest files answer."""
    return _Counts(
        of.different("conversation", **params),
        of.by_day("per_day_by_rule", ZoneInfo(zone), **params),
        dicts(of.run("count_by_verdict", **params)),
        dicts(of.newest(ROWS, **params).run("alerts", limit=ROWS)),
    )
