"""What the acceptance tests share: a stage with one rule that fires in every answer, and looks at it.

The tests of faults must not depend on what the lab's probes find, so their rule is one that any
token of an answer meets. Nothing sleeps: everything waits for a condition, up to a deadline.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dosimeter.monitor import lab
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.lab import traffic
from dosimeter.monitor.lab.clients import Exchanged, ask
from dosimeter.monitor.lab.readback import read_back
from dosimeter.monitor.lab.stage import Stage
from dosimeter.monitor.lab.traffic import Conversation

PATIENCE_S = 30.0
LONG = 400
ENDLESS = json.dumps({"eos_token_id": [1_000_000], "do_sample": False})
RULES = """version: 1
rules:
  - rule: any-answer
    when: {feature: scam, in: answer, above: z -100}
    status: live
    severity: low
    owner: acceptance
    summary: "an answer of {model} to {tenant} has begun: {value} sd"
"""
"""One alert an answer, whatever the model says: no score is 100 sd below the benign mean."""


def until(
    ready: Callable[[], Any],
    what: str,
    patience_s: float = PATIENCE_S,
    left: Callable[[], object] = lambda: "",
) -> Any:
    """The first true answer. left: asked what is missing when time is up."""
    deadline = time.monotonic() + patience_s
    while not (found := ready()):
        assert time.monotonic() < deadline, f"not within {patience_s:.0f} s: {what} {left()}"
        threading.Event().wait(0.02)
    return found


@contextlib.contextmanager
def scene(tmp_path: Path, *, absent: Sequence[str] = ()) -> Iterator[Stage]:
    """The lab's server, watched; `rules.yaml` in `tmp_path` is what is in force."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    with Stage(
        lab.MODEL,
        packs=[lab.PACK],
        calibrations=[lab.CALIBRATION],
        rules=[rules],
        absent=absent,
    ) as stage:
        if "sidecar" not in absent:
            until(lambda: is_live(stage), "a live tap")
        yield stage


def is_live(stage: Stage) -> bool:
    """Whether a tap is connected and scores."""
    status = stage.status()
    if status is None:
        return False
    states = [(tap["state"], tap["reason"]) for tap in status["taps"]]
    assert not any(state in ("blind", "no-pack") for state, _ in states), states
    return any(state == "live" for state, _ in states)


def conversations(n: int, seed: int = 7) -> list[Conversation]:
    """Of every kind the demo has, streamed and not."""
    found = traffic.demo_conversations(seed)
    random.Random(seed).shuffle(found)
    assert len(found) >= n
    return found[:n]


def say(stage: Stage, told: Sequence[Conversation]) -> list[Exchanged]:
    """One client, one call after another; every call must succeed."""
    replies = [ask_one(stage, one) for one in told]
    assert not [reply.error for reply in replies if reply.error]
    return replies


def ask_one(stage: Stage, conversation: Conversation) -> Exchanged:
    return ask(stage.url, str(stage.model), conversation)


def ask_long(stage: Stage, conversation: Conversation) -> Exchanged:
    """A reply that goes on to its last allowed token, under a configuration of the server's own."""
    one = replace(conversation, max_tokens=LONG)
    return ask(stage.url, str(stage.model), one, generation_config=ENDLESS)


def tokens(replies: Sequence[Exchanged]) -> int:
    return sum(reply.tokens for reply in replies)


def settled(stage: Stage, calls: int) -> dict[str, Any]:
    """The status once `calls` requests are accounted for, none is open and nothing waits for the disk."""

    def ready() -> dict[str, Any] | None:
        status = stage.status()
        if status is None:
            return None
        live = sum(tap["requests_live"] for tap in status["taps"])
        done = status["coverage"]["requests"] >= calls and not live
        return status if done and not status["ledger"]["waiting"] else None

    try:
        found: dict[str, Any] = until(ready, f"{calls} requests accounted for")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{json.dumps(stage.status(), indent=1)}") from None
    assert found["coverage"]["requests"] == calls
    return found


def accounted(stage: Stage, replies: Sequence[Exchanged]) -> dict[str, int]:
    """Hold the sidecar's totals against what the clients were told; returns the named gaps."""
    coverage = settled(stage, len(replies))["coverage"]
    assert coverage["unaccounted"] == 0, coverage
    assert coverage["served"] == tokens(replies), coverage
    gaps: dict[str, int] = coverage["unscored"]
    assert coverage["scored"] + sum(gaps.values()) == coverage["served"]
    return gaps


def sinks(stage: Stage) -> dict[str, dict[str, Any]]:
    """Where each sink stands; accepted = delivered + dead + withheld + queued at every look."""
    found: dict[str, dict[str, Any]] = (stage.status() or {}).get("delivery", {}).get("sinks", {})
    for name, sink in found.items():
        parts = sink["delivered"] + sink["dead"] + sink["withheld"] + sink["queued"]
        assert sink["accepted"] == parts, (name, sink)
        assert sink["conserved"], (name, sink)
    return found


def accepted(stage: Stage) -> set[str]:
    """Event ids in the ledger."""
    with LedgerReader(stage.folder / "ledger.db") as reader:
        return {alert.event_id for alert in reader.deliverable_since(0, limit=100_000)}


def drained(stage: Stage, *names: str) -> dict[str, dict[str, Any]]:
    """The sinks, once nothing is queued for those named."""

    def ready() -> dict[str, dict[str, Any]] | None:
        found = sinks(stage)
        wanted = [found.get(name) for name in names]
        done = all(sink and sink["accepted"] and not sink["queued"] for sink in wanted)
        return found if done else None

    found: dict[str, dict[str, Any]] = until(ready, f"all delivered to {', '.join(names)}")
    return found


def in_kafka(stage: Stage) -> set[str]:
    return {record.event_id for record in read_back(stage.broker.bootstrap)}


def delivered_everywhere(stage: Stage) -> set[str]:
    """Ids of the ledger, after holding them against the topic and the viewer, read back."""
    drained(stage, "kafka", "otlp")
    ids = accepted(stage)
    assert in_kafka(stage) == ids
    assert stage.viewer.event_ids() == ids
    return ids


def descendants(pid: int) -> set[int]:
    """Processes started by `pid`, and by those."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found |= {int(child)} | descendants(int(child))
    return found


def commands(pids: Iterable[int]) -> list[str]:
    """What they were started as; for a message."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[-200:])
    return found


def alive(pid: int) -> bool:
    """A zombie whose parent is gone counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
