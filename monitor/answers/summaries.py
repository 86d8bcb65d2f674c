"""The overview and the audit page: how far was watched, what came, what is signed, who looked.

Owns sums over the last day and weeks, and the state of the log in words. Single alerts are `alert.py`'s.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.answers.days import begins, days
from dosimeter.monitor.answers.intervals import CAPTURE, PAUSE, intervals
from dosimeter.monitor.answers.queue import DAY_NS, reviewed_today, reviewer
from dosimeter.monitor.answers.watching import lately
from dosimeter.monitor.audit.queries.worth import worth
from dosimeter.monitor.audit.store.keeper import signed_ns
from dosimeter.monitor.pages import shown, shown_log, shown_overview
from dosimeter.monitor.pages.source import NotPossible, Reader
from dosimeter.monitor.status_client import MigratingError, NotAnsweredError, address, ask
from dosimeter.monitor.status_findings import CANARY_S
from dosimeter.monitor.tlog.note import Checkpoint, Note, NoteError
from dosimeter.monitor.tlog.reader import LogReader, LogUnreadable

HOUR_NS = 3600 * 10**9
WEEKS_NS = 28 * DAY_NS
MOST = 50
"""Rows of each list of the audit page."""
STATUS_S = 1.0
FAILING = "failing: its error may name others, and is told to those who see every tenant"
WHY = "why is told to those who see every tenant"


def overview(asked: Asked, reader: Reader, zone: str) -> shown_overview.Overview:
    now_ns = asked.now_ns()
    with asked.alone() as history:
        found = history.watched(now_ns - DAY_NS, now_ns, now_ns=now_ns)
    served: Counter[int] = Counter()
    scored: Counter[int] = Counter()
    for one in found.windows:
        hour = (one.to_ns - 1) // HOUR_NS
        served[hour] += one.served
        scored[hour] += one.scored
    last = now_ns // HOUR_NS
    status, unasked = _sidecar(asked)
    own = asked.own(reader)
    unlabelled = asked.rows("count", kind="alert", labelled=0, from_ns=now_ns - 7 * DAY_NS, **own)
    names = lately(asked, WEEKS_NS).names
    canaries = asked.rows("totals", kind="canary", from_ns=now_ns - DAY_NS)
    return shown_overview.Overview(
        coverage=shown.Coverage(
            found.served, found.scored, dict(found.unscored), found.unaccounted
        ),
        hours=tuple(
            shown.Hour(at * HOUR_NS, served[at], scored[at], known=at in served)
            for at in range(last - 23, last + 1)
        ),
        days=days(asked, zone, kind="alert", from_ns=begins(asked, zone, WEEKS_NS), **own),
        sinks=tuple(_sink(name, one, reader) for name, one in _sinks(status).items()),
        taps=tuple(_tap(one, reader) for one in status.get("taps", ())),
        drift=tuple(_drift(asked, reader)),
        log=log_state(asked),
        unlabelled=int(unlabelled[0]["n"]),
        reviewed_today=reviewed_today(asked, reader),
        unasked=unasked,
        worth=tuple(worth(found, ZoneInfo(zone), total=1)),
        pauses=intervals(asked, reader, names, PAUSE, days=7),
        captures=intervals(asked, reader, names, CAPTURE, days=31),
        canary_ns=canaries[0]["last_ns"] or 0,
    )


def _sidecar(asked: Asked) -> tuple[Mapping[str, Any], str]:
    """What the sidecar beside us says of itself, or why nothing is known."""
    if asked.settings.kafka is not None:
        return {}, "not known here: each sidecar of the fleet says it of itself"
    try:
        return ask(address(asked.config, None), STATUS_S).body, ""
    except MigratingError:
        return {}, "not known: it brings the ledger of an earlier release up to date"
    except NotAnsweredError:
        http = asked.config.http
        return {}, f"not known: no sidecar answers at {http.host}:{http.port}"


def _sinks(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found = status.get("delivery", {}).get("sinks", {})
    return found if isinstance(found, dict) else {}


def _sink(name: str, one: Mapping[str, Any], reader: Reader) -> shown_overview.Sink:
    state: shown.State = "ok"
    if one["dead"] or one["last_error"]:
        state = "warn"
    if not one["conserved"] or one["oldest_queued_s"] > 300:
        state = "bad"
    said = str(one["last_error"] or "")
    if said and reader.tenants is not None:  # a receiver quotes what it was sent, of any tenant
        said = FAILING
    canary_s = one["canary_s"]
    if (canary_s or 0) > CANARY_S:
        state = "bad"
        said = said or "canaries do not arrive: alerts may not either"
    return shown_overview.Sink(
        name, state, one["queued"], one["oldest_queued_s"], one["dead"], said, canary_s
    )


def _tap(tap: Mapping[str, Any], reader: Reader) -> shown_overview.Tap:
    state: shown.State = {"live": "ok", "no-pack": "warn"}.get(str(tap["state"]), "bad")  # type: ignore[assignment]
    said = str(tap["reason"] or tap["state"])
    if tap["reason"] and reader.tenants is not None:  # an error of the server's quotes anybody
        said = f"{tap['state']}: {WHY}"
    model = tap.get("model") or {}
    name = str(model.get("name", "") if isinstance(model, dict) else model)
    return shown_overview.Tap(name or "model server", state, said)


def _drift(asked: Asked, reader: Reader) -> list[shown_overview.Drift]:
    """Alerts of rules that watch for a shift, in the last week."""
    since = asked.now_ns() - 7 * DAY_NS
    rows = asked.rows("alerts", kind="shift", from_ns=since, limit=MOST, **asked.own(reader))
    seen: dict[str, shown_overview.Drift] = {}
    for row in rows:
        name = row["feature"] or row["rule"] or ""
        seen.setdefault(
            name, shown_overview.Drift(name, "warn", f"shifted, says rule {row['rule']}")
        )
    return list(seen.values())


def log_state(asked: Asked) -> shown_log.LogState:
    now_ns = asked.now_ns()
    with asked.alone() as history:
        size = history.hot.size
        gaps = lately(asked, WEEKS_NS)
        try:
            history.log.refresh()
            checkpoint: Checkpoint | None = history.log.checkpoint
        except LogUnreadable:
            checkpoint = None
    status = asked.status()
    anchors = status.get("log", {}).get("anchors", {})
    covered = max([one["entries"] for one in anchors.values()], default=0)
    return shown_log.LogState(
        size=size,
        checkpoint_ns=(signed_ns(checkpoint) or 0) if checkpoint else 0,
        unanchored_entries=size - covered,
        unanchored_s=_age_of(asked, covered, now_ns) if covered < size else 0.0,
        anchors=tuple(
            shown_log.Anchor(name, one["outside"], one["at_ns"], one["entries"])
            for name, one in anchors.items()
        ),
        gaps=tuple(
            shown_log.Gap(
                gaps.names.get(one.source, one.source),
                0,
                0,
                f"positions {one.first} to {one.last} never came",
            )
            for one in gaps.gaps
        )
        + tuple(shown_log.Gap("", *span, "not known to be watched") for span in gaps.unwatched)
        + tuple(
            shown_log.Gap(
                gaps.names.get(source, source), *span, "no sign of life, while others watched"
            )
            for source, span in gaps.silent
        ),
        stalled=status.get("stalled") or "",
        stalled_ns=status.get("stalled_ns", 0),
    )


def _age_of(asked: Asked, idx: int, now_ns: int) -> float:
    """Seconds since this entry came in."""
    rows = asked.rows("ingested", first=idx, past=idx + 1)
    return max(0.0, (now_ns - rows[0]["ingested_ns"]) / 1e9) if rows else 0.0


def audit(asked: Asked, reader: Reader) -> shown_log.AuditView:
    """Raises NotPossible for who sees some tenants only: holds, erasures and accesses are of all."""
    if reader.tenants is not None:
        raise NotPossible("this is over all tenants, and you see some; ask an auditor")
    with asked.alone() as history:
        holds = tuple(sorted(about.hex() for about in history.hot.holds()))
    return shown_log.AuditView(
        log=log_state(asked),
        verified=_verified(asked),
        checkpoints=_checkpoints(asked),
        tombstones=tuple(_tombstones(asked)),
        access=tuple(_accesses(asked)),
        holds=holds,
    )


def _verified(asked: Asked) -> shown_log.Verified | None:
    """The last time that history verified itself; None: not since it started."""
    one = asked.status().get("verified")
    if not one:
        return None
    said = "\n".join(one["said"])
    state: shown.State = "ok" if one["ok"] else "bad"
    return shown_log.Verified(state, said, one["at_ns"], one["entries"], one["took_s"])


def _checkpoints(asked: Asked) -> tuple[shown_log.Checkpoint, ...]:
    try:
        reader = LogReader(asked.history.folder.log)
    except LogUnreadable:
        return ()
    anchors = asked.status().get("log", {}).get("anchors", {})
    found = []
    for note in list(reader.notes())[-MOST:]:
        with suppress(NoteError):
            one = _opened(note)
            holding = tuple(name for name, a in anchors.items() if a["entries"] >= one.size)
            at_ns = signed_ns(one) or 0
            found.append(shown_log.Checkpoint(one.size, at_ns, one.root.hex(), one.origin, holding))
    return tuple(reversed(found))


@lru_cache(maxsize=4 * MOST)
def _opened(note: str) -> Checkpoint:
    return Checkpoint.parse(Note.parse(note).text)


def _tombstones(asked: Asked) -> list[shown_log.Tombstone]:
    rows = asked.rows("alerts", kind="erase", limit=MOST)
    found = []
    for row in rows:
        more = json.loads(row["more"] or "{}")
        if more.get("phase") == "done":
            continue  # of an erasure whose first entry says it all
        approver = reviewer(asked, more.get("approver"))
        subject = row["subject"] or row["tenant"] or ""
        found.append(
            shown_log.Tombstone(row["idx"], row["time_ns"], subject, row["reason"] or "", approver)
        )
    return found


def _accesses(asked: Asked) -> list[shown_log.Access]:
    return [
        shown_log.Access(
            row["idx"],
            row["time_ns"],
            f"{reviewer(asked, row['actor'])} ({(row['actor'] or '').partition(':')[0]})",
            row["kind"],
            _words(row),
            row["reason"] or "",
        )
        for row in asked.rows("access", limit=MOST)
    ]


def _words(row: Mapping[str, Any]) -> str:
    """`alert 01a2…, tenant 7f…`: what it was first, then what it was asked with."""
    what = dict(json.loads(row["more"] or "{}").get("what", {}))
    head = str(what.pop("page", ""))
    said = [f"{head} {row['about'] or ''}".strip()] if head or row["about"] else []
    if row["subject"]:
        said.append(f"subject {row['subject']}")
    for name, value in what.items():
        if name in ("from_ns", "to_ns"):
            said.append(f"{name.removesuffix('_ns')} {_utc(value)}")
        else:
            said.append(f"{name} {value}")
    return ", ".join(said)[:400]


def _utc(ns: object) -> str:
    if not isinstance(ns, int):
        return str(ns)
    if ns <= 0:
        return "the beginning"
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
