"""Floods: much of what is right one by one. What a speaker can make the line keep, or do, has a bound.

Memory is what stays after a flood, compared with what stays after half of it; work is counted in function
calls, so that the figures are the same on any machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from targets.effort import calls, kept
from targets.scene import COLUMN, HONEST, HOSTILE_UID, Scene, check_honest, control, step

from dosimeter.detectors.frames import ROWS
from dosimeter.monitor import status
from dosimeter.monitor.receive import Connection
from dosimeter.monitor.taps import wire
from dosimeter.monitor.taps.wire import COUNTERS, Kind

EPOCH = 5
COUNTERS_0 = dict.fromkeys(COUNTERS.names or (), 0)
MIB = 1 << 20


def hello(epoch: int = EPOCH, columns: int = 1, name: str = "x") -> bytes:
    more = [{"feature": f"{name}{i}"} for i in range(columns - 1)]
    body = {"role": "tap", "state": "live", "columns": [COLUMN, *more]}
    return control(Kind.HELLO, epoch, body, COUNTERS_0)


def opened(key: int, **more: object) -> bytes:
    return control(Kind.OPEN, EPOCH, {"key": key, "prompt_len": 1} | more, COUNTERS_0)


def rows(entries: list[tuple[int, int, int]], code: int = 0, features: int = 1) -> bytes:
    table = [(key, start, n, 0, 0) for key, start, n in entries]
    tokens = sum(n for _, _, n in entries)
    return step(EPOCH, table, np.full((tokens, features), code), COUNTERS_0)


class Flood:
    """One attacker on the line, greeted, beside the honest server."""

    def __init__(self, columns: int = 1) -> None:
        self.scene = Scene()
        self.scene.tick_ns = 1_000_000
        self.speaker = self.scene.connect(HOSTILE_UID)
        self.say(hello(columns=columns))

    def say(self, *messages: bytes) -> None:
        for message in messages:
            assert len(message) <= wire.MAX_MESSAGE
            self.scene.tell(self.speaker, message)

    @property
    def alive(self) -> bool:
        return self.speaker in self.scene.given.connections


def early_nothing(flood: Flood, i: int) -> None:
    flood.say(rows([(1000 * i + k, 0, 0) for k in range(1000)]))


def early_rows(flood: Flood, i: int) -> None:
    flood.say(rows([(1000 * i + k, 0, 1) for k in range(1000)]))


def unscored(flood: Flood, i: int) -> None:
    flood.say(opened(1))
    table = np.array([(1, 4000 * i, 4000, 0, 0)], ROWS)
    codes = np.zeros((4000, 1), np.int16)
    codes[::2] = -32768
    flood.say(step(EPOCH, table.tolist(), codes, COUNTERS_0))


def requests_of_one_call(flood: Flood, i: int) -> None:
    flood.say(opened(1, call="c"))
    for key in range(200 * i + 2, 200 * i + 202):
        ended = {"key": key, "outcome": "finished", "served": 1, "emitted": 1}
        flood.say(opened(key, call="c"), control(Kind.CLOSE, EPOCH, ended, COUNTERS_0))


def other_columns(flood: Flood, i: int) -> None:
    for k in range(20):
        flood.say(hello(columns=20, name=f"x{i}-{k}-"))


def other_epochs(flood: Flood, i: int) -> None:
    for k in range(20):
        flood.say(hello(epoch=100 + 20 * i + k))


def other_connections(flood: Flood, i: int) -> None:
    for k in range(20):
        speaker: Connection = flood.scene.connect(HOSTILE_UID)
        flood.scene.tell(speaker, hello(epoch=100 + 20 * i + k))
        flood.scene.given.connections.remove(speaker)
        flood.scene.given.closed.append(speaker)


FLOODS = {
    early_nothing: 20, early_rows: 20, unscored: 40, requests_of_one_call: 14,
    other_columns: 10, other_epochs: 20, other_connections: 20,
}  # fmt: skip
"""Each with how often it is said; half of that is past its bound."""


@pytest.mark.parametrize("act", FLOODS, ids=lambda act: act.__name__)
def test_what_stays_of_a_flood_has_a_bound(act: Callable[[Flood, int], None]) -> None:
    """Found 2026-11-20: row entries of no rows, rows with a hole before each, columns and epochs made up
    anew were each kept for as long as the line ran, at up to 64 times their size on the wire."""
    times = FLOODS[act]
    flood = Flood()
    flood.say(hello())

    def say(first: int, last: int) -> None:
        for i in range(first, last):
            act(flood, i)

    half, whole = kept(lambda: say(0, times // 2), lambda: say(times // 2, times))
    assert whole < 1.5 * half + MIB // 2, f"{half} bytes after half of it, {whole} after all"
    while flood.scene.script:
        flood.scene.say_honest()
    check_honest(flood.scene)


def test_many_requests_of_many_columns_do_not_take_all_memory() -> None:
    """4,000 columns and 513 requests without one row once took 2 GiB, twice as many 4 GiB."""
    flood = Flood(columns=4000)

    def say() -> None:
        for key in range(600):
            if flood.alive:
                flood.say(opened(key))

    (found,) = kept(say)
    assert found < 1200 * MIB
    assert not flood.alive


@pytest.mark.parametrize("spans", [1, 4000])
def test_rows_of_a_prompt_cost_the_same_however_its_scopes_are_cut(spans: int) -> None:
    """One message of 5,000 row entries over 9,000 spans once held the line for seven seconds."""
    cut = [[2 * (i % 2), i, i + 1] for i in range(spans)] + [[2, spans, 5000]]
    flood = Flood()
    flood.say(opened(1, prompt_len=5000, spans=cut))
    message = rows([(1, i, 1) for i in range(1000)])
    assert calls(lambda: flood.say(message)) < 400 * 1000


@pytest.mark.parametrize("make", ["one key", "early"])
def test_work_grows_with_the_message_and_not_with_its_square(make: str) -> None:
    def cost(n: int) -> int:
        flood = Flood()
        if make == "one key":
            flood.say(opened(1))
            return calls(lambda: flood.say(rows([(1, i, 1) for i in range(n)])))
        flood.say(rows([(1, i, 1) for i in range(n)]))
        return calls(lambda: flood.say(opened(1)))

    assert cost(800) < 2.5 * cost(400)


def test_a_speaker_of_one_server_cannot_speak_for_another_on_the_same_connection() -> None:
    flood = Flood()
    """It would be in no count of connections, and made up a server with every message it sent."""
    flood.say(hello(epoch=EPOCH + 1))
    assert not flood.alive
    assert set(flood.scene.line.servers) == {HONEST, EPOCH}


def test_totals_of_hostile_counters_stay_numbers_that_metrics_can_carry() -> None:
    """OTLP has 64 bits: three made-up servers of 2^62 tokens each once broke every export of every metric."""
    scene = Scene()
    largest = wire.COUNTER_LIMIT - 1
    for epoch in range(1, 9):
        speaker = scene.connect(HOSTILE_UID)
        scene.tell(speaker, hello(epoch=epoch))
        counters = COUNTERS_0 | {"served_closed": largest}
        scene.tell(speaker, control(Kind.BEAT, epoch, None, counters))
    total = status.coverage(scene.line)
    assert total.served < 1 << 63
    assert json.dumps(total.as_dict())
