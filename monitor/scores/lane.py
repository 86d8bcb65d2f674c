"""From the outbox of scores to their topic: in order, and given up before anything else is.

Scores are telemetry. What waits too long or too much, and what a broker refuses, is dropped and counted in tokens, and
this thread rests as long as it and its client have worked, so that the lanes of alerts, which it shares an interpreter
with, come first. It has a producer of its own: a buffer full of scores holds up no alert. It never looks into a record.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from dosimeter.monitor.lane import Backoff
from dosimeter.monitor.scores.outbox import (
    BEHIND_BYTES,
    AccountError,
    Broken,
    Outbox,
    Packed,
    Waiting,
    read_packed,
)
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.sinks.sink import Outcome, Result, retry

log = logging.getLogger(__name__)

SCHEMA = "dosimeter.scores.v1"
BATCH = 128
"""Records in flight: about 1 MiB."""
REST = 2.0
"""Seconds of rest for one of processor time, of which the client's own thread takes as much again."""
IDLE_S = 0.5
SAVE_S = 1.0
"""From one save to the next within a file: as much may come twice after a kill, and alerts have the disk."""
CLIENT = "dosimeter-scores"
"""A client of its own for the broker: its quota can hold scores back and leave alerts alone."""


class ScoreSink(Protocol):
    """Kafka's, or one of a test."""

    def send(self, batch: Sequence[Packed]) -> list[Outcome]: ...

    def close(self) -> None: ...


class ScoreLane:
    """`step` does one thing and says how long to wait. Use it from one thread."""

    def __init__(
        self,
        sink: ScoreSink,
        outbox: Outbox,
        *,
        backoff: Backoff,
        behind_bytes: int = BEHIND_BYTES,
        now_ns: Callable[[], int] = time.time_ns,
        up_s: Callable[[], float] = time.monotonic,
        worked_s: Callable[[], float] = time.thread_time,
    ) -> None:
        """Raises AccountError, OSError."""
        self._sink, self._outbox, self._backoff = sink, outbox, backoff
        self._behind_bytes, self._now_ns = behind_bytes, now_ns
        self._up_s, self._worked_s = up_s, worked_s
        self._sent = outbox.sent()
        self._saved_s = up_s()

    def step(self) -> float:
        """Returns seconds to wait before the next one. Raises OSError: begin anew from the account."""
        began_s = self._worked_s()
        files = self._due()
        if not files:
            return IDLE_S
        try:
            batch = list(read_packed(files[0].path, self._sent.at, BATCH))
        except Broken as error:
            log.error("%s", error)
            self._done(files[0], "unreadable")
            return 0.0
        pause_s = self._settle(batch, self._send([one for one, _ in batch]))
        if pause_s is not None:
            self._save()
            return pause_s
        if len(batch) < BATCH:
            self._done(files[0], "unreadable")  # of a whole file nothing is left
        elif self._up_s() - self._saved_s >= SAVE_S:
            self._save()
        return REST * (self._worked_s() - began_s)

    def close(self) -> None:
        """Raises OSError."""
        self._sink.close()
        if self._sent != self._outbox.sent():
            self._save()

    def _send(self, batch: Sequence[Packed]) -> list[Outcome]:
        if not batch:
            return []
        try:
            return self._sink.send(batch)
        except Exception as error:  # whatever a client raises must not end the lane
            self._sink.close()
            return [retry(f"sink failed: {error!r}")] * len(batch)

    def _due(self) -> list[Waiting]:
        """What is to be sent; behind it is what is done with, and what is skipped."""
        found = []
        accounted = self._outbox.handed().through
        for one in self._outbox.waiting():
            if one.sequence <= self._sent.through:
                one.path.unlink(missing_ok=True)
            elif one.sequence <= accounted:
                found.append(one)
        room = self._outbox.has_room()
        sizes = {one.sequence: one.size for one in found}
        while found and (not room or (len(found) > 1 and sum(sizes.values()) > self._behind_bytes)):
            skipped = found.pop(0)
            del sizes[skipped.sequence]
            log.warning("%d scores are not sent: %s", skipped.tokens, "behind" if room else "room")
            self._done(skipped, "behind" if room else "room")
        return found

    def _settle(
        self, batch: Sequence[tuple[Packed, int]], outcomes: Sequence[Outcome]
    ) -> float | None:
        """Up to the first that has to be sent again, after so many seconds; None: there is none."""
        sent = self._sent
        for (one, end), outcome in zip(batch, outcomes, strict=True):
            if outcome.result is Result.RETRY:
                now_ns = self._now_ns()
                self._sent = replace(sent, last_error=outcome.reason, last_error_ns=now_ns)
                return self._backoff.next_s(outcome.after_s or 0.0)
            what = "sent" if outcome.result is Result.DELIVERED else "refused"
            sent = replace(
                sent,
                at=end,
                here=sent.here + one.tokens,
                records=sent.records + (what == "sent"),
                **{what: getattr(sent, what) + one.tokens},
            )
            if what == "refused":
                sent = replace(sent, last_error=outcome.reason, last_error_ns=self._now_ns())
        self._backoff.reset()
        if all(outcome.result is Result.DELIVERED for outcome in outcomes):
            sent = replace(sent, last_error=None, last_error_ns=None)
        self._sent = replace(sent, last_ack_ns=self._now_ns())
        return None

    def _done(self, file: Waiting, otherwise: str) -> None:
        """Nothing more of it is sent: what was not counted as sent or refused, if anything, is counted as that."""
        left = file.tokens - self._sent.here
        counts = {otherwise: getattr(self._sent, otherwise) + left}
        self._sent = replace(self._sent, through=file.sequence, at=0, here=0, **counts)
        self._save()
        file.path.unlink(missing_ok=True)

    def _save(self) -> None:
        self._outbox.save(self._sent)
        self._saved_s = self._up_s()


def kafka_sink(config: KafkaConfig) -> ScoreSink:
    """Not connected yet."""
    from dosimeter.monitor.sinks.kafka import KafkaSink, build_producer

    topic = config.scores or ""
    return KafkaSink(
        replace(config, topic=topic),
        connect=partial(build_producer, client_id=CLIENT),
        record=score_record,
    )


def score_record(one: Packed) -> dict[str, Any]:
    """Keyword arguments of `send`."""
    headers = [("schema", SCHEMA.encode()), ("content-type", b"application/octet-stream")]
    return {"key": one.key, "value": one.value, "headers": headers}


def run_scores(
    kafka: KafkaConfig, outbox: Outbox, stop: threading.Event, sink: ScoreSink | None = None
) -> None:
    """Until `stop` is set: what waits then is in the outbox, and is sent after the next start. Blocks."""
    backoff, trouble = Backoff(0.1, 5.0), Backoff(0.1, 5.0)
    sink = kafka_sink(kafka) if sink is None else sink
    while not stop.is_set():
        try:
            lane = ScoreLane(sink, outbox, backoff=backoff)
            while not stop.wait(lane.step()):
                trouble.reset()
            lane.close()
        except (OSError, AccountError) as error:
            log.warning("scores are not sent: %s", error)
            stop.wait(trouble.next_s())
        except (
            Exception
        ):  # a fault of ours: a thread that died would look like a topic that takes nothing
            log.exception("scores are not sent")
            stop.wait(trouble.next_s())
