"""Attacks the line with messages that are well framed and lie: in counts, in order, in whose they are.

Beside the attacker an honest server speaks on a connection of its own. The properties: its tokens, its
coverage and its alert are what they would be alone; nothing raises but `WireError`; every total stays one
that the ledger and the metrics can hold; a request is open in join and engine, or in neither.
"""

from __future__ import annotations

import json

import numpy as np

from dosimeter.monitor import status
from dosimeter.monitor.roster import GONE_NS
from dosimeter.monitor.taps.wire import Kind
from targets.scene import (
    COLUMN,
    COUNTERS_0,
    HONEST,
    Scene,
    check_bounds,
    check_honest,
    control,
    step,
)
from targets.source import Source

EPOCHS = (1, 2, HONEST, (1 << 64) - 1)
KEYS = (1, 2, 3, (1 << 64) - 1)
CALLS = ("", "c", "\u202e")
CODES = (0, 1280, -32768, 32767, -32767)
POSITIONS = (0, 1, 2, 3, 4, 5, 200, 300, (1 << 31) - 1, (1 << 32) - 1)


def attack(data: bytes) -> None:
    source, scene = Source(data), Scene()
    for _ in range(40):
        if not source.left:
            break
        which = source.below(3)
        act = source.below(16)
        if act == 15:
            scene.hang_up(which)
        elif act == 14:
            scene.now += GONE_NS
        else:
            speaker = scene.attacker(which, source)
            scene.tell(speaker, hostile(source, scene, which))
        if source.below(2):
            scene.say_honest()
        check_bounds(scene)
    while scene.script:
        scene.say_honest()
    check_bounds(scene)
    json.dumps(status.line_status(scene.line, started_ns=0))
    check_honest(scene)


def hostile(source: Source, scene: Scene, which: int) -> bytes:
    epoch = source.choice((*[which + 1] * 6, *EPOCHS))
    counters = dict(COUNTERS_0)
    for _ in range(source.below(4)):
        counters[source.choice(tuple(counters))] = source.integer() % (1 << 64)
    kind = source.below(9)
    if kind == 1:
        return control(Kind.HELLO, epoch, hello(source), counters)
    if kind == 2:
        return control(Kind.OPEN, epoch, opened(source), counters)
    if kind == 3:
        return control(Kind.CLOSE, epoch, closed(source), counters)
    if kind in (4, 5):
        rows = [entry(source, scene, which) for _ in range(source.below(7))]
        tokens, features = sum(row[2] for row in rows), source.choice((1, 1, 1, 1, 0, 2))
        mostly = source.choice(CODES)
        codes = [source.choice((mostly, *CODES)) for _ in range(tokens * features)]
        array = np.array(codes, "<i2").reshape(tokens, features)
        return step(epoch, rows, array, counters)
    if kind == 6:
        return control(Kind.BEAT, epoch, None, counters)
    if kind == 7:
        kinds = (Kind.HELLO, Kind.OPEN, Kind.CLOSE, Kind.USAGE)
        return control(source.choice(kinds), epoch, source.json(), counters)
    if kind == 8:
        said = {"call": source.choice(CALLS)}
        counts = (5, 1, 0, 9, (1 << 31) - 1, source.integer())
        said |= {name: source.choice(counts) for name in ("prompt_tokens", "completion_tokens")}
        return control(Kind.USAGE, epoch, said, counters)
    return source.take(source.below(256))


def entry(source: Source, scene: Scene, which: int) -> tuple[int, int, int, int, int]:
    """A row entry: mostly what comes next of its request."""
    key, n = source.choice(KEYS), source.choice((1, 5, 70, 0, 2, 3, 7))
    start = source.choice(POSITIONS)
    if source.below(4):
        start = scene.follow[which, key]
        scene.follow[which, key] = min(start + n, (1 << 32) - 1)
    return key, start, n, source.below(3), 0


def hello(source: Source) -> dict[str, object]:
    columns = (COLUMN, {"feature": source.text()}, COLUMN | {"pack": source.text()})
    return {
        "role": source.choice(("tap", "front", "tap+front")),
        "state": source.choice(("live", "blind", "no-pack")),
        "columns": [source.choice(columns) for _ in range(source.choice((1, 0, 2, 3)))],
        "model": {source.text(): source.text(), "name": source.text()},
        "reason": source.text(),
    }


def opened(source: Source) -> dict[str, object]:
    prompt = source.choice((0, 1, 3, 5, (1 << 31) - 1))
    middle = source.choice((0, 1, prompt, prompt + 1))
    scopes = [source.below(7) for _ in range(2)]
    return {
        "key": source.choice((*KEYS, source.integer())),
        "prompt_len": prompt,
        "spans": source.choice(([], [[scopes[0], 0, middle], [scopes[1], middle, prompt]])),
        "spans_exact": True,
        "labels": {source.text(): source.text(), "tenant": source.text()},
        "trusted": ["tenant", source.text()],
        "again": bool(source.below(2)),
        "call": source.choice(CALLS),
    }


def closed(source: Source) -> dict[str, object]:
    numbers = (0, 1, 5, 9, source.integer(), (1 << 31) - 1)
    return {
        "key": source.choice(KEYS),
        "outcome": source.choice(("finished", "cancelled", "failed")),
        "served": source.choice(numbers),
        "served_source": source.choice(("usage", "output", "scheduler", "tap")),
        "emitted": source.choice(numbers),
        "cached": source.choice(numbers),
        "reused": source.choice(numbers),
        "errors": {
            source.choice(("tap_error", "dropped", "prefix_cache", source.text())): source.choice(
                numbers
            )
            for _ in range(source.below(3))
        },
        "tokens": source.choice((None, [source.text()] * 3, source.json())),
    }
