"""How the standing of a sidecar is drawn: a line a subject, then what is wrong and what to do.

It owns words and their order. Text from servers, sinks and files is someone else's and passes `plain`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dosimeter.monitor.cli.screen import Screen, plain
from dosimeter.monitor.status_client import Answer
from dosimeter.monitor.status_findings import UNSEEN, StatusFinding, clock

LABEL = 10
TAPS = 3
"""Shown; those that see nothing come first."""


def status_lines(
    answer: Answer, history: Mapping[str, Any] | None, rates: Mapping[str, float] | None = None
) -> Iterator[str]:
    """Raises KeyError for the status of a release that names its fields otherwise."""
    body = answer.body
    head = f"dosimeter {plain(body['version'])}, up {span(body['uptime_s'])}"
    yield f"{head}, {plain(answer.url)}"
    yield _line(
        "servers", f"{body['servers']['live']} live of {body['servers']['expected']} expected"
    )
    if (paused := body["paused"]) is not None:
        said = f"until {clock(paused['until_ns'])}, by uid {paused['by_uid']}: {paused['reason']}"
        yield _line("paused", f"{plain(said)}; {paused['tokens']:,} tokens not looked at")
    yield from _taps(body["taps"])
    yield from _captures(body["taps"])
    yield _line("coverage", _coverage(body["coverage"]))
    yield _line("alerts", _alerts(body["alerts"]))
    yield _line("rules", _rules(body["rules"]))
    yield from sink_lines(body["delivery"])
    yield _line("ledger", _ledger(body))
    yield _line("archive", _archive(body["archive"]))
    yield _line("history", _history(history))
    yield _line("cost", f"{100 * body['cost']['core_share']:.1f} % of a core")
    jumps = body["clock"]["jumps"]
    yield _line(
        "clock", f"{jumps} jumps, the last {body['clock']['last_s']} s" if jumps else "steady"
    )
    if rates is not None:
        found = ", ".join(f"{name} {rate:,.1f}" for name, rate in rates.items())
        yield _line("a second", found or "not known: the sidecar has begun anew")


def finding_lines(found: Sequence[StatusFinding], screen: Screen) -> Iterator[str]:
    if not found:
        yield "all well"
        return
    yield screen.bold(f"{len(found)} finding{'s' if len(found) > 1 else ''}")
    for one in found:
        yield f"{screen.bold(one.name)}: {plain(one.found)}"
        yield f"  next: {one.next} ({one.page})"


def file_lines(standing: Mapping[str, Any], now_ns: int) -> Iterator[str]:
    """What is known without a sidecar."""
    ledger = standing["ledger"]
    if "error" in ledger:
        yield _line("ledger", plain(ledger["error"].splitlines()[0]))
        return
    last = ledger["last_commit_ns"]
    commit = "never" if last is None else f"{_moment(last)}, {span((now_ns - last) / 1e9)} ago"
    yield _line("ledger", f"{ledger['alerts']:,} alerts; the last commit: {commit}")
    yield from sink_lines(standing["delivery"])
    yield _line("history", _history(standing["history"]))


def sink_lines(delivery: Mapping[str, Any]) -> Iterator[str]:
    if "error" in delivery:
        yield _line("sinks", f"not known: {plain(delivery['error'].splitlines()[0])}")
    elif not delivery["sinks"]:
        yield _line("sinks", "none has begun: alerts are kept and not sent")
    for name, sink in delivery.get("sinks", {}).items():
        counts = f"{sink['delivered']:,} delivered, {sink['queued']:,} queued"
        oldest = f" (oldest {span(sink['oldest_queued_s'])})" if sink["queued"] else ""
        account = "conserved" if sink["conserved"] else f"{sink['unaccounted']:,} unaccounted"
        yield _line(
            "sink",
            f"{plain(name)}: {counts}{oldest}, {sink['dead']:,} dead, "
            f"{sink['withheld']:,} withheld, {account}{_canary(sink['canary_s'])}",
        )


def _canary(seconds: float | None) -> str:
    return "" if seconds is None else f", canary {span(seconds)} ago"


def span(seconds: float) -> str:
    """A length of time, in the unit that suits it."""
    for unit, size, below in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < below:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def _line(label: str, text: str) -> str:
    return f"{label:{LABEL}}{text}"


def _moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _taps(taps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not taps:
        yield _line("taps", "none has ever connected")
    ordered = sorted(taps, key=lambda tap: tap["state"] not in UNSEEN)
    for tap in ordered[:TAPS]:
        server = " ".join(
            plain(tap["server"][k]) for k in ("kind", "version") if k in tap["server"]
        )
        state = f"{tap['state']}: {tap['reason']}" if tap["reason"] else tap["state"]
        names = [n for n in (plain(tap["model"].get("name", "")), server) if n]
        of = f" ({', '.join(names)})" if names else ""
        yield _line(
            "tap",
            f"{plain(tap['epoch'])}{of} {plain(state)}; {len(tap['features'])} features, "
            f"{tap['requests_live']} requests open, {tap['rows']:,} tokens, "
            f"last word {span(tap['last_message_s'])} ago",
        )
    if len(ordered) > TAPS:
        rest = Counter(tap["state"] for tap in ordered[TAPS:])
        yield _line("", "and " + ", ".join(f"{count} {state}" for state, count in rest.items()))


def _captures(taps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for tap in taps:
        if (one := tap["capture"]) is not None:
            yield _line(
                "capture",
                f"activations of layers {one['layers']} leave {plain(tap['epoch'])} until "
                f"{clock(one['until_ns'])}, by uid {one['by_uid']}: {plain(one['reason'])}",
            )


def _coverage(of: Mapping[str, Any]) -> str:
    if of["coverage"] is None:
        return "no request has ended yet"
    unscored = ", ".join(f"{name} {tokens:,}" for name, tokens in of["unscored"].items())
    return (
        f"{100 * of['coverage']:.2f} % of {of['served']:,} tokens scored"
        f"{'; not: ' + unscored if unscored else ''}; {of['unaccounted']:,} unaccounted"
    )


def _alerts(found: Sequence[Mapping[str, Any]]) -> str:
    decisions: Counter[str] = Counter()
    for one in found:
        decisions[one["decision"]] += one["count"]
    return (
        ", ".join(f"{n:,} {name}" for name, n in sorted(decisions.items())) or "none since it began"
    )


def _rules(of: Mapping[str, Any]) -> str:
    stands = f"{len(of['active'])} run, {len(of['inactive'])} inactive, digest {of['digest'][:12]}"
    slow = ", slow: no kernel in C" if of["kernel"] != "c" else ""
    return f"{stands}{slow}{'' if of['error'] is None else ', in error'}"


def _ledger(body: Mapping[str, Any]) -> str:
    of, free = body["ledger"], body["disk"]["free_bytes"]
    stalled = "stalled" if of["stalled"] is not None else f"{of['waiting']:,} waiting"
    parts = [f"{of['committed']:,} committed", stalled]
    if of["oldest_s"] is not None:
        parts.append(f"oldest {span(of['oldest_s'])}")
    parts.append(f"{of['pruned']:,} pruned, {of['erased']:,} erased")
    if of["held_by"] is not None:
        parts.append(f"held by {plain(of['held_by'])}")
    if free is not None:
        parts.append(f"{free / 1e9:,.1f} GB free")
    return ", ".join(parts)


def _archive(of: Mapping[str, Any] | None) -> str:
    if of is None:
        return "not kept"
    lost = of["rows_dropped"] + of["rows_expired"]
    stalled = "; stalled" if of["stalled"] is not None else ""
    return f"{of['rows']:,} tokens spooled, {lost:,} lost, {of['chunks_waiting']:,} chunks wait{stalled}"


def _history(of: Mapping[str, Any] | None) -> str:
    if of is None:
        return "not kept here"
    if "error" in of:
        return f"not known: {plain(of['error'].splitlines()[0])}"
    return f"has taken in {of['seq']:,} of {of['last_seq']:,} alerts"
