"""The verdict on an attack: a monitor that is silent, late, or loses other people's tokens must fail.

The stage here is a made-up one that says what each test wants, so that the judge is tested and not the monitor.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from dosimeter.monitor.chaos.attack import Attack
from dosimeter.monitor.chaos.callers import Reply
from dosimeter.monitor.chaos.report import as_json, as_table
from dosimeter.monitor.chaos.run import Goals, Outcome, one
from dosimeter.monitor.chaos.voice import Look

QUICK = Goals(named_s=0.3, rearmed_s=0.3, hold_s=0.0)
GOOD = Outcome(
    "an-attack",
    "does something",
    "scored",
    "socket.hostile +1",
    0.2,
    0.4,
    others=9,
    others_scored=9,
)


def status(**socket: Any) -> dict[str, Any]:
    """Of a sidecar that is well."""
    known = {"hostile": 0, "failed": 0, "refused": 0, "last_refusal": None, "lost": None}
    return {
        "coverage": {"unscored": {"prefix_cache": 7}, "unaccounted": 0},
        "servers": {"missing": None},
        "taps": [],
        "rules": {"error": None, "inactive": {}},
        "ledger": {"stalled": None, "lost": None, "refused": 0},
        "socket": known | socket,
        "clock": {"jumps": 0},
        "delivery": {"sinks": {}},
    }


class MadeUp:
    """An arena whose monitor says `hostile` only if it is `honest`, and whose tenants are scored if `seen`."""

    def __init__(self, *, honest: bool = True, seen: bool = True, heals: bool = True) -> None:
        self.honest, self.seen, self.heals = honest, seen, heals
        self.effective: float | None = None
        self.attacked = self.over = False

    def well(self, since: float | None = None) -> bool:
        return not self.attacked or (self.over and self.heals)

    def look(self) -> Look:
        return Look("ok", status(hostile=int(self.attacked and self.honest)))

    def bystander_since(self, began: float) -> list[Reply]:
        return [Reply(f"call-{n}", began, 10, 20) for n in range(4)]

    def settled(self, replies: list[Reply]) -> int:
        return len(replies) if self.seen else 0

    def unscored(self) -> Counter[str]:
        return Counter()

    def unaccounted(self) -> int:
        return 0

    def renew(self) -> None:
        raise AssertionError("the stage was well")


def act(arena: MadeUp) -> Generator[None]:
    arena.attacked = True
    yield
    arena.over = True


def attack(says: str | None = r"socket\.hostile", **changes: Any) -> Attack:
    return Attack("an-attack", "does something", act, says, **changes)


def test_an_attack_that_is_named_and_ends_meets_every_goal() -> None:
    outcome = one(attack(), MadeUp(), QUICK)
    assert outcome.missed == []
    assert outcome.said == "socket.hostile +1"


def test_a_silent_monitor_fails() -> None:
    """The one thing this suite exists for."""
    outcome = one(attack(), MadeUp(honest=False), QUICK)
    assert outcome.said is None
    assert outcome.missed == ["the monitor said nothing"]


def test_other_words_than_those_of_the_attack_do_not_count() -> None:
    """A monitor that complains of something else has not noticed."""
    outcome = one(attack(says=r"ledger\.stalled"), MadeUp(), QUICK)
    assert outcome.missed == ["the monitor said nothing"]


def test_what_was_said_before_the_attack_does_not_count() -> None:
    """Else a monitor that always complains would pass everything."""
    arena = MadeUp(honest=False)
    arena.look = lambda: Look("ok", status(hostile=3))  # type: ignore[method-assign]
    assert one(attack(), arena, QUICK).said is None


def test_a_monitor_that_does_not_come_back_fails() -> None:
    outcome = one(attack(), MadeUp(heals=False), QUICK)
    assert outcome.missed == ["not re-armed"]


def test_other_tenants_unscored_fail_the_attack_unless_all_of_the_machine_was_hit_and_they_are_counted() -> (
    None
):
    assert one(attack(), MadeUp(seen=False), QUICK).missed == [
        "4 of 4 answers of another tenant not scored"
    ]
    unnamed = one(attack(others="counted"), MadeUp(seen=False), QUICK)
    assert unnamed.missed == ["4 of 4 answers of another tenant lost without a name"]
    assert replace(unnamed, unscored={"dropped": 40}).missed == []


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"said_s": 10.1}, ["named after 10.1 s, goal 10"]),
        ({"rearmed_s": 30.1}, ["re-armed after 30.1 s, goal 30"]),
        ({"others": 0, "others_scored": 0}, ["no call of another tenant to judge by"]),
        ({"unaccounted": 3}, ["3 tokens unaccounted for"]),
        ({"error": "no hand"}, ["not run: no hand"]),
    ],
)
def test_each_goal_is_held(changes: dict[str, Any], missed: list[str]) -> None:
    assert replace(GOOD, **changes).missed == missed


def test_an_attack_that_cannot_be_made_is_no_success() -> None:
    def broken(arena: MadeUp) -> Generator[None]:
        raise OSError("no such socket")
        yield

    outcome = one(replace(attack(), act=broken), MadeUp(), QUICK)
    assert outcome.missed == ["not run: OSError('no such socket')"]


def test_time_counts_from_when_the_attack_takes_effect() -> None:
    """A server that starts for ten seconds before it is blind was not blind for ten seconds."""

    def slow(arena: MadeUp) -> Generator[None]:
        arena.effective = time.monotonic() + 100
        arena.attacked = True
        yield
        arena.over = True

    arena = MadeUp()
    outcome = one(replace(attack(), act=slow), arena, replace(QUICK, hold_s=-100))
    assert outcome.said_s == 0.0


def test_an_attack_states_either_its_words_or_its_proof() -> None:
    with pytest.raises(ValueError, match="either `says` or `sees`"):
        attack(says=None)


def test_the_table_names_what_was_missed_and_json_carries_the_same_verdict() -> None:
    silent = replace(GOOD, said=None, said_s=None)
    table = as_table([GOOD, silent])
    assert "not met: an-attack: the monitor said nothing" in table
    assert table.splitlines()[-1].startswith("1 of 2 attacks")
    assert '"met": false' in as_json([GOOD, silent])
    assert '"met": false' not in as_json([GOOD])
