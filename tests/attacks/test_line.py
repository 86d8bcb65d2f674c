"""What the fuzzer found on the line, each as the story of it."""

from __future__ import annotations

import json

from targets.scene import COUNTERS_0, HELLO, HOSTILE_UID, Scene, check_honest, control, step

from dosimeter.monitor.history.evidence import decode_evidence
from dosimeter.monitor.taps.wire import Kind

EPOCH = 1
PID = 50


def test_an_alert_at_the_end_of_an_orphan_never_gets_the_codes_of_another_request() -> None:
    """Found 2026-11-20: a request that its server no longer named after a reconnect was ended, a rule fired at
    its end, and its evidence was then completed from its slot, which belonged to the next request by then."""
    scene = Scene()

    def say(*messages: bytes) -> None:
        for message in messages:
            scene.tell(speaker, message)

    def opened(key: int) -> bytes:
        return control(Kind.OPEN, EPOCH, {"key": key, "prompt_len": 3}, COUNTERS_0)

    greeting = control(Kind.HELLO, EPOCH, HELLO, COUNTERS_0)
    beat = control(Kind.BEAT, EPOCH, None, COUNTERS_0)
    speaker = scene.attackers[0] = scene.connect(HOSTILE_UID, PID)
    say(greeting, opened(1), step(EPOCH, [(1, 0, 3, 0, 0)], [[1280]] * 3, COUNTERS_0))
    scene.hang_up(0)
    speaker = scene.connect(HOSTILE_UID, PID)
    say(greeting, beat)  # request 1 is over: the mean of its message is above 1 sd
    server = scene.line.servers[EPOCH]
    (record,) = scene.kept.records
    assert json.loads(record.core)["rule"] == "whole"
    assert record.evidence is not None
    assert decode_evidence(record.evidence).codes[:, 0].tolist() == [1280] * 3
    assert server.following == {}
    say(opened(2), step(EPOCH, [(2, 0, 200, 0, 0)], [[7]] * 200, COUNTERS_0))
    assert server.evidence_due() == {}
    while scene.script:
        scene.say_honest()
    check_honest(scene)
