"""The demo: a real server watched from activations to alerts as a consumer reads them.

`once` sends a fixed set of conversations and holds what came out against what had to; `Consumer`
reads the topic as anybody else would. Nothing here decides an alert: the processes on the stage do.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kafka.errors import KafkaError

import dosimeter.rules as rules
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, StoreError, StoreStalled
from dosimeter.monitor.canary import KIND as CANARY
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.lab import CALIBRATION, MODEL, PACK, traffic
from dosimeter.monitor.lab.clients import Exchanged, Traffic
from dosimeter.monitor.lab.readback import ReadBackTimeout, follow, read_back
from dosimeter.monitor.lab.stage import Stage, StageError
from dosimeter.monitor.lab.traffic import Conversation

RULES = Path(str(rules.__file__)).parent / "packs" / "lab.yaml"
CONTENT_TENANT = "north-bank"
"""The one tenant of the demo that chose to have its text kept with alerts."""

CLIENTS, PER_S = 6, 8.0
SETTLE_S = 30.0


@dataclass(frozen=True)
class Cast:
    """What a demo runs: a model, what is fitted to it, and the conversations to send."""

    model: Path
    packs: tuple[Path, ...]
    calibrations: tuple[Path, ...]
    conversations: Callable[[int], list[Conversation]]

    @classmethod
    def lab(cls) -> Cast:
        def told(seed: int) -> list[Conversation]:
            return [
                replace(c, conversation=f"{c.conversation}.{seed}")
                for c in traffic.demo_conversations(seed)
            ]

        return cls(MODEL, (PACK,), (CALIBRATION,), told)

    @classmethod
    def own(cls, model: Path) -> Cast:
        """Somebody's own model: nothing is fitted to it, so its tokens are counted and none may alert."""

        def everyday(seed: int) -> list[Conversation]:
            texts = ("Hello!", "How do I make soup?", "How do I spot a scam?", "Who are you?")
            return [
                Conversation(
                    f"everyday {seed}.{i}",
                    "own",
                    "own-user",
                    f"own-{seed}-{i}",
                    ({"role": "user", "content": text},),
                    stream=i % 2 == 0,
                )
                for i, text in enumerate(texts)
            ]

        return cls(model, (), (), everyday)

    def stage(self, say: Callable[[str], None], keep: Path | None = None) -> Stage:
        return Stage(
            self.model,
            packs=self.packs,
            calibrations=self.calibrations,
            rules=(RULES,),
            content_tenants=(CONTENT_TENANT,),
            history=True,
            keep=keep,
            say=say,
        )


@dataclass
class Consumer:
    """Alerts as a consumer of the topic gets them, in order of arrival."""

    bootstrap: str
    alerts: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1000))
    first_at: float | None = None  # monotonic
    total: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for record in follow(self.bootstrap, self._stop.is_set):
            self.total += 1
            if (alert := json.loads(record.value))["kind"] == CANARY:
                continue  # it has arrived: that is all it is for
            self.first_at = self.first_at or time.monotonic()
            self.alerts.append(alert)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)


def once(cast: Cast, say: Callable[[str], None], keep: Path | None = None) -> dict[str, Any]:
    """Every conversation once; returns the report, whose `ok` says whether all of it is as it must be.

    keep: a folder for the alerts and scores.
    """
    started = time.monotonic()
    with cast.stage(say, keep) as stage:
        consumer = Consumer(stage.broker.bootstrap)
        conversations = cast.conversations(0)
        say(f"traffic: {len(conversations)} conversations")
        sent = Traffic(stage.url, str(cast.model), conversations, CLIENTS, PER_S).start()
        while sent.running:
            time.sleep(0.05)
        status = settled(stage, sent.done)
        consumer.stop()
        first = consumer.first_at
        return {
            **report(stage, status, sent.done),
            "first_alert_s": None if first is None else round(first - started, 1),
            "seconds": round(time.monotonic() - started, 1),
        }


