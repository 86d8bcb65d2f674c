"""What `/status` says and what is exported as metrics: one reading of the line, in plain numbers.

It only reads, from another thread than the line's, and owns the names of the fields. Coverage is
the first of them: whoever asks how many alerts there were also learns what was not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, TypeVar

from dosimeter.monitor.chores import Kept
from dosimeter.monitor.coverage import Account
from dosimeter.monitor.history.records import Account as StoredAccount
from dosimeter.monitor.pipeline import Pipeline
from dosimeter.monitor.records import Hello
from dosimeter.monitor.servers import Server
from dosimeter.monitor.standing import Standing
from dosimeter.rules import native

STUCK_S = 5.0
SILENT_S = 4.0
"""A tap beats once a second."""
IDLE_S = 6.0
"""Requests are open and no step has come: longer than any step should take."""
NO_DISK = dict.fromkeys(("free_bytes", "reserve_bytes", "ledger_bytes", "quota_bytes"))
T = TypeVar("T")


def line_status(
    pipeline: Pipeline,
    *,
    started_ns: int,
    expected: int = 0,
    socket: Standing | None = None,
    ledger: Standing | None = None,
    confirmers: Collection[str] = (),
    kept: Kept | None = None,
    disk: Mapping[str, Any] = NO_DISK,
    cpu_s: float = 0.0,
) -> dict[str, Any]:
    """The state of the line.

    started_ns      monotonic
    expected        servers that have to be live
    socket, ledger  their files, to say if they are lost
    confirmers      those that the configuration sets up
    kept            what became of old alerts
    disk            what is left of it
    cpu_s           what the line has taken of a core
    """
    now_ns = pipeline.monotonic_ns()
    total = coverage(pipeline)
    seconds = max((now_ns - started_ns) / 1e9, 1e-9)
    servers = _steady(lambda: list(pipeline.servers.values()))
    taps = [_server(server, now_ns) for server in servers]
    return {
        "version": version("dosimeter"),
        "uptime_s": round(seconds, 3),
        "cost": {"cpu_s": round(cpu_s, 3), "core_share": round(cpu_s / seconds, 4)},
        "paused": pipeline.pausing.status(),
        "canary": pipeline.canary.status(),
        "coverage": total.as_dict(),
        "servers": _expected(expected, sum(tap["state"] == "live" for tap in taps)),
        "taps": taps,
        "alerts": [
            {"rule": rule, "severity": severity, "decision": decision, "count": count}
            for (rule, severity, decision), count in _steady(
                lambda: sorted(pipeline.alerts.items())
            )
        ],
        "decisions": asdict(_steady(lambda: pipeline.decisions.stats)),
        "latency": {
            "hook_to_decision": pipeline.decision.as_dict(),
            "decision_to_durable": pipeline.writer.durable.as_dict(),
        },
        "rules": rules_status(pipeline, confirmers),
        "ledger": {
            "committed": pipeline.writer.committed,
            "waiting": pipeline.writer.waiting,
            "refused": pipeline.writer.refused,
            "refused_path": str(pipeline.writer.refused_path),
            "stalled": pipeline.writer.stalled,
            "lost": ledger.lost if ledger is not None else None,
            **(kept or Kept()).as_dict(),
        },
        "socket": {
            "path": str(pipeline.receiver.path),
            "connections": len(pipeline.receiver.connections),
            "hostile": pipeline.receiver.hostile,
            "failed": pipeline.receiver.failed,
            "refused": pipeline.receiver.refused,
            "foreign": pipeline.receiver.foreign,
            "last_refusal": pipeline.receiver.last_refusal,
            "lost": socket.lost if socket is not None else None,
        },
        "archive": pipeline.recorder.status(),
        "disk": dict(disk),
        "clock": {"jumps": pipeline.clock.jumps, "last_s": pipeline.clock.last_s},
    }


def alive(pipeline: Pipeline) -> bool:
    """Whether the loop turns; a stalled disk is no reason to restart it."""
    return (pipeline.monotonic_ns() - pipeline.turned_ns) / 1e9 < STUCK_S


def unready(pipeline: Pipeline, *, socket: Standing, ledger: Standing) -> str | None:
    """Why the line takes nothing in, in a line; None: it does. It asks no sink, and a pause is somebody's own will."""
    rulebook = pipeline.rulebook
    if not pipeline.turned_ns:
        return "it is starting"
    reasons = (
        None if alive(pipeline) else f"the line has not turned for {STUCK_S:.0f} s",
        socket.lost and f"socket: {socket.lost}",
        ledger.lost and f"ledger: {ledger.lost}",
        pipeline.writer.stalled and f"nothing is accepted: {pipeline.writer.stalled}",
        None if rulebook.version else f"no rules: {rulebook.error or 'not read yet'}",
    )
    return next((one.splitlines()[0] for one in reasons if one), None)


