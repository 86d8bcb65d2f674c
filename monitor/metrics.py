"""Every metric that we send: name, unit, attributes and what it says, in one table.

It knows nothing of OpenTelemetry: `telemetry` exports what is recorded under these names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    TOTAL = "total"  # the caller states the cumulative total; it never falls
    COUNT = "count"  # the caller states how many more
    GAUGE = "gauge"  # the caller states the value as it is now
    DURATION = "duration"  # the caller states one duration in seconds; exponential histogram


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: Kind
    unit: str  # UCUM
    attributes: tuple[str, ...]  # all it may carry; each has few values
    description: str


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "dosimeter.tokens",
            Kind.TOTAL,
            "{token}",
            ("outcome", "reason"),
            "tokens served, by outcome: scored, unscored with its reason, unaccounted",
        ),
        Metric(
            "dosimeter.coverage",
            Kind.GAUGE,
            "1",
            (),
            "share of served tokens that were scored",
        ),
        Metric(
            "dosimeter.requests",
            Kind.TOTAL,
            "{request}",
            ("state",),
            "requests seen, by state: opened, closed",
        ),
        Metric(
            "dosimeter.alerts",
            Kind.COUNT,
            "{alert}",
            ("rule", "severity", "decision"),
            "what was decided of hits; an exemplar is the trace of the latest request of a series",
        ),
        Metric(
            "dosimeter.scores",
            Kind.TOTAL,
            "{token}",
            ("feature", "le"),
            "tokens that scored at most `le` benign standard deviations, since the sidecar started",
        ),
        Metric(
            "dosimeter.decision.duration",
            Kind.DURATION,
            "s",
            (),
            "from the last hook of a step to the decisions on it",
        ),
        Metric(
            "dosimeter.durable.duration",
            Kind.DURATION,
            "s",
            (),
            "from the decision to its commit in the ledger",
        ),
        Metric(
            "dosimeter.tap.state",
            Kind.GAUGE,
            "1",
            ("state",),
            "1 for the state the tap is in (live, blind, no-pack, idle, silent, absent), else 0",
        ),
        Metric(
            "dosimeter.line.cpu",
            Kind.TOTAL,
            "s",
            (),
            "processor time of the line, which has one core at most",
        ),
        Metric(
            "dosimeter.paused",
            Kind.GAUGE,
            "1",
            (),
            "1 while somebody has paused the monitor, else 0",
        ),
        Metric(
            "dosimeter.rules.drifted",
            Kind.GAUGE,
            "{rule}",
            (),
            "`shift` rules that find live scores drifted from their calibration",
        ),
        Metric(
            "dosimeter.canary.failed",
            Kind.GAUGE,
            "1",
            (),
            "1 while a planted finding does not come out of the line, else 0",
        ),
        Metric(
            "dosimeter.servers.missing",
            Kind.GAUGE,
            "{server}",
            (),
            "servers that are expected and not live; page on this",
        ),
        Metric(
            "dosimeter.files.lost",
            Kind.GAUGE,
            "1",
            ("file",),
            "1 while the socket or the ledger was moved away or replaced, else 0",
        ),
        Metric(
            "dosimeter.clock.jumps",
            Kind.TOTAL,
            "{jump}",
            (),
            "times the wall clock was set under the sidecar",
        ),
        Metric(
            "dosimeter.ledger.stalled",
            Kind.GAUGE,
            "1",
            (),
            "1 while the ledger cannot commit and nothing is read from the wire",
        ),
        Metric(
            "dosimeter.ledger.size",
            Kind.GAUGE,
            "By",
            (),
            "of the ledger's file",
        ),
        Metric(
            "dosimeter.disk.free",
            Kind.GAUGE,
            "By",
            (),
            "what is left on the disk of the ledger",
        ),
        Metric(
            "dosimeter.archive.stalled",
            Kind.GAUGE,
            "1",
            (),
            "1 while no scores are spooled: the disk takes none, or they give way to alerts",
        ),
        Metric(
            "dosimeter.archive.tokens",
            Kind.TOTAL,
            "{token}",
            ("outcome",),
            "scored tokens on their way to the archive, by outcome: spooled, dropped, expired",
        ),
        Metric(
            "dosimeter.history.stalled",
            Kind.GAUGE,
            "1",
            (),
            "1 while history can store or sign nothing",
        ),
        Metric(
            "dosimeter.history.verify.failed",
            Kind.GAUGE,
            "1",
            (),
            "1 where the last verification of history found something wrong, else 0",
        ),
        Metric(
            "dosimeter.history.verify.age",
            Kind.GAUGE,
            "s",
            (),
            "since history last verified itself; a day is as it should be",
        ),
        Metric(
            "dosimeter.fleet.partitions",
            Kind.GAUGE,
            "{partition}",
            ("fleet", "stage"),
            "share of a member of the fleet, by stage: routing (of the feed), counting (of hits)",
        ),
        Metric(
            "dosimeter.fleet.topic.partitions",
            Kind.GAUGE,
            "{partition}",
            ("fleet", "stage"),
            "of the topic; the shares of all members of a fleet must add up to as many",
        ),
        Metric(
            "dosimeter.fleet.lag",
            Kind.GAUGE,
            "{record}",
            ("stage",),
            "records of its share that were not read yet, as far as the brokers have said",
        ),
        Metric(
            "dosimeter.fleet.stalled",
            Kind.GAUGE,
            "1",
            ("stage",),
            "1 while a stage cannot read, send or commit, or does not turn, else 0",
        ),
        Metric(
            "dosimeter.fleet.missing",
            Kind.TOTAL,
            "{record}",
            ("stage",),
            "records that a topic did not keep until they were read: counts lack them",
        ),
        Metric(
            "dosimeter.fleet.positions.missing",
            Kind.GAUGE,
            "{alert}",
            (),
            "positions of sidecars that did not come over the feed, or have not yet",
        ),
        Metric(
            "dosimeter.fleet.routed",
            Kind.TOTAL,
            "{hit}",
            ("outcome",),
            "hits on their way to where they are counted, by outcome: sent, refused",
        ),
        Metric(
            "dosimeter.fleet.hits",
            Kind.TOTAL,
            "{hit}",
            ("outcome",),
            "hits by what became of them: counted, of_no_rule, late, unattributed, refused",
        ),
        Metric(
            "dosimeter.fleet.groups",
            Kind.GAUGE,
            "{group}",
            (),
            "groups whose windows are open now",
        ),
        Metric(
            "dosimeter.log.lines",
            Kind.TOTAL,
            "{line}",
            ("process", "level"),
            "warnings and errors that a process (line, deliver, history, fleet) has logged",
        ),
        Metric(
            "dosimeter.delivery.accepted",
            Kind.TOTAL,
            "{alert}",
            ("sink",),
            "deliverable alerts in the ledger",
        ),
        Metric(
            "dosimeter.delivery.delivered",
            Kind.TOTAL,
            "{alert}",
            ("sink",),
            "alerts the sink has acknowledged",
        ),
        Metric(
            "dosimeter.delivery.dead",
            Kind.GAUGE,
            "{alert}",
            ("sink",),
            "alerts the sink refused for what they are; fewer again when they are replayed",
        ),
        Metric(
            "dosimeter.delivery.withheld",
            Kind.TOTAL,
            "{alert}",
            ("sink",),
            "alerts that a second look kept from the sink",
        ),
        Metric(
            "dosimeter.delivery.queued",
            Kind.GAUGE,
            "{alert}",
            ("sink",),
            "alerts accepted and not yet settled with the sink",
        ),
        Metric(
            "dosimeter.delivery.unaccounted",
            Kind.GAUGE,
            "{alert}",
            ("sink",),
            "accepted - delivered - dead - withheld - queued: must be 0",
        ),
        Metric(
            "dosimeter.delivery.oldest.age",
            Kind.GAUGE,
            "s",
            ("sink",),
            "age of the oldest queued alert; page on this, not on the number queued",
        ),
        Metric(
            "dosimeter.delivery.canary.age",
            Kind.GAUGE,
            "s",
            ("sink",),
            "since the last canary that reached the sink was planted, or delivery began; an hour is well",
        ),
        Metric(
            "dosimeter.delivery.scores.archived",
            Kind.TOTAL,
            "{token}",
            (),
            "kept by the archive since scores are sent: archived = sent + waiting + dropped",
        ),
        Metric(
            "dosimeter.delivery.scores.sent",
            Kind.TOTAL,
            "{token}",
            (),
            "scored tokens that the topic of scores has acknowledged",
        ),
        Metric(
            "dosimeter.delivery.scores.waiting",
            Kind.GAUGE,
            "{token}",
            (),
            "scored tokens in the outbox",
        ),
        Metric(
            "dosimeter.delivery.scores.dropped",
            Kind.TOTAL,
            "{token}",
            ("reason",),
            "scored tokens that are not sent, by reason: full, behind, room, refused, unreadable, closed",
        ),
        Metric(
            "dosimeter.confirm.asked",
            Kind.TOTAL,
            "{question}",
            ("confirmer",),
            "questions put to a confirmer, second tries too",
        ),
        Metric(
            "dosimeter.confirm.verdicts",
            Kind.TOTAL,
            "{alert}",
            ("confirmer", "answer"),
            "alerts that a second look was asked of, by answer: yes, no, unanswered",
        ),
        Metric(
            "dosimeter.confirm.cost",
            Kind.TOTAL,
            "1",
            ("confirmer",),
            "what a confirmer said its answers cost, in its own unit",
        ),
        Metric(
            "dosimeter.confirm.time",
            Kind.TOTAL,
            "s",
            ("confirmer",),
            "time from the first question to the verdict, added up",
        ),
    )
}
