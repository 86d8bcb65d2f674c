"""What is wrong in a sidecar's `/status`, each with what to do next and the page that says more.

The conditions are those of the alerts in deploy/prometheus, as far as one look can tell: what is about a rate is not
here. It reads the answer alone, and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

UNSEEN = ("blind", "no-pack", "idle", "silent", "absent")
LAGGING_S = 300.0
CANARY_S = 7800.0
"""Two of them are missing."""
LEAST_FREE = 2_000_000_000
RUNBOOKS = "docs/runbooks.md"
DEFECT = "`dosimeter bundle --out FILE.tar.gz`, and report it"


@dataclass(frozen=True, slots=True)
class StatusFinding:
    """name: of the alert and its runbook, or a word of ours. page: where more is said."""

    name: str
    found: str
    next: str
    page: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def findings(body: Mapping[str, Any], *, alive: bool = True) -> list[StatusFinding]:
    """The gravest first. Raises KeyError for the status of a release that names its fields otherwise."""
    found = [] if alive else [_stuck()]
    for part in (_sight, _files, _rules, _sinks, _defects):
        found += part(body)
    return found


def clock(time_ns: int) -> str:
    """UTC, to the second."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _alert(name: str, found: str, what: str) -> StatusFinding:
    return StatusFinding(name, found, what, f"{RUNBOOKS}#{name.lower()}")


def _stuck() -> StatusFinding:
    what = "keep its log and `dosimeter bundle`, then restart the sidecar"
    return _alert("DosimeterSidecarSilent", "the line has not turned for 5 s", what)


def _sight(body: Mapping[str, Any]) -> Iterator[StatusFinding]:
    nexts = {
        "blind": "the reason names what to mend; `dosimeter doctor` in the server's environment",
        "no-pack": "give the server's `DOSIMETER_TAP` a pack that is bound to its model",
        "idle": "does the server still generate? its worker may be gone while it beats",
        "silent": "does the server itself still answer?",
        "absent": "is the server up, with `DOSIMETER_TAP` set and this socket in reach?",
    }
    for tap in body["taps"]:
        if tap["state"] in UNSEEN:
            found = f"tap {tap['epoch']} is {tap['state']}: {tap['reason'] or 'no reason given'}"
            yield _alert("DosimeterBlind", found, nexts[tap["state"]])
        if tap["packs_refused"] is not None:
            found = f"tap {tap['epoch']} goes on with the packs it has: {tap['packs_refused']}"
            what = "mend what the reason names, and write the list anew"
            yield StatusFinding(
                "packs", found, what, "docs/attach.md#other-packs-in-a-running-server"
            )
    if (error := body["canary"]["error"]) is not None:
        found = f"what was planted in the line did not come out: {error}"
        yield _alert("DosimeterCanaryMissing", found, DEFECT)
    if (paused := body["paused"]) is not None:
        found = f"paused until {clock(paused['until_ns'])}: {paused['reason']}"
        what = "`dosimeter resume`, or wait: it ends by itself"
        yield _alert("DosimeterPaused", found, what)
    if body["servers"]["missing"] is not None:
        what = "start the missing servers with `dosimeter attach`, or lower `expect`"
        yield _alert("DosimeterServersMissing", f"servers: {body['servers']['missing']}", what)
    if unaccounted := body["coverage"]["unaccounted"]:
        what = "`dosimeter conformance` on the same server and model; until then the absence of alerts shows nothing"
        found = f"{unaccounted:,} served tokens are accounted for by nothing"
        yield _alert("DosimeterTokensUnaccounted", found, what)


