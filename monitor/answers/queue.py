"""The triage queue: alerts by filters, newest first, with a marked random sample of requests on which nothing fired.

Owns how filters become parameters, where a page begins, and where samples stand among alerts. Rows only: what one
alert says is `alert.py`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

from dosimeter.detectors.findings import InputError
from dosimeter.monitor.answers.asking import Asked, actor
from dosimeter.monitor.answers.blind import is_blind, may_be_blind
from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.people.access import UNKNOWN, actor_id, resolved
from dosimeter.monitor.audit.people.sample import Sampled, queue_sample
from dosimeter.monitor.audit.queries.bounds import MAX
from dosimeter.monitor.audit.queries.names import UnknownName, check
from dosimeter.monitor.audit.queries.worth import NOT_KNOWN, worth
from dosimeter.monitor.pages import shown, shown_alerts
from dosimeter.monitor.pages.source import NotPossible, QueueFilter, Reader
from dosimeter.rules.alert import in_sd, value_text

SAMPLES_A_DAY = 10
DAYS = 7
"""Of which samples are shown."""
DAY_NS = 86_400 * 10**9


def queue(
    asked: Asked, filters: QueueFilter, reader: Reader, after: str | None, limit: int
) -> shown_alerts.QueuePage:
    """Raises NotPossible for an `after` that is none."""
    params = parameters(asked, filters, reader)
    today = reviewed_today(asked, reader)
    if params is None:
        return shown_alerts.QueuePage(
            (), None, 0, reviewed_today=today, **_watched(asked, filters, reader, 0)
        )
    rows = asked.rows("alerts", **params, **_from(after), limit=limit + 1)
    more = len(rows) > limit
    found = [row_of(asked, row, reader) for row in rows[:limit]]
    if filters.samples and not _narrow(filters):
        low = rows[limit - 1]["time_ns"] if more else filters.from_ns
        high = _from(after).get("before_ns", filters.to_ns)
        found = sorted(
            [*found, *samples(asked, reader, low, high, filters)], key=lambda r: -r.time_ns
        )
    last = rows[limit - 1] if more else None
    total = _total(asked, params)
    return shown_alerts.QueuePage(
        tuple(found),
        f"{last['time_ns']}-{last['idx']}" if last else None,
        total,
        reviewed_today=today,
        **_watched(asked, filters, reader, total),
    )


def _total(asked: Asked, params: Mapping[str, Any]) -> int:
    """How many there are; of one rule alone as one of all rules, which are counted once."""
    if params.keys() <= {"kind", "rule", "tenants"} and "rule" in params:
        rest = {name: value for name, value in params.items() if name != "rule"}
        each = asked.rows("count_by_rule", **rest)
        return sum(int(row["n"]) for row in each if row["rule"] == params["rule"])
    return int(asked.rows("count", **params)[0]["n"])


def parameters(asked: Asked, filters: QueueFilter, reader: Reader) -> dict[str, Any] | None:
    """Of the named queries; None: a name that nobody has, so nothing can be found."""
    found: dict[str, Any] = {"kind": "alert", **asked.own(reader)}
    for name in ("rule", "feature", "severity", "status", "decision"):
        if value := getattr(filters, name):
            found[name] = value
    found |= {"from_ns": filters.from_ns, "to_ns": filters.to_ns}
    if filters.tenant:
        with asked.alone() as history:
            found |= resolved({"tenant": filters.tenant}, history.keys)
        if found["tenant"] == UNKNOWN:
            return None
    if filters.labelled is not None:
        found["labelled"] = int(filters.labelled)
    if filters.mine:
        with asked.alone() as history:
            found["reviewer"] = actor_id(actor(reader, "label"), history.keys)
    return {name: value for name, value in found.items() if value is not None}


def _narrow(filters: QueueFilter) -> bool:
    """Asked for something that a request on which nothing fired does not have."""
    said = (filters.rule, filters.feature, filters.severity, filters.status, filters.decision)
    return any(said) or filters.mine or filters.labelled is True


def _from(after: str | None) -> dict[str, int]:
    if after is None:
        return {}
    time_ns, _, idx = after.partition("-")
    each = [int(one) for one in (time_ns, idx) if one.isdecimal() and len(one) < 20]
    if len(each) < 2 or max(each) > MAX:
        raise NotPossible("this page of the queue is none; begin with the first")
    return {"before_ns": each[0], "before_idx": each[1]}


def row_of(asked: Asked, row: Mapping[str, Any], reader: Reader) -> shown_alerts.Row:
    """row: of the query `alerts`."""
    blind = False
    if row["judged"] and not row["disagreed"] and may_be_blind(reader):
        judges = [one["actor"] for one in asked.rows("labels_of", about=row["id"])]
        blind = is_blind(asked, reader, judges)
    return shown_alerts.Row(
        id=row["id"],
        kind="alert",
        time_ns=row["time_ns"],
        tenant=asked.name(row["tenant"]),
        rule=row["rule"] or "",
        feature=row["feature"] or "",
        severity=severity(row["severity"]),
        status=row["status"] or "",
        decision=row["decision"] or "",
        value=value_of(row),
        threshold="" if row["threshold_code"] is None else f"{in_sd(row['threshold_code'])} sd",
        rarity=row["level"] or "",
        verdict=None if blind else row["judged"],
        reviewer="" if blind else reviewer(asked, row["judge"]),
        disagreed=bool(row["disagreed"]),
        blind=blind,
    )


def severity(text: str | None) -> shown.Severity:
    known: Sequence[shown.Severity] = get_args(shown.Severity)
    return next((one for one in known if one == text), "info")


def value_of(row: Mapping[str, Any]) -> str:
    if row["value_sum"] is None or not row["value_n"]:
        return ""
    unit = "" if row["shape"] == "share" else " sd"
    return value_text(row["shape"] or "", row["value_sum"], row["value_n"]) + unit


def reviewer(asked: Asked, who: str | None) -> str:
    """The name behind `role:id`, or the role where it was erased."""
    if not who:
        return ""
    role, _, id_ = who.partition(":")
    return asked.name(id_) or role


def reviewed_today(asked: Asked, reader: Reader) -> int:
    """Labels since midnight UTC."""
    midnight = asked.now_ns() - asked.now_ns() % DAY_NS
    found = asked.rows("count", kind="label", from_ns=midnight, **asked.own(reader))
    return int(found[0]["n"])


def _watched(asked: Asked, filters: QueueFilter, reader: Reader, total: int) -> dict[str, Any]:
    """Of the time that is asked for, or of its last day, as far as it has come, where no beginning is."""
    now_ns, then = asked.now_ns(), "In that time"
    from_ns, to_ns = filters.from_ns, filters.to_ns
    if from_ns is None:
        end = now_ns if to_ns is None else min(to_ns, now_ns)
        then = "In the last 24 hours" if end == now_ns else "In the 24 hours before that"
        from_ns = max(0, end - DAY_NS)
    if to_ns is None:  # of a time to come, its first day
        to_ns = now_ns if from_ns < now_ns else from_ns + DAY_NS
    with asked.alone() as history:
        found = history.watched(from_ns, to_ns, now_ns=now_ns)
        own = asked.own(reader).get("tenants")
        unread = () if total else _unread(history, filters, own, found.from_ns)
    coverage = shown.Coverage(found.served, found.scored, dict(found.unscored), found.unaccounted)
    weak = tuple(shown.Hour(one.from_ns, one.served, one.scored) for one in found.weak)
    said = worth(found, ZoneInfo(filters.zone), total=total, unread=unread)
    return {"coverage": coverage, "weak": weak, "worth": tuple(said), "then": then}


def _unread(
    history: History, filters: QueueFilter, own: Sequence[str] | None, from_ns: int
) -> Sequence[str]:
    """Of the names that are asked for: a tenant nobody knows, and what no rule looked for, ever or before a time."""
    said = []
    if filters.tenant:
        id_ = resolved({"tenant": filters.tenant}, history.keys)["tenant"]
        if id_ == UNKNOWN or (own is not None and id_ not in own):
            said.append(f"that tenant {NOT_KNOWN}")
    named = {name: value for name in ("rule", "feature") if (value := getattr(filters, name))}
    try:
        zone = ZoneInfo(filters.zone)
        return said + check(history, named, own=own, from_ns=from_ns, zone=zone)
    except UnknownName as error:
        return [*said, error.said]


def samples(
    asked: Asked,
    reader: Reader,
    from_ns: int | None,
    to_ns: int | None,
    filters: QueueFilter,
) -> Iterator[shown_alerts.Row]:
    """Of the days in that range, the last DAYS at most."""
    each = said_of_samples(asked)
    for one in drawn(asked):
        inside = (from_ns is None or one.time_ns >= from_ns) and (
            to_ns is None or one.time_ns < to_ns
        )
        if not inside or (filters.tenant and one.tenant != filters.tenant):
            continue
        if reader.tenants is not None and one.tenant not in reader.tenants:
            continue
        said = each.get(one.request, [])
        if filters.labelled is False and said:
            continue
        blind = is_blind(asked, reader, [who for who, _ in said])
        last = said[-1] if said and not blind else None
        yield shown_alerts.Row(
            id=one.request.replace("/", ""),
            kind="sample",
            time_ns=one.time_ns,
            tenant=one.tenant,
            blind=blind,
            verdict=last[1] if last else None,
            reviewer=reviewer(asked, last[0]) if last else "",
            disagreed=len(set(dict(said).values())) > 1,
        )


def drawn(asked: Asked) -> list[Sampled]:
    """The sample of the last days, the same for everybody."""
    today = datetime.fromtimestamp(asked.now_ns() / 1e9, UTC).date()
    with asked.alone() as history:
        seed = history.hot.store_id
    found: list[Sampled] = []
    for back in range(DAYS):
        day = today - timedelta(days=back)
        found += _of_day(asked.archive, day, seed, asked.now_ns() // (300 * 10**9))
    return found


@lru_cache(maxsize=DAYS * 2)
def _of_day(archive: Path, day: date, seed: str, _five_minutes: int) -> tuple[Sampled, ...]:
    """Reading the archive takes a while, and it changes rarely."""
    if not archive.is_dir():
        return ()
    try:
        return tuple(queue_sample(archive, day, seed, SAMPLES_A_DAY))
    except (InputError, OSError):  # a file that is being merged, or none yet
        return ()


Said = dict[str, list[tuple[str, shown.Verdict]]]
"""EPOCH/KEY -> (who, verdict) in order of time."""


def said_of_samples(asked: Asked) -> Said:
    """What reviewers said of sampled requests of the last days."""
    since = asked.now_ns() - (DAYS + 1) * DAY_NS
    found: Said = {}
    for row in asked.rows("sample_labels", from_ns=since):
        request = json.loads(row["more"] or "{}").get("request")
        if request:
            found.setdefault(request, []).append((row["actor"], row["verdict"]))
    return found
