"""The Alertmanager sink: alerts of the ledger as alerts of Prometheus' Alertmanager, over its API v2.

Ours are events and its are states, so each is stated to hold for a while from when it is sent, and then resolves by
itself. Alerts with the same labels are one to it: grouping, silences and whom to tell are its own. It is told of no
user, conversation or request, and of a tenant or route only where a gateway vouches for it and the operator lists it:
what it passes on no erasure reaches.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.config import AlertmanagerConfig
from dosimeter.monitor.sinks.http import REDIRECT, SUCCESS, HttpClient, HttpError, Reply
from dosimeter.monitor.sinks.sink import DELIVERED, Outcome, Result, dead, retry

PATH = "/api/v2/alerts"
NS = 10**9
CANARY = "canary"


class AlertmanagerSink:
    """Delivered means: Alertmanager answered 200."""

    def __init__(
        self, config: AlertmanagerConfig, *, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.name = config.name
        self.config = config
        self._now_ns = now_ns
        self._client = HttpClient.of(config, config.url.rstrip("/") + PATH)

    def send(self, batch: Sequence[StoredAlert]) -> list[Outcome]:
        now_ns = self._now_ns()
        made = [self._make(alert, now_ns) for alert in batch]
        answers = iter(self._post([one for one in made if isinstance(one, dict)]))
        return [one if isinstance(one, Outcome) else next(answers) for one in made]

    def _make(self, alert: StoredAlert, now_ns: int) -> dict[str, Any] | Outcome:
        try:
            return posted(alert, self.config, now_ns)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            return dead(f"cannot be written as an alert of Alertmanager: {error!r}")

    def _post(self, alerts: Sequence[dict[str, Any]]) -> list[Outcome]:
        if not alerts:
            return []
        body = json.dumps(alerts, separators=(",", ":")).encode()
        try:
            verdict = self._read(self._client.post(body, {"Content-Type": "application/json"}))
        except HttpError as error:
            verdict = retry(str(error))
        if verdict.result is Result.DEAD and len(alerts) > 1:
            # It takes the valid ones and does not say which are not: only alone does each get its answer.
            outcomes: list[Outcome] = []
            for alert in alerts:
                outcomes += self._post([alert])
                if (last := outcomes[-1]).result is Result.RETRY:
                    # It went away in between: each further one would wait for as long again.
                    return outcomes + [last] * (len(alerts) - len(outcomes))
            return outcomes
        return [verdict] * len(alerts)

    def _read(self, reply: Reply) -> Outcome:
        if SUCCESS <= reply.status < REDIRECT:
            return DELIVERED
        where = f"`{self._client.where}` answered {reply.status}"
        if reply.refuses:
            return dead(f"{where}: {self._client.quoted(reply.body)}")
        return retry(where, after_s=reply.retry_after_s)

    def close(self) -> None:
        self._client.close()


def posted(alert: StoredAlert, config: AlertmanagerConfig, now_ns: int) -> dict[str, Any]:
    """One alert as its API takes it.

    It holds from the event, and for `hold` from now: one that comes late, after an outage, has to be told of too.
    """
    record = alert.record
    begins_ns = int(record["time_ns"])
    # A canary is told as over when it began: Alertmanager takes it, and notifies nobody.
    until_ns = max(begins_ns, now_ns) + config.hold_s * NS
    ends_ns = begins_ns if record.get("kind") == CANARY else until_ns
    found: dict[str, Any] = {
        "labels": _filled({
            "alertname": record.get("rule"),
            "severity": record.get("severity"),
            "feature": record.get("feature"),
            "kind": record.get("kind"),
            **_listed(alert, config),
        }),
        "annotations": _filled({
            "summary": _summary(record),
            "event_id": alert.event_id,
            "owner": record.get("owner"),
            "runbook_url": record.get("runbook"),
        }),
        "startsAt": _time(begins_ns),
        "endsAt": _time(ends_ns),
    }  # fmt: skip
    if config.link:
        found["generatorURL"] = config.link.replace("{event_id}", alert.event_id)
    return found


def _listed(alert: StoredAlert, config: AlertmanagerConfig) -> dict[str, str]:
    """Of the labels of the request those that cannot be made up by a client, nor be many."""
    trusted = alert.record.get("trusted", ())
    allowed = {"tenant": config.tenants, "route": config.routes}
    return {
        name: alert.labels[name]
        for name, values in allowed.items()
        if name in trusted and alert.labels.get(name) in values
    }


def _summary(record: Mapping[str, Any]) -> str:
    """Not the record's own, which a rule may have filled with labels of the request."""
    if record.get("kind") == "digest":
        return f"{record['rule']}: {record['notified']} notified, {record['limited']} more were not"
    what = " beyond ".join(str(record[n]) for n in ("feature", "level") if record.get(n))
    return f"{record['rule']}: {what}" if what else str(record["rule"])


def _filled(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items() if value not in (None, "")}


def _time(ns: int) -> str:
    seconds, rest = divmod(ns, NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
