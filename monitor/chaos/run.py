"""Runs attacks one after another and holds what the monitor said, and when, against the goals.

Every attack begins on a stage that is well, with another tenant calling all the while, and is over when a
new call of that tenant is scored to its end again. It knows no attack by name.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dosimeter.monitor.chaos.arena import Arena, ArenaError
from dosimeter.monitor.chaos.attack import Attack, Others
from dosimeter.monitor.chaos.callers import answered
from dosimeter.monitor.chaos.voice import Voice, voice

PATIENCE = 1.5
"""How much longer than a goal is waited, so that a miss is measured and not only stated."""
LOOK_S = 0.1
WELL_S = 45.0


@dataclass(frozen=True, slots=True)
class Goals:
    """named_s: from the moment an attack takes effect. rearmed_s: from its end.

    hold_s: an attack goes on for at least this long, so that the other tenant calls while it is under way.
    """

    named_s: float = 10.0
    rearmed_s: float = 30.0
    hold_s: float = 1.5


GOALS = Goals()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attack. said: None, the monitor was silent. rearmed_s: None, it stayed blind."""

    attack: str
    does: str
    others_must: Others
    said: str | None = None
    said_s: float | None = None
    rearmed_s: float | None = None
    others: int = 0  # calls of the other tenant meanwhile that had an answer
    others_scored: int = 0  # of these, scored to the end
    others_failed: int = 0  # calls that the server itself did not answer
    unscored: Mapping[str, int] = field(default_factory=dict)  # tokens meanwhile, by reason
    unaccounted: int = 0
    fake: str | None = None
    error: str | None = None  # the attack could not be made
    goals: Goals = GOALS

    @property
    def missed(self) -> list[str]:
        """The goals that were not met, in words; empty: all were."""
        if self.error is not None:
            return [f"not run: {self.error}"]
        found = []
        if self.said is None or self.said_s is None:
            found.append("the monitor said nothing")
        elif self.said_s > self.goals.named_s:
            found.append(f"named after {self.said_s:.1f} s, goal {self.goals.named_s:.0f}")
        if self.rearmed_s is None:
            found.append("not re-armed")
        elif self.rearmed_s > self.goals.rearmed_s:
            found.append(f"re-armed after {self.rearmed_s:.1f} s, goal {self.goals.rearmed_s:.0f}")
        lost = self.others - self.others_scored
        if not self.others:
            found.append("no call of another tenant to judge by")
        elif lost and self.others_must == "scored":
            found.append(f"{lost} of {self.others} answers of another tenant not scored")
        elif lost and not self.unscored:
            found.append(f"{lost} of {self.others} answers of another tenant lost without a name")
        if self.unaccounted:
            found.append(f"{self.unaccounted} tokens unaccounted for")
        return found

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"met": not self.missed, "missed": self.missed}


class Watch:
    """Listens to the monitor from outside, on a thread, and notes when each new word was first heard."""

    def __init__(self, look: Callable[[], Voice], before: Voice) -> None:
        self._look, self._before = look, before
        self.heard: dict[str, float] = {}  # word, without its count -> when
        self.words: dict[str, str] = {}  # the same -> as it was said
        self.latest = before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.latest = self._look()
            now = time.monotonic()
            for word in self.latest.since(self._before):
                stem = word.partition(" +")[0]
                self.heard.setdefault(stem, now)
                self.words.setdefault(stem, word)

    def first(self, pattern: str) -> tuple[str, float] | None:
        """The first word that matches, and when it was heard."""
        found = [
            (at, stem) for stem, at in list(self.heard.items()) if re.search(pattern, stem, re.S)
        ]
        if not found:
            return None
        at, stem = min(found)
        return self.words[stem], at

    def says(self, pattern: str) -> bool:
        """Whether it is said now, as something that holds and is not merely in the past."""
        states = self.latest.states - self._before.states
        return any(re.search(pattern, word, re.S) for word in states)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def run(attacks: Sequence[Attack], arena: Arena, say: Callable[[str], None]) -> Iterator[Outcome]:
    """One outcome an attack, as they come."""
    for number, attack in enumerate(attacks, 1):
        say(f"[{number}/{len(attacks)}] {attack.name}: {attack.does}")
        outcome = one(attack, arena)
        said = outcome.said or outcome.error or "nothing"
        say(f"    {'ok' if not outcome.missed else 'MISSED'}: {said[:150]}")
        for missed in outcome.missed:
            say(f"    {missed}")
        yield outcome


def one(attack: Attack, arena: Arena, goals: Goals = GOALS) -> Outcome:
    """Run one attack on a stage that is well."""
    blank = Outcome(attack.name, attack.does, attack.others, fake=attack.fake, goals=goals)
    try:
        if not until(arena.well, WELL_S):
            arena.renew()
    except ArenaError as error:
        return replace(blank, error=str(error))
    before = voice(arena.look())
    unscored, unaccounted = arena.unscored(), arena.unaccounted()
    watch = Watch(lambda: voice(arena.look()), before)
    began = time.monotonic()
    arena.effective = None
    act = attack.act(arena)
    try:
        next(act)
        effect = arena.effective or began
        heard = _wait_for_words(attack, arena, watch, effect, goals.named_s)
        time.sleep(max(0.0, effect + goals.hold_s - time.monotonic()))
        ended = time.monotonic()
        over = next(act, StopIteration)
        rearmed = _wait_until_well(attack, arena, watch, ended, goals.rearmed_s)
        if over is not StopIteration:
            next(act, None)
    except Exception as error:  # whatever an attack stumbles over, the others go on
        return replace(blank, error=repr(error))
    finally:
        act.close()
        watch.stop()
    others = arena.bystander_since(began)
    others_scored = arena.settled(others)
    return replace(
        blank,
        said=None if heard is None else heard[0],
        said_s=None if heard is None else max(0.0, heard[1] - effect),
        rearmed_s=None if rearmed is None else rearmed - ended,
        others=len(answered(others)),
        others_scored=others_scored,
        others_failed=sum(reply.error is not None for reply in others),
        unscored=dict(arena.unscored() - unscored),
        unaccounted=max(0, arena.unaccounted() - unaccounted),
    )


def _wait_for_words(
    attack: Attack, arena: Arena, watch: Watch, effect: float, goal_s: float
) -> tuple[str, float] | None:
    deadline = max(effect, time.monotonic() - goal_s) + PATIENCE * goal_s
    while True:
        if attack.says is not None:
            heard = watch.first(attack.says)
        else:
            assert attack.sees is not None  # one of the two, by construction
            seen = attack.sees(arena)
            heard = None if seen is None else (seen, time.monotonic())
        if heard is not None or time.monotonic() > deadline:
            return heard
        time.sleep(LOOK_S)


def _wait_until_well(
    attack: Attack, arena: Arena, watch: Watch, ended: float, goal_s: float
) -> float | None:
    """When a call made after the end was scored and the gap is no longer said to be there; None: not in time."""

    def well() -> bool:
        still = attack.says is not None and watch.says(attack.says)
        return not still and arena.well(since=ended)

    return time.monotonic() if until(well, PATIENCE * goal_s) else None


def until(ready: Callable[[], bool], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S)
    return True
