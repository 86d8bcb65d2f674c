"""One alert whole, its evidence, and a label put on it.

Owns the way from an entry to what the page of an alert shows. Lists are `queue.py`'s, and
what reviewers said is `said.py`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dosimeter.detectors.frames import CODE_UNSCORED, CODES_PER_SD
from dosimeter.monitor.answers.asking import Asked, actor, refused
from dosimeter.monitor.answers.queue import drawn, severity
from dosimeter.monitor.answers.said import UNSTATED, labels_of, notes_of
from dosimeter.monitor.audit.evidence.evidence_body import Body, decode_body
from dosimeter.monitor.audit.history import Found, NoSuchEntry
from dosimeter.monitor.audit.people import labels
from dosimeter.monitor.audit.people.sample import Sampled
from dosimeter.monitor.audit.store.box import CannotOpen
from dosimeter.monitor.audit.store.keeper import signed_ns
from dosimeter.monitor.explaining import explain
from dosimeter.monitor.history.evidence import Evidence, EvidenceError
from dosimeter.monitor.pages import shown, shown_alerts
from dosimeter.monitor.pages.source import NotPossible, Reader
from dosimeter.monitor.tlog.reader import LogUnreadable

DAMAGED = "what is stored as its evidence cannot be opened, and was not erased"
DECIDED = ("alert", "digest", "count", "absent", "shift")
HASHES = ("terms", "rule_sha256", "program_sha256", "pack_sha256", "calibration_sha256", "evidence")


def alert(asked: Asked, alert_id: str, reader: Reader) -> shown_alerts.AlertView | None:
    found = find(asked, alert_id, reader)
    if found is None:
        sampled = find_sample(asked, alert_id, reader)
        return None if sampled is None else _sample_view(asked, sampled, reader)
    with asked.alone() as history:
        record, entry = found.record, found.entry
        kept: Body | None = None
        evidence: shown_alerts.Kept = "sealed"
        try:
            body = history.plaintext(found)
            if isinstance(body, str):
                evidence = "none" if body == "none stored" else "erased"
            else:
                kept = decode_body(body)
        except (CannotOpen, EvidenceError):
            evidence = "damaged"
        proof = _proof(asked, found)
        facts = _facts(asked, found, kept) if entry["kind"] == "alert" else {}
    model = record.get("model") or {}
    said, blind = labels_of(asked, reader, str(entry["id"]), None)
    return shown_alerts.AlertView(
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
            shown_alerts.Neighbour(
                str(one["request"]), one["route"], one["distance"], dict(one["scores"])
            )
            for one in facts.get("lookalikes", ())
        ),
        hashes={name: str(record[name]) for name in HASHES if record.get(name)},
        proof=proof,
        labels=said,
        blind=blind,
        evidence=evidence,
    )


def find(asked: Asked, alert_id: str, reader: Reader) -> Found | None:
    """None where there is none for this reader, or the entry is of another kind: what people did is no alert.

    A beginning stands for the one that the reader may see, whatever else begins so.
    """
    # An entry never changes until its time is over, and a page asks for its own several times.
    with asked.alone() as history:
        found = asked.found.get(alert_id)
        if found is None or history.hot.is_gone(found.idx):
            try:
                rows = history.like(alert_id)
            except NoSuchEntry:
                return None
            rows = [row for row in rows if _seen(asked, row, reader)]
            if len(rows) != 1:
                return None
            found = history.whole(rows[0])
            if alert_id == found.entry["id"]:
                asked.found.clear()
                asked.found[alert_id] = found
    return found if _seen(asked, found.entry, reader) else None


def _seen(asked: Asked, entry: Mapping[str, Any], reader: Reader) -> bool:
    return entry["kind"] in DECIDED and asked.sees(entry.get("tenant"), reader)


def find_sample(asked: Asked, alert_id: str, reader: Reader) -> Sampled | None:
    for one in drawn(asked):
        if one.request.replace("/", "") == alert_id:
            own = reader.tenants is None or one.tenant in reader.tenants
            return one if own else None
    return None


def _sample_view(asked: Asked, one: Sampled, reader: Reader) -> shown_alerts.AlertView:
    said, blind = labels_of(asked, reader, None, one.request)
    nothing = dict.fromkeys(
        ("tenant_id", "subject", "conversation", "rule", "rule_sha256", "status", "decision"), ""
    )
    return shown_alerts.AlertView(
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
        proof=shown_alerts.Proof(None, ""),
        labels=said,
        blind=blind,
        evidence="none",
        **nothing,
    )


def _proof(asked: Asked, found: Found) -> shown_alerts.Proof:
    history = asked.history
    leaf = hashlib.sha256(b"\0" + history.leaf(found.idx)).hexdigest()
    try:
        history.log.refresh()
        checkpoint = history.log.checkpoint
    except LogUnreadable:
        return shown_alerts.Proof(found.idx, leaf)
    if found.idx >= checkpoint.size:
        return shown_alerts.Proof(found.idx, leaf)
    anchors = asked.status().get("log", {}).get("anchors", {})
    holding = tuple(name for name, one in anchors.items() if one["entries"] > found.idx)
    signed = signed_ns(checkpoint) or 0
    return shown_alerts.Proof(
        found.idx, leaf, checkpoint.size, checkpoint.root.hex(), signed, holding
    )


def _facts(asked: Asked, found: Found, body: Body | None) -> dict[str, Any]:
    evidence = None
    if body is not None and body.columns:
        evidence = Evidence(body.first, body.columns, body.codes)
    record = {"also": [], **found.record}
    folders = tuple(path for path in asked.config.calibrations if path.is_dir())
    return explain(record, evidence, asked.history.hot.blob, folders)


def _clauses(
    record: Mapping[str, Any], facts: Mapping[str, Any]
) -> tuple[shown_alerts.Clause, ...]:
    each = [record, *record.get("also", ())]
    each = [one for one in each if "value_sum" in one and "feature" in one]
    each.sort(key=lambda one: int(one["clause"]))
    said = facts.get("conditions", [{}] * len(each))
    return tuple(
        shown_alerts.Clause(
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


def evidence(asked: Asked, alert_id: str, reader: Reader) -> shown_alerts.Evidence | None:
    """Its access was recorded by whoever asks. None: none was stored, or it was erased. Raises NotPossible."""
    found = find(asked, alert_id, reader)
    if found is None:
        return None
    with asked.alone() as history:
        try:
            plain = history.plaintext(found)
            if isinstance(plain, str):
                return None
            body = decode_body(plain)
        except (CannotOpen, EvidenceError) as error:
            raise NotPossible(f"{DAMAGED}: {error}") from error
    codes = tuple(
        tuple(None if code == CODE_UNSCORED else int(code) for code in row)
        for row in np.asarray(body.codes)
    )
    return shown_alerts.Evidence(
        body.summary,
        dict(body.labels),
        body.first,
        body.columns,
        codes,
        body.tokens,
        notes_of(asked, reader, str(found.entry["id"])),
    )


def label(
    asked: Asked, alert_id: str, verdict: shown.Verdict, reason: str, note: str, reader: Reader
) -> shown_alerts.LabelEntry | None:
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
    who = replace(
        actor(reader, "label"), tenants=reader.tenants if reader.own is None else reader.own
    )
    with refused(), asked.alone() as history:
        own = history.access.tenants(who)
        if own is not None and about.tenant not in own:
            return None
        labels.label(
            history.appender,
            about,
            verdict,
            actor=who,
            reason_code=reason or UNSTATED,
            note=note,
            origin="queue" if found is not None else "sample",
            now_ns=now_ns,
        )
    return shown_alerts.LabelEntry(now_ns, reader.name, verdict, reason)
