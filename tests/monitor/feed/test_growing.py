"""Evidence that may still grow: completed once, in time, and never forgotten for want of room."""

from __future__ import annotations

import json

from dosimeter.monitor.feed.growing import MOST, PATIENCE_NS, Growing, may_grow
from dosimeter.monitor.feed.items import Evidence

A, B = "a" * 32, "b" * 32
NOW = 10**18


def test_what_grew_is_given_once_and_what_did_not_waits() -> None:
    growing = Growing("s")
    growing.expect(A, NOW, b"one")
    growing.expect(B, NOW, b"two")
    bodies = {A: b"one more", B: b"two"}
    assert growing.look(bodies.get, NOW) == [Evidence("s", A, b"one more")]
    assert growing.look(bodies.get, NOW) == []
    bodies[B] = b"two more"
    assert growing.look(bodies.get, NOW) == [Evidence("s", B, b"two more")]


def test_what_never_grows_is_given_as_it_is_when_patience_ends() -> None:
    growing = Growing("s")
    growing.expect(A, NOW, b"one")
    assert growing.look({A: b"one"}.get, NOW + PATIENCE_NS - 1) == []
    assert growing.look({A: b"one"}.get, NOW + PATIENCE_NS) == [Evidence("s", A, b"one")]
    assert growing.state() == []


def test_evidence_that_was_erased_meanwhile_is_not_given() -> None:
    growing = Growing("s")
    growing.expect(A, NOW, b"one")
    assert growing.look({}.get, NOW) == []
    assert growing.look({}.get, NOW + PATIENCE_NS) == []
    assert growing.state() == []


def test_a_flood_completes_the_oldest_with_what_there_is() -> None:
    growing = Growing("s")
    for n in range(MOST + 2):
        growing.expect(f"{n:032x}", NOW, b"x")
    done = growing.look(lambda _: b"x", NOW)
    assert [one.event_id for one in done] == [f"{n:032x}" for n in (0, 1)]
    assert len(growing.state()) == MOST


def test_the_state_survives_a_restart() -> None:
    growing = Growing("s")
    growing.expect(A, NOW, b"one")
    growing.expect(B, NOW, None)
    again = Growing("s", json.loads(json.dumps(growing.state())))
    assert again.look({A: b"one", B: b"now"}.get, NOW) == [Evidence("s", B, b"now")]


def test_only_a_hit_that_is_not_old_waits_for_more() -> None:
    assert may_grow("alert", NOW, NOW + PATIENCE_NS - 1)
    assert not may_grow("alert", NOW, NOW + PATIENCE_NS)
    assert not may_grow("digest", NOW, NOW)
