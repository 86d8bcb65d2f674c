"""From a hit to the record that the ledger takes: who asked, which model, how much was seen.

It adds to a hit what the engine does not know, and knows nothing of where the record goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dosimeter.monitor.coverage import Positions
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.records import Hello, Open
from dosimeter.rules.alert import AlertContext, build_alert
from dosimeter.rules.decide import Decision
from dosimeter.rules.engine import Hit


@dataclass(frozen=True, slots=True)
class Decided:
    """A record on its way to the writer, and what is counted of it.

    record is None where none could be made, a defect of ours: `defect` is what is kept instead.
    """

    record: LedgerRecord | None
    rule: str
    severity: str
    decision: str  # a word of rules/decide.py, or `defect`
    defect: Mapping[str, object] = field(default_factory=dict)
    traceparent: str = ""  # of the request, as its client sent it


def decide(
    hit: Hit,
    decision: Decision,
    *,
    epoch: int,
    hello: Hello,
    opened: Open,
    positions: Positions,
    time_ns: int,
    evidence: bytes,
) -> Decided:
    """The record of one hit, of which this was decided. evidence: its body as far as it exists now."""
    context = AlertContext(
        time_ns=time_ns,
        epoch=epoch,
        model=hello.model.get("name", ""),
        model_digest=hello.model.get("digest", ""),
        labels=opened.labels,
        trusted=opened.trusted,
        coverage=_coverage(opened, positions),
    )
    alert = build_alert(hit, context, decision)
    record = LedgerRecord(alert.event_id, alert.canonical, evidence, alert.deliverable)
    sent = opened.labels.get("traceparent", "")
    rule, severity = hit.rule, hit.compiled.severity
    return Decided(record, rule, severity, decision.decision, traceparent=sent)


def undecided(hit: Hit, epoch: int, time_ns: int, error: Exception) -> Decided:
    """A hit that no record could be made of: its facts, for the file of what the ledger cannot take."""
    facts = {slot: getattr(hit, slot) for slot in Hit.__slots__ if slot != "compiled"}
    defect = {"hit": facts, "epoch": f"{epoch:016x}", "time_ns": time_ns, "error": repr(error)}
    return Decided(None, hit.rule, hit.compiled.severity, "defect", defect)


def _coverage(opened: Open, positions: Positions) -> str:
    """What the reader of an alert must know of the tokens before it that have no score."""
    seen = positions.scored(positions.next)
    parts = [f"{seen} of {positions.next} tokens of this request were scored so far"]
    if not opened.spans_exact and opened.prompt_len:
        parts.append("roles within the prompt are not verified: all of it counts as message")
    return "; ".join(parts)