def coverage(pipeline: Pipeline) -> Account:
    """Totals over every server process this ledger has met."""
    total = Account()
    live = _steady(lambda: dict(pipeline.servers))
    for server in live.values():
        total.add(_copy(server.join.account))
    names = {server.name for server in live.values()}
    for name, stored in _steady(lambda: dict(pipeline.accounts)).items():
        if name not in names:
            total.add(_from_store(stored))
    return total


def rules_status(pipeline: Pipeline, confirmers: Collection[str] = ()) -> dict[str, Any]:
    """Which rules are in force, what is wrong with the file, and which may not alert and why.

    In force is what connected servers run; before the first has come, what the files say.
    """
    servers = _steady(lambda: list(pipeline.servers.values()))
    connected = {s.engine.program.digest: s.engine.program for s in servers if s.connections}
    programs = list(connected.values()) or pipeline.rulebook.programs()
    inactive = {rule: reason for program in programs for rule, reason in program.inactive.items()}
    counts, watching = pipeline.counts.stats, pipeline.watching
    inactive |= watching.inactive
    asked = {policy.confirm for policy in pipeline.rulebook.policies if policy.confirm}
    active = {rule.rule for program in programs for rule in program.rules}
    return {
        "programs": [program.digest for program in programs],
        "active": sorted({*active, *counts, *watching.active}),
        "inactive": dict(sorted(inactive.items())),
        "unconfirmed": sorted(asked.difference(confirmers)),
        "counts": [{"rule": rule, **asdict(found)} for rule, found in sorted(counts.items())],
        "shifts": watching.drifts,
        "second_errors": pipeline.counts.errors + watching.errors,
        "error": pipeline.rulebook.error,
        "digest": pipeline.rulebook.digest,
        "changed_ns": pipeline.rulebook.changed_ns,
        "changed": dict(pipeline.rulebook.changed),
        "kernel": "c" if native.found else "reference",
    }


def _expected(expected: int, live: int) -> dict[str, Any]:
    missing = f"{live} of {expected} are live" if live < expected else None
    return {"expected": expected, "live": live, "missing": missing}


def _state(server: Server, now_ns: int) -> tuple[str, str | None]:
    """What the tap says of itself, unless it says nothing, or nothing comes of what the server runs."""
    hello, quiet_s = server.hello, (now_ns - server.tap_seen_ns) / 1e9
    if not server.taps:  # a front alone scores nothing
        return "absent", hello.reason or "not connected"
    if quiet_s > SILENT_S:
        return "silent", "connected, and says nothing: a tap beats once a second"
    idle_s = (now_ns - server.moved_ns) / 1e9
    if hello.state == "live" and server.join.live and idle_s > IDLE_S:
        return "idle", "requests are open, and no step has come for long"
    return hello.state, hello.reason


def _server(server: Server, now_ns: int) -> dict[str, Any]:
    hello, join = server.hello, server.join
    state, reason = _state(server, now_ns)
    return {
        "epoch": server.name,
        "server": dict(hello.server),
        "model": dict(hello.model),
        "pid": hello.pid,
        "uid": server.speakers.uid,
        "features": [column.feature for column in hello.columns],
        "packs": sorted({column.pack_name for column in hello.columns}),
        "state": state,
        "reason": reason,
        "packs_refused": hello.packs_refused,
        "capture": _capture(hello),
        "connections": len(server.connections),
        "last_message_s": round((now_ns - server.seen_ns) / 1e9, 3),
        "requests_live": len(join.live),
        "rows": server.rows,
        "late_rows": join.late_rows,
        "rows_without_open": join.waiting.dropped,
        "counted_twice": join.excess,
        "rows_not_evaluated": server.engine.rows_unknown,
        "rows_error": sum(counters["rows_error"] for counters in join.stated.values()),
        "rows_dropped": sum(counters["rows_dropped"] for counters in join.stated.values()),
        "records_lost": sum(counters["control_dropped"] for counters in join.stated.values()),
        "records_cut": server.records_cut,
        "errors": hello.errors,
        "last_error": hello.last_error,
        "coverage": _copy(join.account).as_dict(),
    }


def _capture(hello: Hello) -> dict[str, Any] | None:
    """What leaves the server now."""
    one = hello.capture
    if one is None or one.state != "began":
        return None
    return {
        "id": one.id,
        "reason": one.reason,
        "by_uid": one.by_uid,
        "since_ns": one.since_ns,
        "until_ns": one.until_ns,
        "layers": list(one.layers),
        "sample_ppm": one.sample_ppm,
        "out": one.out,
    }


def _copy(account: Account) -> Account:
    def read() -> Account:
        total = Account()
        total.add(account)
        return total

    return _steady(read)


def _from_store(stored: StoredAccount) -> Account:
    unscored, by = dict(stored.unscored), dict(stored.served_by)
    return Account(stored.served, stored.scored, unscored, 0, stored.closed, by)


def _steady(read: Callable[[], T]) -> T:
    """Read something that the line may be changing: again, when it changed under our hands."""
    while True:
        try:
            return read()
        except RuntimeError:  # dictionary changed size during iteration
            continue
