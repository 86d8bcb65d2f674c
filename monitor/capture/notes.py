"""A capture on record: each that a tap tells of goes into the ledger, its beginning and its end, and so into history.

The tap says it in its greeting before the first row leaves, whoever asked and wherever the rows go; a line that was
away hears it when it is back. The end of one whose server has gone is said here: nobody else is left to. Nothing here
knows what was captured, or how.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.records import Capture, Hello
from dosimeter.rules.alert import record_id
from dosimeter.rules.canonical import canonical
from dosimeter.rules.summary import printable

log = logging.getLogger(__name__)

VERSION = 1
KIND = "capture"
MAX_TEXT = 200
REMEMBERED = 256
"""Records that need not be made again; the ledger takes a second one for the first. As many captures may be running."""
GONE = "its server went away"
_ASKED = (
    "epoch", "capture", "reason", "by_uid", "until_ns", "layers", "sample_ppm", "max_bytes", "max_requests", "out",
)  # fmt: skip
"""What both records of a capture say of it."""


class CaptureNotes:
    """Told every greeting, and which servers there are."""

    def __init__(self, ledger: str = "", kept: Iterable[bytes] = ()) -> None:
        """ledger: identity of the one that the records go to; kept: those that it has, in order."""
        self._ledger = ledger
        self._made: dict[str, None] = {}
        self._running: dict[
            tuple[str, str], dict[str, Any]
        ] = {}  # epoch, capture -> what was asked
        self._since_ns: int | None = None  # monotonic, since when we look
        for core in map(json.loads, kept):
            self._follow({name: core[name] for name in _ASKED}, core["state"])

    def look(
        self, here: Collection[str], monotonic_ns: int, time_ns: int, patience_ns: int
    ) -> list[LedgerRecord]:
        """The end of those whose server is not here any more. here: epochs.

        patience_ns: for a server to come back to us, after we began.
        """
        self._since_ns = monotonic_ns if self._since_ns is None else self._since_ns
        if monotonic_ns - self._since_ns < patience_ns:
            return []
        gone = [asked for (epoch, _), asked in self._running.items() if epoch not in here]
        return [self._gone(asked, time_ns) for asked in gone]

    def heard(self, epoch: str, hello: Hello) -> list[LedgerRecord]:
        """What is new of it. An end stands for its beginning too, which may have been said to nobody."""
        one = hello.capture
        if one is None or hello.role == "front":
            return []
        self._follow(_asked(epoch, one), one.state)
        states = ("began",) if one.state == "began" else ("began", "ended")
        new = []
        for record, said in (self._record(epoch, one, state) for state in states):
            if record.event_id in self._made:
                continue
            if len(self._made) >= REMEMBERED:
                del self._made[next(iter(self._made))]
            self._made[record.event_id] = None
            log.warning("%s", said)
            new.append(record)
        return new

    def _follow(self, asked: dict[str, Any], state: str) -> None:
        which = (asked["epoch"], asked["capture"])
        self._running.pop(which, None)
        if state == "began":
            self._running[which] = asked
        if len(self._running) > REMEMBERED:
            del self._running[next(iter(self._running))]

    def _gone(self, asked: dict[str, Any], time_ns: int) -> LedgerRecord:
        """Its tap will not say what has left: of that it says nothing, and not that it was nothing."""
        self._follow(asked, "ended")
        said = f"the capture is over: {GONE}; what had left by then only whoever asked knows"
        log.warning("%s", said)
        return self._made_of(asked | {"state": "ended"}, time_ns, {"summary": said, "why": GONE})

    def _record(self, epoch: str, one: Capture, state: str) -> tuple[LedgerRecord, str]:
        asked = _asked(epoch, one) | {"state": state}
        time_ns = one.since_ns if state == "began" else one.ended_ns
        said = f"activations of layers {[*one.layers]} leave the server, asked by uid {one.by_uid}: {asked['reason']}"
        more: dict[str, Any] = {}
        if state == "ended":
            more = {
                "why": printable(one.why, MAX_TEXT),
                "requests": one.requests,
                "rows": one.rows,
                "bytes": one.bytes,
                "lost": {printable(name, 32): n for name, n in sorted(one.lost.items())},
            }
            said = f"the capture is over: {more['why']}; {one.rows} rows of {one.requests} requests have left"
        return self._made_of(asked, time_ns, {"summary": said, **more}), said

    def _made_of(
        self, asked: Mapping[str, Any], time_ns: int, more: Mapping[str, Any]
    ) -> LedgerRecord:
        """Stored and never sent: it is about us, and no finding."""
        # Of what was asked alone: a line that hears it again, or a greeting that comes twice, says the same.
        identity = record_id(time_ns, canonical([KIND, self._ledger, asked]))
        core = {"v": VERSION, "event_id": identity, "kind": KIND, "time_ns": time_ns}
        return LedgerRecord(identity, canonical({**core, **asked, **more}), None, deliverable=False)


def _asked(epoch: str, one: Capture) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "capture": printable(one.id, 32),
        "reason": printable(one.reason, MAX_TEXT),
        "by_uid": one.by_uid,
        "until_ns": one.until_ns,
        "layers": list(one.layers),
        "sample_ppm": one.sample_ppm,
        "max_bytes": one.max_bytes,
        "max_requests": one.max_requests,
        "out": printable(one.out, MAX_TEXT),
    }