def settled(stage: Stage, done: Sequence[Exchanged]) -> dict[str, Any]:
    """The sidecar's status once every reply is accounted for and every alert delivered, or time is up."""
    replies = sum(exchanged.error is None for exchanged in done)
    deadline = time.monotonic() + SETTLE_S
    while True:
        status = stage.status() or {}
        closed = status.get("coverage", {}).get("requests", 0) >= replies
        sinks = status.get("delivery", {}).get("sinks", {})
        waiting = status.get("ledger", {}).get("waiting", 1)
        if closed and not waiting and sinks and not any(s["queued"] for s in sinks.values()):
            return status
        if time.monotonic() > deadline:
            if not status:
                raise StageError(f"the sidecar does not answer\n{stage.log_tail('sidecar')}")
            return status
        time.sleep(0.1)


def report(stage: Stage, status: dict[str, Any], done: Sequence[Exchanged]) -> dict[str, Any]:
    """What came out, three ways: the ledger, the topic read back, the viewer; against what had to."""
    with LedgerReader(stage.folder / "ledger.db") as reader:
        sent = [alert.record for alert in reader.deliverable_since(0, limit=100_000)]
    cores = [core for core in sent if core["kind"] != CANARY]
    ids = {core["event_id"] for core in cores}
    canaries = {core["event_id"] for core in sent} - ids
    try:
        kafka = {record.event_id for record in read_back(stage.broker.bootstrap)} - canaries
    except (KafkaError, ReadBackTimeout) as error:
        raise StageError(f"the topic could not be read back: {error}") from error
    otlp = stage.viewer.event_ids() - canaries
    history = in_history(stage, len(ids))
    expected, fired = expected_of(done), fired_of(cores)
    coverage, latency = status["coverage"], status["latency"]
    found = {
        "alerts": len(ids),
        "expected": len(expected),
        "missed": [list(pair) for pair in sorted(expected - fired)],
        "false": [list(pair) for pair in sorted(fired - expected)],
        "features": sorted({feature for _, feature in fired}),
        "kafka_read_back": len(kafka),
        "otlp_read_back": len(otlp),
        "in_history": len(history),
        "served_tokens": coverage["served"],
        "client_tokens": sum(exchanged.tokens for exchanged in done),
        "scored_tokens": coverage["scored"],
        "unscored": coverage["unscored"],
        "unaccounted": coverage["unaccounted"],
        "coverage": coverage["coverage"],
        "reused_tokens": coverage["reused"],
        "failed_calls": [exchanged.error for exchanged in done if exchanged.error],
        "hook_to_decision_p99_ms": latency["hook_to_decision"]["p99_ms"],
        "decision_to_durable_p99_ms": latency["decision_to_durable"]["p99_ms"],
        "taps": [(tap["state"], tap["reason"]) for tap in status["taps"]],
    }
    found["ok"] = bool(
        not found["missed"]
        and not found["false"]
        and not found["failed_calls"]
        and found["unaccounted"] == 0
        and found["served_tokens"] == found["client_tokens"]
        and kafka == ids == otlp
        and ids <= history
    )
    return found


def in_history(stage: Stage, wanted: int) -> set[str]:
    """Ids of the alerts that history has, once there are that many of them, or time is up."""
    deadline = time.monotonic() + SETTLE_S
    path = HistoryFolder(stage.folder / "history").hot
    found: set[str] = set()
    while len(found) < wanted and time.monotonic() < deadline:
        try:
            with HotStore(path, read_only=True) as hot:
                rows = hot.db.execute("SELECT lower(hex(id)) FROM entry WHERE kind = 'alert'")
                found = {id_ for (id_,) in rows.fetchall()}
        except (StoreError, StoreStalled):  # history has not come up yet
            pass
        time.sleep(0.05)
    return found


def expected_of(done: Sequence[Exchanged]) -> set[tuple[str, str]]:
    """(conversation, feature) that had to fire, known before any reply came."""
    return {
        (exchanged.conversation.conversation, feature)
        for exchanged in done
        for feature in exchanged.conversation.expected
    }


def fired_of(cores: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(core["labels"].get("conversation", core["key"]), core["feature"]) for core in cores}
