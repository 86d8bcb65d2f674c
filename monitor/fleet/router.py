"""From what sidecars sent to history to hits by group: the first of the two stages of a fleet.

A hit is sent on before its offset is committed, so a crash repeats and loses nothing; whoever counts knows a hit that
comes twice. It reads the feed of history as a group of its own, and knows nothing of windows or of what was exceeded.
"""

from __future__ import annotations

import json
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kafka import TopicPartition

from dosimeter.monitor.feed.items import Alert, Blob, Item, Refused
from dosimeter.monitor.feed.topic import item_at
from dosimeter.monitor.fleet.gaps import FeedGaps
from dosimeter.monitor.fleet.hit import MAX_WIRE, record
from dosimeter.monitor.fleet.member import FleetAway, Member
from dosimeter.monitor.recounting import stored_occurrence
from dosimeter.monitor.refusals import Refusals
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.kafka import KafkaSink, build_producer
from dosimeter.monitor.sinks.sink import Result
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import Policy

BATCH = 500
TEXTS = 10_000
"""Texts of rules that are kept, the latest."""


class Router:
    """Use it from one thread. seen: hits sent on, records refused."""

    def __init__(
        self,
        member: Member,
        hits: KafkaConfig,
        rules: Callable[[], Sequence[SecondRule]],
        texts: Callable[[], Mapping[str, bytes]],
        *,
        connect: Callable[[KafkaConfig], Any] = build_producer,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """rules: that count now. texts: of the rules in force here, by hash."""
        self._member, self._rules, self._texts = member, rules, texts
        self._time_ns = time_ns
        self._sink = KafkaSink(hits, connect=connect, record=lambda one: one)
        self._blobs: OrderedDict[str, bytes] = OrderedDict()
        self._gaps = FeedGaps()
        self._refusals = Refusals(time_ns, "not counted")
        self._came: dict[TopicPartition, list[tuple[int, Item]]] = {}  # in this step
        self.seen: Counter[str] = Counter()
        self.told = self._status()  # as of the last step: the client is one thread's

    def step(self, timeout_s: float) -> int:
        """Send on what came; how many records that were. Raises FleetAway: the same comes again then."""
        try:
            return self._step(timeout_s)
        except BaseException:
            self.close()  # else the next poll would go on behind what was not sent
            self.told = self._status()
            raise

    def _step(self, timeout_s: float) -> int:
        polled = self._member.poll(timeout_s, BATCH)
        self._refusals.tell()
        self._gaps.end(self._member.left() | (self._gaps.partitions - self._member.assigned))
        for at in sorted((self._member.assigned | polled.keys()) - self._gaps.partitions):
            stored = self._member.committed(at)
            self._gaps.begin(at, None if stored is None else stored[0])
        counted = _by_rule(self._rules())
        self._came = {at: [] for at in self._gaps.partitions}
        found = [
            one for rows in polled.values() for row in rows for one in self._records(row, counted)
        ]
        sent = self._send(found)
        self._member.commit({of: (rows[-1].offset + 1, "") for of, rows in polled.items() if rows})
        # Only now: what is not committed comes again, and its gaps with it.
        for at, came in self._came.items():
            self._gaps.see(at, came, self._time_ns())
        self.seen["sent"] += sent
        self.told = self._status()
        return sum(map(len, polled.values()))

    def _status(self) -> dict[str, Any]:
        """For people: this member's share of the feed, what it sent on, and what never came."""
        return {
            "partitions": sorted(at.partition for at in self._gaps.partitions),
            "topic_partitions": self._member.topic_partitions,
            "sent": self.seen["sent"],
            "refused": self.seen["refused"],
            "lag": self._member.lag(),
            **self._gaps.as_dict(),
        }

    def _records(
        self, row: Any, counted: Mapping[str, Sequence[SecondRule]]
    ) -> list[dict[str, Any]]:
        """Of one record of the feed; of one that cannot be counted, whoever wrote it, none."""
        try:
            made = [
                record(rule, of, event_id)
                for of, event_id in self._hits_of(row)
                for rule in counted.get(of.rule, ())
            ]
            if any(len(one["value"]) > MAX_WIRE for one in made):
                raise ValueError(f"longer than {MAX_WIRE} bytes")
        except Exception as error:
            self._refuse(f"{row.topic}-{row.partition} offset {row.offset}", repr(error))
            return []
        return made

    def _refuse(self, where: str, because: str) -> None:
        self.seen["refused"] += 1
        self._refusals.add(where, because)

    def close(self) -> None:
        self._sink.close()
        self._gaps.end(self._gaps.partitions)
        self._member.close()

    def _send(self, records: list[dict[str, Any]]) -> int:
        """How many are there now; what the brokers refuse for what it is holds up none of the others."""
        outcomes = self._sink.send(records) if records else []
        for outcome in outcomes:
            if outcome.result is Result.RETRY:
                raise FleetAway(outcome.reason)
        dead = 0
        for one, outcome in zip(records, outcomes, strict=True):
            if outcome.result is Result.DEAD:
                dead += 1
                self._refuse(f"hit {json.loads(one['value'])['hit']}", outcome.reason)
        return len(records) - dead

    def _hits_of(self, row: Any) -> Iterator[tuple[Occurrence, str]]:
        item = item_at(f"{row.topic}-{row.partition} offset {row.offset}", row.key, row.value)
        self._came[TopicPartition(row.topic, row.partition)].append((row.offset, item))
        if isinstance(item, Blob):
            self._blobs[item.sha256] = item.body
            while len(self._blobs) > TEXTS:
                self._blobs.popitem(last=False)
        elif isinstance(item, Refused):
            self._refuse(item.where, item.because)
        elif isinstance(item, Alert):
            of = self._occurrence(json.loads(item.core), row.timestamp)
            if of is not None:
                yield of, item.event_id

    def _occurrence(self, core: Any, sent_ms: int) -> Occurrence | None:
        """None: it is no hit."""
        if core["kind"] != "alert":
            return None
        return stored_occurrence(
            core["rule"],
            core["rule_sha256"],
            core["status"],
            core["decision"],
            # A server whose clock is ahead moves nothing; a record's own time is the same at a second reading.
            min(core["time_ns"], (sent_ms + 1) * 1_000_000),
            core["epoch"],
            core["key"],
            core["model"]["name"],
            {n: v for n, v in core["labels"].items() if n in core["trusted"]},
            self._policy,
        )

    def _policy(self, sha256: str) -> Policy | None:
        body = self._texts().get(sha256) or self._blobs.get(sha256)
        return None if body is None else Policy.from_json(json.loads(body))


def _by_rule(rules: Sequence[SecondRule]) -> dict[str, list[SecondRule]]:
    found: dict[str, list[SecondRule]] = {}
    for rule in rules:
        if isinstance(rule.when, Count):
            for name in rule.when.of:
                found.setdefault(name, []).append(rule)
    return found