def _files(body: Mapping[str, Any]) -> Iterator[StatusFinding]:
    ledger, free = body["ledger"], body["disk"]["free_bytes"]
    if ledger["stalled"] is not None:
        what = "look at the disk of data-dir and at `ledger.quota`; it goes on by itself"
        yield _alert("DosimeterLedgerStalled", f"nothing is accepted: {ledger['stalled']}", what)
    for name in ("socket", "ledger"):
        if body[name]["lost"] is not None:
            what = "find out who moved it, and restart the sidecar"
            yield _alert("DosimeterFilesLost", f"{name}: {body[name]['lost']}", what)
    if free is not None and free < LEAST_FREE:
        what = "mend the sink that holds alerts back, shorten `ledger.keep`, or enlarge the disk"
        yield _alert("DosimeterDiskFilling", f"{free / 1e9:.1f} GB of the disk are left", what)
    if body["archive"] is not None and body["archive"]["stalled"] is not None:
        what = "make room on the disk; alerts go on, scores of this time will lack"
        yield _alert("DosimeterSpoolStalled", f"archive: {body['archive']['stalled']}", what)
    if ledger["upkeep_error"] is not None:
        found = f"the ledger could not be tidied: {ledger['upkeep_error']}"
        page = "docs/operate.md#retention-and-erasure"
        yield StatusFinding("upkeep", found, "it is tried again; erasures wait meanwhile", page)


def _rules(body: Mapping[str, Any]) -> Iterator[StatusFinding]:
    rules = body["rules"]
    if rules["error"] is not None:
        what = "`dosimeter rules lint` and `rules test`; the last good rules go on"
        yield StatusFinding("rules", f"rules: {rules['error']}", what, "docs/rules.md#lint")
    if rules["unconfirmed"]:
        found = f"nobody is set up to confirm as {', '.join(rules['unconfirmed'])}"
        what = "set it up under `confirmers`; its alerts go out unconfirmed"
        yield StatusFinding("confirmers", found, what, "docs/operate.md#second-look")


def _sinks(body: Mapping[str, Any]) -> Iterator[StatusFinding]:
    if (error := body["delivery"].get("error")) is not None:
        what = "the next line of the message says what to do with the file"
        found = f"where sinks stand cannot be read: {error}"
        yield _alert("DosimeterDeliveryUnaccounted", found, what)
    yield from sink_findings(body["delivery"])


def sink_findings(delivery: Mapping[str, Any]) -> Iterator[StatusFinding]:
    """Of what `delivery_status` says, so that it can be asked without a sidecar."""
    for name, sink in delivery["sinks"].items():
        if not sink["conserved"]:
            found = f"{name}: {sink['unaccounted']:,} accepted alerts are in no count"
            what = "stop delivery, keep data-dir as it is, and compare with what a consumer reads"
            yield _alert("DosimeterDeliveryUnaccounted", found, what)
        failing = sink["last_error"] is not None  # gone again with the next success
        if sink["queued"] and (failing or sink["oldest_queued_s"] > LAGGING_S):
            error = sink["last_error"] if failing else "it takes them too slowly"
            found = f"{name}: {sink['queued']:,} queued, the oldest {sink['oldest_queued_s']:.0f} s"
            what = "mend what the error names; delivery retries by itself, nothing is lost"
            yield _alert("DosimeterDeliveryLagging", f"{found}: {error}", what)
        if (sink["canary_s"] or 0) > CANARY_S:
            found = f"{name}: no canary has arrived for {sink['canary_s'] / 3600:.1f} h"
            what = "see what the sink says under `last_error`, and in `dosimeter deliver dead`"
            yield _alert("DosimeterCanaryMissing", found, what)
        if sink["dead"]:
            what = "`dosimeter deliver dead` says why; `deliver replay` once the receiver is mended"
            yield _alert("DosimeterDeadLetters", f"{name} refused {sink['dead']:,} alerts", what)


def _defects(body: Mapping[str, Any]) -> Iterator[StatusFinding]:
    """Counts that must be 0."""
    counts = {
        "ledger.refused": body["ledger"]["refused"],
        "socket.failed": body["socket"]["failed"],
        "rules.second_errors": body["rules"]["second_errors"],
    }
    for name in ("counted_twice", "rows_not_evaluated", "errors"):
        counts[f"taps[].{name}"] = sum(tap[name] for tap in body["taps"])
    for name, count in counts.items():
        if count:
            page = "docs/operate.md#livez-and-status"
            yield StatusFinding("defect", f"{name} is {count:,}, and must be 0", DEFECT, page)
