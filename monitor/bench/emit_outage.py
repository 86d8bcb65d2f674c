"""Delivery at work: at a rate, through an outage of both sinks, in draining what that left, and told to end.

The hour of the goal is compressed: as many alerts as are asked for are accepted as fast as the ledger takes them. What
grows in an outage is the ledger, and what might grow beside it depends on how many wait, not on how long.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kafka import KafkaProducer

from dosimeter.monitor.bench.emit_process import Peak, cpu_s
from dosimeter.monitor.bench.emit_scene import (
    Scene,
    missing,
    out_of_order,
    records,
    staged,
)
from dosimeter.monitor.bench.figures import Figure
from dosimeter.monitor.chaos.kill_proxy import Mode
from dosimeter.monitor.chaos.outward import SINKS
from dosimeter.monitor.cli.kafka import init_topic
from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.sinks.kafka_record import kafka_record

FEW, PENDING = 10, 1000
TOLD: tuple[tuple[str, Mode, str | None], ...] = (
    ("sinks that take them", "ok", "== 0"),
    ("sinks that are away", "cut", f"== {PENDING}"),
)
RATE, RATE_S = 1000, 10
OUTAGE_S = 10.0
"""At least: several attempts at the longest pause between two."""
HOUR = 720_000
"""Alerts of 60 minutes at 200 a second."""
BARE = 20_000
BARE_TOPIC = "bench.bare"

Marks = list[tuple[float, dict[str, int]]]


def figures(alerts: int, rate_s: int = RATE_S, outage_s: float = OUTAGE_S) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="dosimeter-emit-") as name, staged(Path(name)) as scene:
        yield from _told_to_end(scene)
        scene.out.start_deliver()
        yield from _at_a_rate(scene, rate_s)
        yield from outage(scene, alerts, outage_s)
        scene.out.end_deliver()
        yield from read_back(scene)
        yield from _bare(scene, min(alerts, BARE))


def _told_to_end(scene: Scene) -> Iterator[Figure]:
    """Once with sinks that take what is pending, once with sinks that are away."""
    ledger, store = scene.out.folder / "ledger.db", scene.out.folder / "deliver.db"
    for name, mode, goal in TOLD:
        pid = scene.out.start_deliver()
        scene.accept(FEW)
        scene.drain()
        os.kill(pid, signal.SIGSTOP)
        scene.accept(PENDING)
        scene.out.set(mode)
        os.kill(pid, signal.SIGCONT)
        seconds = scene.out.end_deliver()
        scene.out.set("ok")
        sinks = delivery_status(ledger, store, now_ns=time.time_ns())["sinks"]
        queued = max(sinks[sink]["queued"] for sink in SINKS)
        unaccounted = sum(abs(sinks[sink]["unaccounted"]) for sink in SINKS)
        yield Figure(f"SIGTERM, {PENDING} for {name}: ended after", seconds, "s", "<= 10")
        yield Figure(f"SIGTERM, {PENDING} for {name}: left in the ledger", queued, "alerts", goal)
        yield Figure(f"SIGTERM, {PENDING} for {name}: unaccounted", unaccounted, "alerts", "== 0")


def _at_a_rate(scene: Scene, rate_s: int) -> Iterator[Figure]:
    assert scene.out.deliver is not None
    pid = scene.out.deliver.pid
    scene.accept(RATE)  # libraries are loaded and producers made
    scene.drain()
    before, began = cpu_s(pid), time.perf_counter()
    writer_s = scene.accept(RATE * rate_s, RATE)
    scene.drain()
    wall = time.perf_counter() - began
    # Of the time that so many take at the rate, so that a machine that is too busy to reach it looks no better.
    share, writers = 100 * (cpu_s(pid) - before) / rate_s, 100 * writer_s / rate_s
    yield Figure(f"{RATE} alerts/s: deliver, both sinks", share, "% of a core", "<= 25")
    yield Figure(f"{RATE} alerts/s: the line's writer", writers, "% of a core")
    yield Figure(f"{RATE} alerts/s: reached", RATE * rate_s / wall, "alerts/s")


def outage(scene: Scene, alerts: int, outage_s: float) -> Iterator[Figure]:
    assert scene.out.deliver is not None
    pid = scene.out.deliver.pid
    marks: Marks = []
    with Peak({"line": scene.line_pid, "deliver": pid}) as peak:
        scene.out.set("cut")
        began = time.perf_counter()
        scene.accept(alerts)
        time.sleep(max(0.0, outage_s - (time.perf_counter() - began)))
        seconds = time.perf_counter() - began
        came = scene.delivered()
        waiting = min(scene.accepted - count for count in came.values())
        in_outage = dict(peak.most)
        scene.out.set("ok")
        healed, before = time.perf_counter(), cpu_s(pid)
        scene.drain(lambda at, found: marks.append((at, found)))
        processor = cpu_s(pid) - before
    yield Figure("outage: alerts accepted, Kafka and OTLP cut", alerts, "alerts")
    yield Figure("outage: of an hour's at 200/s", 100 * alerts / HOUR, "%")
    yield Figure("outage: lasted", seconds, "s")
    yield Figure("outage: waiting at its end", waiting, "alerts", f">= {alerts}")
    for name in peak.most:
        grown = in_outage[name] - peak.before[name]
        yield Figure(f"outage: {name}, RSS more than before", grown, "MiB", "<= 32")
        yield Figure(
            f"outage and drain: {name}, RSS more than before", peak.grown(name), "MiB", "<= 32"
        )
    yield Figure("drain: first delivered after", noticed_s(marks, healed), "s")
    yield Figure("drain: Kafka, beside OTLP", rate(marks, "kafka"), "alerts/s", ">= 5000")
    yield Figure("drain: OTLP, beside Kafka", rate(marks, "otlp"), "alerts/s")
    yield Figure(
        "drain: deliver's processor time, both sinks", 1e6 * processor / alerts, "µs an alert"
    )


def read_back(scene: Scene) -> Iterator[Figure]:
    came = scene.came_to_kafka()
    yield Figure("read back: accepted in all", scene.accepted, "alerts")
    lost = missing((number for _, number in came), scene.accepted)
    yield Figure("read back: lost on the way to Kafka", lost, "alerts", "== 0")
    lost = missing((int(one, 16) for one in scene.out.came_to_otlp()), scene.accepted)
    yield Figure("read back: lost on the way to OTLP", lost, "alerts", "== 0")
    yield Figure("read back: out of the order of their key", out_of_order(came), "alerts", "== 0")


def _bare(scene: Scene, count: int) -> Iterator[Figure]:
    """The same records, made before, by a loop that only sends."""
    init_topic([scene.out.kafka], BARE_TOPIC)
    made = [
        kafka_record(StoredAlert(n, one.event_id, one.core, True, 0))
        for n, one in enumerate(records(0, count), 1)
    ]
    producer = KafkaProducer(
        bootstrap_servers=[scene.out.kafka], acks="all", enable_idempotence=True
    )
    began = time.perf_counter()
    for one in made:
        producer.send(BARE_TOPIC, **one)
    producer.flush()
    wall = time.perf_counter() - began
    producer.close()
    yield Figure("drain: a bare kafka-python loop, records made before", count / wall, "alerts/s")


def rate(marks: Sequence[tuple[float, dict[str, int]]], sink: str) -> float:
    """Delivered a second, from the first progress that was seen to the last."""
    moved = [
        (at, found[sink])
        for (at, found), (_, last) in zip(marks[1:], marks, strict=False)
        if found[sink] > last[sink]
    ]
    if not moved:
        return 0.0
    (first_at, first), (last_at, last_count) = moved[0], moved[-1]
    return (last_count - first) / (last_at - first_at) if last_at > first_at else 0.0


def noticed_s(marks: Sequence[tuple[float, dict[str, int]]], healed: float) -> float:
    """Until both sinks had moved, or, of one that had when it was first looked at, until then."""
    began, before = marks[0]
    return max(
        next((at for at, found in marks if found[sink] > before[sink]), began) - healed
        for sink in SINKS
    )
