"""The canary: once an hour a finding that we planted ourselves goes the way of all findings, and must come out.

Bytes of the wire are read, joined and scored against a rule of our own, by the code that does it for servers, but
beside them: no server, rule or count of anybody sees it. What comes out is a record that is committed, sent and kept
like any other, marked as what it is. It begins behind the socket; what lies before it a tap checks by itself. That no
canary arrives is for others to notice: here only is known whether one was made.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import ROWS, Scope, StepFrame
from dosimeter.monitor.alerts import Decided
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.history.reader import CANARY
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.records import Close, Column, Hello, Open
from dosimeter.monitor.servers import Server
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.wire import Kind
from dosimeter.rules.alert import record_id
from dosimeter.rules.canonical import canonical
from dosimeter.rules.language.schema import parse_rules
from dosimeter.rules.program import Program, compile_program

log = logging.getLogger(__name__)

VERSION = 1
KIND = "canary"
FIRST_NS = 600 * 10**9
"""After the start: a line that dies soon, each time, makes none, and that is noticed."""
EVERY_NS = 3600 * 10**9
EPOCH, KEY = 1, 1
PROMPT = 3
CALM, PLANTED = 0, 5 * 256  # codes
TOKENS = (CALM,) * PROMPT + (*(CALM,) * 3, *(PLANTED,) * 4, CALM)
DECIDED = PROMPT + 4
"""The second planted token: two of 5 sd in four make 2.5, one makes 1.25, and the rule says 2."""
COLUMN = Column("canary", "00" * 32, "canary")
RULE = """\
version: 1
rules:
  - rule: canary
    when: {feature: canary, in: answer, above: z 2, average: 4 tokens}
    status: live
    severity: low
    owner: dosimeter
    summary: planted
"""


class CanaryFailed(RuntimeError):
    """What was planted did not come out."""


class Canary:
    """Ask it at every housekeeping."""

    def __init__(
        self,
        ledger: str = "",
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        time_ns: Callable[[], int] = time.time_ns,
        program: Callable[[], Program] | None = None,
    ) -> None:
        """ledger: identity of the one that the records go to. program: in the place of the canary's own."""
        self._ledger, self._time_ns = ledger, time_ns
        self._due_ns = monotonic_ns() + FIRST_NS
        self._program = program or canary_program
        self.made_ns: int | None = None
        self.error: str | None = None

    def look(self, now_ns: int) -> list[LedgerRecord]:
        """A canary where one is due. now_ns: monotonic. Never raises."""
        if now_ns < self._due_ns:
            return []
        self._due_ns = now_ns + EVERY_NS
        try:
            run(self._program())
        except Exception as error:  # whatever it is, the line goes on
            self.error = f"{type(error).__name__}: {error}"
            log.exception("a canary did not come out of the line")
            return []
        self.error, self.made_ns = None, self._time_ns()
        return [self._record(self.made_ns)]

    def status(self) -> dict[str, Any]:
        return {"made_ns": self.made_ns, "error": self.error}

    def _record(self, time_ns: int) -> LedgerRecord:
        identity = record_id(time_ns, canonical([KIND, self._ledger, time_ns]))
        core = {
            "v": VERSION,
            "event_id": identity,
            "kind": KIND,
            "time_ns": time_ns,
            "rule": CANARY,
            "severity": "low",
            "tokens": len(TOKENS),
            "summary": "canary: planted by the sidecar to see that what it sends arrives; no finding",
        }
        return LedgerRecord(identity, canonical(core), None, deliverable=True)


def canary_program() -> Program:
    calibration = Calibration(
        features=(COLUMN.feature,),
        packs=(COLUMN.pack,),
        codes=np.zeros((1, 1), np.int16),
        offsets=np.array([0, 1], np.int64),
        scopes=np.array([int(Scope.ANSWER)], np.uint8),
        corpus="none",
        date="2026-01-01",
    )
    return compile_program(parse_rules(RULE), (COLUMN,), (calibration,))


def run(program: Program) -> None:
    """Through everything between the socket and the writer. Raises CanaryFailed."""
    column = {"feature": COLUMN.feature, "pack": COLUMN.pack, "packName": COLUMN.pack_name}
    hello = {"state": "live", "columns": [column]}
    server = Server.begin(EPOCH, Hello.parse(_body(Kind.HELLO, hello)), program, None, Decisions())
    server.open(Open.parse(_body(Kind.OPEN, {"key": KEY, "prompt_len": PROMPT})), "tap")
    found = server.step(_step())
    closing = {"key": KEY, "outcome": "finished", "served": len(TOKENS), "emitted": len(TOKENS)}
    found += server.close(Close.parse(_body(Kind.CLOSE, closing)), 0)[0]
    _check(found, server)


def _check(found: list[Decided], server: Server) -> None:
    each = [one.record for one in found]
    if len(each) != 1 or each[0] is None:
        raise CanaryFailed(f"one finding was planted, {len(each)} came out")
    said = json.loads(each[0].core)
    if (said["decision"], said["position"]) != ("notified", DECIDED):
        raise CanaryFailed(
            f"{said['decision']} at token {said['position']}, not notified at {DECIDED}"
        )
    account = server.join.account
    if (account.served, account.scored, account.unaccounted) != (len(TOKENS), len(TOKENS), 0):
        raise CanaryFailed(f"{account.scored} of {len(TOKENS)} tokens were counted as scored")


def _body(kind: Kind, record: Mapping[str, Any]) -> dict[str, Any]:
    data = wire.control_message(kind, EPOCH, 0, _COUNTERS, wire.control_body(record))
    found = wire.unpack(data).body
    assert isinstance(found, dict)  # of these kinds every body is one
    return found


def _step() -> StepFrame:
    rows = np.array([(KEY, 0, len(TOKENS), 0, 0)], ROWS)
    codes = np.array(TOKENS, np.int16)[:, None]
    prefix = wire.step_prefix(EPOCH, 0, _COUNTERS, rows, codes)
    found = wire.unpack(prefix + rows.tobytes() + codes.tobytes()).body
    assert isinstance(found, StepFrame)  # as above
    return found


_COUNTERS = (0,) * len(wire.COUNTERS.names or ())
