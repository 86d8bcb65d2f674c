"""History as the pages ask for it: each question handed to whoever answers it.

Owns the one protocol of the pages, and that an access is an entry before anything is shown. Answers themselves are in
the files beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from dosimeter.detectors.findings import Finding
from dosimeter.detectors.registry import UnknownFeature, load_features
from dosimeter.monitor.answers import alert, case, queue, rules, summaries
from dosimeter.monitor.answers.asking import Asked, actor, refused
from dosimeter.monitor.audit.people.access import UNKNOWN, resolved
from dosimeter.monitor.audit.queries.named_queries import QUERIES, QueryError
from dosimeter.monitor.feature_card import Card, card_of, known_calibrations, known_packs
from dosimeter.monitor.pages import shown, shown_alerts, shown_log, shown_overview, shown_rules
from dosimeter.monitor.pages.source import Kind, NotPossible, QueueFilter, Reader
from dosimeter.monitor.roles import Right

_RIGHT: Mapping[Kind, Right] = {"query": "query", "view": "view", "export": "export"}
_QUERY = "query "
_ABOUT = re.compile(r"(evidence|alert) ([0-9a-f]{8,32})")


class HistorySource:
    """Implements `pages.source.Source`; several threads may ask at once."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def is_stalled(self) -> bool:
        return bool(self._asked.status().get("stalled"))

    def overview(self, reader: Reader, zone: str) -> shown_overview.Overview:
        return summaries.overview(self._asked, reader, zone)

    def queue(
        self, filters: QueueFilter, reader: Reader, after: str | None, limit: int
    ) -> shown_alerts.QueuePage:
        return queue.queue(self._asked, filters, reader, after, limit)

    def alert(self, alert_id: str, reader: Reader) -> shown_alerts.AlertView | None:
        return alert.alert(self._asked, alert_id, reader)

    def evidence(self, alert_id: str, reader: Reader) -> shown_alerts.Evidence | None:
        return alert.evidence(self._asked, alert_id, reader)

    def case(
        self, by: shown.By, subject_id: str, reader: Reader, zone: str
    ) -> shown_alerts.CaseView | None:
        return case.case(self._asked, by, subject_id, reader, zone)

    def rules(self, reader: Reader) -> shown_rules.RuleList:
        return rules.rules(self._asked, reader)

    def rule(self, name: str, reader: Reader, zone: str) -> shown_rules.RuleView | None:
        return rules.rule(self._asked, name, reader, zone)

    def lint(self, name: str, text: str) -> tuple[Finding, ...]:
        return rules.lint(self._asked, name, text)

    def try_tests(self, name: str, text: str) -> tuple[shown_rules.Tried, ...]:
        return rules.try_tests(self._asked, name, text)

    def backtest(self, name: str, text: str, zone: str, reader: Reader) -> shown_rules.Backtest:
        return rules.backtest(self._asked, name, text, zone, reader)

    def features(self) -> tuple[str, ...]:
        return tuple(sorted(load_features()))

    def feature(self, name: str) -> Card | None:
        return _card(name)

    def audit(self, reader: Reader) -> shown_log.AuditView:
        return summaries.audit(self._asked, reader)

    def label(
        self, alert_id: str, verdict: shown.Verdict, reason: str, note: str, reader: Reader
    ) -> shown_alerts.LabelEntry | None:
        return alert.label(self._asked, alert_id, verdict, reason, note, reader)

    def record_access(self, kind: Kind, reader: Reader, what: str, reason: str) -> None:
        page, _, query = what.partition("?")
        said: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=40))
        about = None
        if page.startswith(_QUERY):
            said = _checked(page.removeprefix(_QUERY), said)
        elif query:
            said = self._with_ids(said, reader)
        elif found := _ABOUT.fullmatch(page):
            page, id_ = found.groups()
            entry = alert.find(self._asked, id_, reader)
            if entry is not None:
                about = str(entry.entry["id"])
                said |= {n: entry.entry[n] for n in ("tenant", "subject") if n in entry.entry}
        right: Right = "view" if page == "evidence" else _RIGHT[kind] if kind != "view" else "query"
        with refused(), self._asked.alone() as history:
            given = {**said, "page": page}
            how: Kind = "view" if page == "evidence" else "export" if kind == "export" else "query"
            history.access.ask(actor(reader, right), how, given, reason or None, about)

    def _with_ids(self, filters: Mapping[str, str], reader: Reader) -> dict[str, Any]:
        """A tenant that the reader does not see is as unknown as one that never was."""
        with self._asked.alone() as history:
            found = resolved(filters, history.keys)
        own = self._asked.own(reader).get("tenants")
        if own is not None and "tenant" in found and found["tenant"] not in own:
            found["tenant"] = UNKNOWN
        return found

    def queries(self) -> tuple[shown.NamedQuery, ...]:
        return tuple(
            shown.NamedQuery(one.name, one.about, one.parameters) for one in QUERIES.values()
        )

    def query(
        self, name: str, parameters: Mapping[str, str], reader: Reader, limit: int
    ) -> shown.Table | None:
        query = QUERIES.get(name)
        if query is None:
            return None
        own = self._asked.own(reader)
        if own and "tenants" not in query.parameters:
            raise NotPossible(f"query `{name}` is over all tenants, and you see some")
        given: dict[str, Any] = {**parameters, **own}
        if "limit" in query.parameters:
            given["limit"] = limit + 1
        try:
            found = self._asked.history.queries.run(name, **given)
        except QueryError as error:
            raise NotPossible(str(error)) from error
        rows = tuple(
            tuple(v.hex() if isinstance(v, bytes) else v for v in row) for row in found.rows[:limit]
        )
        said = f"the first {limit:,} rows, and there are more" if len(found.rows) > limit else ""
        return shown.Table(found.columns, rows, said)

    def log_file(self, path: str) -> bytes | None:
        try:
            return (self._asked.history.folder.log / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None


def _checked(name: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Of a named query, as the log may have them: an id where one belongs, never a name. Raises NotPossible."""
    query = QUERIES.get(name)
    if query is None:
        return {}
    try:
        values = query.asked(parameters).values
    except QueryError as error:
        raise NotPossible(str(error)) from error
    each = {n: values.get(n, text) for n, text in parameters.items()}
    return {n: v.hex() if isinstance(v, bytes) else v for n, v in each.items()}


@lru_cache(maxsize=64)
def _card(name: str) -> Card | None:
    """Packs and definitions of one release do not change."""
    features = load_features()
    try:
        feature = features[name]
    except (KeyError, UnknownFeature):
        return None
    return card_of(feature, known_packs(), known_calibrations())
