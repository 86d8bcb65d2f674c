"""A capture on record: each that a tap tells of goes into the ledger, its beginning and its end, and so into history.

The tap says it in its greeting before the first row leaves, whoever asked and wherever the rows go; a line that was
away hears it when it is back. Nothing here knows what was captured, or how.
"""

from __future__ import annotations

import logging
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
"""Records that need not be made again; the ledger takes a second one for the first."""


class CaptureNotes:
    """Told every greeting. ledger: identity of the one that the records go to."""

    def __init__(self, ledger: str = "") -> None:
        self._ledger = ledger
        self._made: dict[str, None] = {}

    def heard(self, epoch: str, hello: Hello) -> list[LedgerRecord]:
        """What is new of it. An end stands for its beginning too, which may have been said to nobody."""
        one = hello.capture
        if one is None or hello.role == "front":
            return []
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

    def _record(self, epoch: str, one: Capture, state: str) -> tuple[LedgerRecord, str]:
        """Stored and never sent: it is about us, and no finding."""
        asked = {
            "state": state,
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
        time_ns = one.since_ns if state == "began" else one.ended_ns
        # Of what was asked alone: a line that hears it again, or a greeting that comes twice, says the same.
        identity = record_id(time_ns, canonical([KIND, self._ledger, asked]))
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
        core = {
            "v": VERSION,
            "event_id": identity,
            "kind": KIND,
            "time_ns": time_ns,
            "summary": said,
            **asked,
            **more,
        }
        return LedgerRecord(identity, canonical(core), None, deliverable=False), said
