"""One alert whole, its evidence, and what is said of it: labels, the case it belongs to.

Owns the way from an entry to what the page of an alert shows. Lists are `queue.py`'s.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from dosimeter.detectors.frames import CODE_UNSCORED, CODES_PER_SD
from dosimeter.monitor.answers.asking import Asked, actor, refused
from dosimeter.monitor.answers.blind import counted, is_blind
from dosimeter.monitor.answers.queue import drawn, reviewer, row_of, severity
from dosimeter.monitor.audit.evidence.evidence_body import Body, decode_body
from dosimeter.monitor.audit.history import Found, NoSuchEntry, dicts
from dosimeter.monitor.audit.people import labels
from dosimeter.monitor.audit.people.sample import Sampled
from dosimeter.monitor.audit.queries.beside import LISTED
from dosimeter.monitor.audit.store.box import CannotOpen
from dosimeter.monitor.audit.store.keeper import signed_ns
from dosimeter.monitor.explaining import explain
from dosimeter.monitor.history.evidence import Evidence, EvidenceError
from dosimeter.monitor.pages import shown
from dosimeter.monitor.pages.source import Reader
from dosimeter.monitor.tlog.reader import LogUnreadable

COLUMNS = {"user": "subject", "tenant": "tenant", "conversation": "conversation"}
ROWS = 50
MOST_DAYS = 62
COUNTED = ("kind", "time_ns", "tenant", "subject", "conversation", "rule", "severity")
"""What the counts of a case need."""
DECIDED = ("alert", "digest", "count", "absent", "shift")
HASHES = ("terms", "rule_sha256", "program_sha256", "pack_sha256", "calibration_sha256", "evidence")
UNSTATED = "unstated"
"""The reason code of a label without one."""


def alert(asked: Asked, alert_id: str, reader: Reader) -> shown.AlertView | None:
    found = find(asked, alert_id, reader)
    if found is None:
        sampled = find_sample(asked, alert_id, reader)
        return None if sampled is None else _sample_view(asked, sampled, reader)
    with asked.alone() as history:
        record, entry = found.record, found.entry
        try:
            body = history.plaintext(found)
            kept = None if isinstance(body, str) else decode_body(body)
            gone = body if isinstance(body, str) else ""
        except (CannotOpen, EvidenceError) as error:
            kept, gone = None, str(error)
        proof = _proof(asked, found)
        facts = _facts(asked, found, kept) if entry["kind"] == "alert" else {}
    model = record.get("model") or {}
    said, blind = _labels(asked, reader, str(entry["id"]), None)
    return shown.AlertView(
        id=str(entry["id"]),
        kind="alert",
        time_ns=int(entry["time_ns"]),
        ingested_ns=int(entry["ingested_ns"]),
        tenant=asked.name(entry.get("tenant")),
        tenant_id=str(entry.get("tenant", "")),
        subject=str(entry.get("subject", "")),
        conversation=str(entry.get("conversation", "")),
        route=str(entry.get("route", "")),
        request=f"{entry['epoch']}/{entry['key']}" if "key" in entry else "",
        rule=str(record.get("rule", "")),
        rule_sha256=str(record.get("rule_sha256", "")),
        severity=severity(record.get("severity")),
        status=str(record.get("status", "")),
        decision=str(record.get("decision", "")),
        reason=str(record.get("reason", "")),
        would_act=bool(record.get("would_act")),
        owner=str(record.get("owner", "")),
        runbook=str(record.get("runbook", "")),
        model=str(model.get("name", "") if isinstance(model, dict) else model),
        clauses=_clauses(record, facts),
        nearest=tuple(
            shown.Neighbour(str(one["request"]), one["route"], one["distance"], dict(one["scores"]))
            for one in facts.get("lookalikes", ())
        ),
        hashes={name: str(record[name]) for name in HASHES if record.get(name)},
        proof=proof,
        labels=said,
        blind=blind,
        evidence="sealed" if kept is not None else "none" if gone == "none stored" else "erased",
    )


def find(asked: Asked, alert_id: str, reader: Reader) -> Found | None:
    """None where there is none for this reader, or the entry is of another kind: what people did is no alert."""
    # An entry never changes, and a page asks for its own several times.
    found = asked.found.get(alert_id)
    if found is None:
        with asked.alone() as history:
            try:
                found = history.alert(alert_id)
            except NoSuchEntry:
                return None
        if alert_id == found.entry["id"]:
            asked.found.clear()
            asked.found[alert_id] = found
    seen = found.entry["kind"] in DECIDED and asked.sees(found.entry.get("tenant"), reader)
    return found if seen else None


def find_sample(asked: Asked, alert_id: str, reader: Reader) -> Sampled | None:
    for one in drawn(asked):
        if one.request.replace("/", "") == alert_id:
            own = reader.tenants is None or one.tenant in reader.tenants
            return one if own else None
    return None


def _sample_view(asked: Asked, one: Sampled, reader: Reader) -> shown.AlertView:
    said, blind = _labels(asked, reader, None, one.request)
    nothing = dict.fromkeys(
        ("tenant_id", "subject", "conversation", "rule", "rule_sha256", "status", "decision"), ""
    )
    return shown.AlertView(
        id=one.request.replace("/", ""),
        kind="sample",
        time_ns=one.time_ns,
        ingested_ns=one.time_ns,
        tenant=one.tenant,
        route=one.route,
        request=one.request,
        severity="info",
        reason="",
        would_act=False,
        owner="",
        runbook="",
        model="",
        clauses=(),
        nearest=(),
        hashes={},
        proof=shown.Proof(None, ""),
        labels=said,
        blind=blind,
        evidence="none",
        **nothing,
    )


def _proof(asked: Asked, found: Found) -> shown.Proof:
    history = asked.history
    leaf = hashlib.sha256(b"\0" + history.leaf(found.idx)).hexdigest()
    try:
        history.log.refresh()
        checkpoint = history.log.checkpoint
    except LogUnreadable:
        return shown.Proof(found.idx, leaf)
    if found.idx >= checkpoint.size:
        return shown.Proof(found.idx, leaf)
    anchors = asked.status().get("log", {}).get("anchors", {})
    holding = tuple(name for name, one in anchors.items() if one["entries"] > found.idx)
    signed = signed_ns(checkpoint) or 0
    return shown.Proof(found.idx, leaf, checkpoint.size, checkpoint.root.hex(), signed, holding)


def _facts(asked: Asked, found: Found, body: Body | None) -> dict[str, Any]:
    evidence = None
    if body is not None and body.columns:
        evidence = Evidence(body.first, body.columns, body.codes)
    record = {"also": [], **found.record}
    folders = tuple(path for path in asked.config.calibrations if path.is_dir())
    return explain(record, evidence, asked.history.hot.blob, folders)


def _clauses(record: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[shown.Clause, ...]:
    each = [record, *record.get("also", ())]
    each = [one for one in each if "value_sum" in one and "feature" in one]
    each.sort(key=lambda one: int(one["clause"]))
    said = facts.get("conditions", [{}] * len(each))
    return tuple(
        shown.Clause(
            feature=str(one["feature"]),
            scope=str(one["scope"]),
            shape=str(words.get("condition", one["shape"])).rpartition(", ")[2],
            value=str(words.get("value", "")),
            threshold=str(words.get("threshold", "")),
            level=str(one["level"]),
            rarity=str(words.get("as rare as", "")),
            value_sd=int(one["value_sum"]) / max(1, int(one["value_n"])) / CODES_PER_SD,
            threshold_sd=int(one["threshold_code"]) / CODES_PER_SD,
            start=int(one["start"]),
            end=int(one["end"]),
            position=int(one["position"]),
            tokens_scored=int(one["tokens_scored"]),
            tokens_unscored=int(one["tokens_unscored"]),
        )
        for one, words in zip(each, said, strict=False)
    )


def _labels(
    asked: Asked, reader: Reader, alert_id: str | None, request: str | None
) -> tuple[tuple[shown.LabelEntry, ...], bool]:
    """In order of time, or none and True where they are kept from the reader; notes are shown with the evidence."""
    if alert_id is not None:
        rows = asked.rows("labels_of", about=alert_id)
    else:
        rows = [
            row
            for row in asked.rows("sample_labels")
            if json.loads(row["more"] or "{}").get("request") == request
        ]
    if is_blind(asked, reader, [row["actor"] for row in rows]):
        return (), True
    each = (
        shown.LabelEntry(
            row["time_ns"],
            reviewer(asked, row["actor"]),
            row["verdict"],
            json.loads(row["more"] or "{}").get("reason_code", "").replace(UNSTATED, ""),
        )
        for row in rows
    )
    return tuple(each), False


def evidence(asked: Asked, alert_id: str, reader: Reader) -> shown.Evidence | None:
    """Its access was recorded by whoever asks. None: none was stored, or it was erased."""
    found = find(asked, alert_id, reader)
    if found is None:
        return None
    with asked.alone() as history:
        try:
            plain = history.plaintext(found)
        except CannotOpen:
            return None
        if isinstance(plain, str):
            return None
        body = decode_body(plain)
    codes = tuple(
        tuple(None if code == CODE_UNSCORED else int(code) for code in row)
        for row in np.asarray(body.codes)
    )
    return shown.Evidence(
        body.summary,
        dict(body.labels),
        body.first,
        body.columns,
        codes,
        body.tokens,
        _notes(asked, reader, str(found.entry["id"])),
    )


def _notes(asked: Asked, reader: Reader, alert_id: str) -> tuple[shown.LabelEntry, ...]:
    """What reviewers wrote, as far as it was not erased."""
    found: list[shown.LabelEntry] = []
    rows = asked.rows("labels_of", about=alert_id)
    if is_blind(asked, reader, [row["actor"] for row in rows]):
        return ()
    for row in rows:
        with asked.alone() as history:
            try:
                plain = history.plaintext(history.whole(row))
            except CannotOpen:
                continue
            if isinstance(plain, str):
                continue
            note = decode_body(plain).summary
        who = reviewer(asked, row["actor"])
        found.append(shown.LabelEntry(row["time_ns"], who, row["verdict"], "", note))
    return tuple(found)


def label(
    asked: Asked, alert_id: str, verdict: shown.Verdict, reason: str, note: str, reader: Reader
) -> shown.LabelEntry | None:
    """Durable when it returns. Raises AccessRefused. None: there is no such alert for this reader."""
    found = find(asked, alert_id, reader)
    sampled = None if found is not None else find_sample(asked, alert_id, reader)
    if found is not None:
        entry = found.entry
        about = labels.About(
            alert=str(entry["id"]), tenant=entry.get("tenant"), subject=entry.get("subject")
        )
    elif sampled is not None:
        with asked.alone() as history:
            tenant = history.keys.find("tenant", b"", sampled.tenant)
        about = labels.About(
            request=sampled.request, tenant=tenant.hex() if tenant else None, one_in=sampled.one_in
        )
    else:
        return None
    now_ns = asked.now_ns()
    with refused(), asked.alone() as history:
        labels.label(
            history.appender,
            about,
            verdict,
            actor=actor(reader, "label"),
            reason_code=reason or UNSTATED,
            note=note,
            origin="queue" if found is not None else "sample",
            now_ns=now_ns,
        )
    return shown.LabelEntry(now_ns, reader.name, verdict, reason)


def case(
    asked: Asked, by: shown.By, subject_id: str, reader: Reader, zone: str
) -> shown.CaseView | None:
    """By the random id of a user, tenant or conversation."""
    params = {"kind": "alert", COLUMNS[by]: subject_id, **asked.own(reader)}
    # The alerts of a tenant are many: its newest, and those that were judged, are found fast otherwise.
    columns = COUNTED if by == "tenant" else LISTED
    with asked.history.queries.narrowed(columns, **params) as of:
        (total,) = dicts(of.run("people"))
        if not total["n"]:
            return None
        by_rule = dicts(of.run("count_by_rule"))
        by_day = dicts(of.by_day("per_day", ZoneInfo(zone)))
        if by != "tenant":
            listed, by_verdict = (
                dicts(of.run("alerts", limit=ROWS)),
                dicts(of.run("count_by_verdict")),
            )
    if by == "tenant":
        listed = asked.rows("alerts", **params, limit=ROWS)
        by_verdict = asked.rows("count_by_verdict", **params)
    by_severity: Counter[str] = Counter()
    for row in by_day:
        by_severity[row["severity"] or ""] += row["n"]
    return shown.CaseView(
        by=by,
        id=subject_id,
        name=asked.name(subject_id),
        alerts=total["n"],
        first_ns=total["first_ns"],
        last_ns=total["last_ns"],
        conversations=total["conversations"],
        by_rule={r["rule"] or "": r["n"] for r in by_rule},
        by_severity=dict(by_severity.most_common()),
        verdicts=counted({r["verdict"] or "none": r["n"] for r in by_verdict}, reader),
        days=_days(by_day),
        weeks=_weeks(by_day),
        rows=tuple(row_of(asked, row, reader) for row in listed),
    )


def _weeks(rows: Sequence[Mapping[str, Any]]) -> tuple[shown.Day, ...]:
    """The same by week, each under its Monday, where there are more days than a page can hold; else none."""
    if len({row["day"] for row in rows}) <= MOST_DAYS:
        return ()
    monday = [row["day"] - (row["day"] + 3) % 7 for row in rows]  # 1970 began on a Thursday
    return _days({**row, "day": day} for row, day in zip(rows, monday, strict=True))


def days(asked: Asked, zone: str, **params: Any) -> tuple[shown.Day, ...]:
    """Counts by severity and day of the zone; without days on which there was none."""
    given = {name: value for name, value in params.items() if value is not None}
    return _days(dicts(asked.history.queries.by_day("per_day", ZoneInfo(zone), **given)))


def _days(rows: Iterable[Mapping[str, Any]]) -> tuple[shown.Day, ...]:
    """rows: of the query `per_day`."""
    counts: dict[int, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row["day"], Counter())[row["severity"] or "info"] += row["n"]
    return tuple(shown.Day(_date(day), dict(counts[day])) for day in sorted(counts))


@lru_cache(maxsize=4096)
def _date(day: int) -> str:
    """Of days since 1970."""
    return str(np.datetime64(day, "D"))
