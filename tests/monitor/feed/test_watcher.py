"""Births, deaths and gaps: every missing range is named exactly, and none that is not missing."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.feed.items import Alert, Alive, Bye, Hello, Item, Rolled
from dosimeter.monitor.feed.watcher import (
    GRACE_NS,
    SILENT_NS,
    Birth,
    Death,
    Finding,
    Gap,
    GapClosed,
    Watcher,
    WentBack,
)

S = "a" * 32
SECOND = 10**9
T = 10**18


def alert(seq: int, source: str = S) -> Alert:
    return Alert(source, seq, f"{seq:032x}", b"{}", None, final=True)


def hello(last_seq: int = 0, *, started: int = 5, first: int = 1, exact: int = 0) -> Hello:
    return Hello(S, "pod-1", started, first, exact, last_seq)


def alerts(*seqs: int) -> list[Alert]:
    return [alert(seq) for seq in seqs]


def born(*seqs: int) -> Watcher:
    watcher = Watcher()
    watcher.see([hello(), *alerts(*seqs)], T)
    return watcher


def gone(reason: str, last_seq: int, received: int, said: str = "", seen: int = 5) -> Death:
    return Death(S, "pod-1", reason, said, last_seq, received, seen)  # type: ignore[arg-type]


def test_the_first_greeting_is_a_birth_and_told_again_it_is_nothing() -> None:
    watcher = Watcher()
    assert watcher.see([hello(), hello()], T) == [Birth(S, "pod-1", 5, 1, resumed=False)]
    assert watcher.see([hello(), *alerts(1, 2, 3)], T) == []


def test_a_jump_is_a_gap_once_and_duplicates_are_none() -> None:
    watcher = born(1, 2)
    assert watcher.see(alerts(6, 7), T) == [Gap(S, 3, 5)]
    assert watcher.see(alerts(1, 2, 6, 7, 8), T) == []


def test_what_comes_after_all_closes_its_part_of_the_gap() -> None:
    watcher = born(1, 9)
    assert watcher.see(alerts(4, 5, 4), T) == [GapClosed(S, 4, 5)]
    assert watcher.see(alerts(2, 3, 6, 7, 8), T) == [GapClosed(S, 2, 3), GapClosed(S, 6, 8)]
    assert watcher.see(alerts(2), T) == []


def test_what_is_in_order_at_the_end_of_a_batch_was_no_gap() -> None:
    assert born().see(alerts(3, 1, 2), T) == []


def test_a_tail_that_was_claimed_and_does_not_come_is_named_after_a_grace() -> None:
    watcher = born(*range(1, 1188))
    assert watcher.see([Alive(S, 1200, 6)], T) == []
    assert watcher.see([], T + GRACE_NS - 1) == []
    assert watcher.see([], T + GRACE_NS) == [Gap(S, 1188, 1200)]
    assert watcher.see([Alive(S, 1200, 7)], T + GRACE_NS) == []
    assert watcher.see(alerts(1190), T + GRACE_NS) == [GapClosed(S, 1190, 1190)]


def test_a_backlog_that_still_comes_is_no_gap() -> None:
    watcher = born()
    watcher.see([Alive(S, 1000, 6)], T)
    now = T
    for seq in range(1, 1001):
        now += GRACE_NS // 2
        assert watcher.see([alert(seq)], now) == []


def test_claims_that_only_grow_do_not_put_off_the_gap() -> None:
    watcher, found, now = born(1), list[Finding](), T
    for n in range(4):
        found += watcher.see([Alive(S, 10 + n, 6 + n)], now)
        now += GRACE_NS // 2
    assert found == [Gap(S, 2, 12)]


def test_a_last_word_is_a_death_that_says_what_is_known() -> None:
    watcher = born(1, 2, 3)
    bye = Bye(S, 5, 9, "ended")
    assert watcher.see([bye], T) == [gone("ended", 5, 3, "ended")]
    assert watcher.see([bye, Alive(S, 3, 8)], T) == []
    assert watcher.see([], T + GRACE_NS) == [Gap(S, 4, 5)]
    assert watcher.see([], T + 10 * SILENT_NS) == []


def test_what_came_before_the_last_word_in_the_same_batch_is_received() -> None:
    found = Watcher().see([hello(), *alerts(1, 2, 4), Bye(S, 4, 9, "ended"), alert(5)], T)
    assert found[1:] == [Gap(S, 3, 3), gone("ended", 4, 4, "ended")]


def test_silence_is_a_death_and_names_what_was_claimed() -> None:
    watcher = born(1)
    watcher.see([Alive(S, 3, 6)], T + SILENT_NS - GRACE_NS)
    now = T + 2 * SILENT_NS - GRACE_NS
    assert watcher.see([Alive(S, 3, 6)], now) == [gone("silent", 3, 1, seen=6), Gap(S, 2, 3)]


def test_a_sign_of_life_after_death_is_a_birth_that_resumes() -> None:
    watcher = born(1)
    watcher.see([Bye(S, 1, 9, "ended")], T)
    assert watcher.see([Alive(S, 1, 10)], T) == [Birth(S, "pod-1", 5, 2, resumed=True)]


def test_another_life_without_a_word_of_the_last_is_a_death_too() -> None:
    watcher = born(1)
    assert watcher.see([hello(1, started=6)], T) == [
        gone("restarted", 1, 1),
        Birth(S, "pod-1", 6, 1, resumed=True),
    ]
    assert watcher.see([hello(), hello(1, started=6), *alerts(1, 2)], T) == []


def test_a_death_says_when_the_last_sign_of_life_was_and_not_when_it_was_noticed() -> None:
    """History stands still from T + 60 s to T + 1 h, and then hears a last word of others."""
    watcher, said = Watcher(), T + 60 * SECOND
    watcher.see([hello(started=T), Alive(S, 0, said)], said)
    later = T + 3600 * SECOND
    again = Watcher(watcher.changed(), now_ns=later)
    assert again.see([Bye(S, 0, later, "ended")], later) == [gone("ended", 0, 0, "ended", said)]


def test_a_clock_that_is_ahead_makes_no_life_longer() -> None:
    watcher = born()
    watcher.see([Alive(S, 0, T + 500 * SECOND)], T + SECOND)
    assert watcher.see([], T + 2 * SILENT_NS) == [gone("silent", 0, 0, seen=T + SECOND)]


def test_a_state_of_an_earlier_release_is_read() -> None:
    states = born(1).changed()
    del states[S]["seen_ns"]
    assert Watcher(states).see([], T + SILENT_NS) == [gone("silent", 1, 1, seen=0)]


def test_what_retention_took_before_we_were_there_is_no_gap_and_after_it_is() -> None:
    watcher = Watcher()
    watcher.see([hello(60, first=50), *alerts(50, 51)], T)
    assert watcher.see([hello(90, first=70, started=6)], T)[:1] == [gone("restarted", 60, 51)]
    assert watcher.see(alerts(70, 71), T) == []
    again = Watcher()
    again.see([hello(60, first=50), *alerts(50, 51)], T)
    assert Gap(S, 52, 69) in again.see([hello(90, first=70, started=6)], T)


def test_positions_that_an_older_release_skipped_are_no_gap() -> None:
    watcher = Watcher()
    watcher.see([hello(9, exact=9)], T)
    assert watcher.see(alerts(1, 4, 8), T) == []
    assert watcher.see(alerts(12), T) == [Gap(S, 10, 11)]


def test_a_source_that_never_greeted_is_born_by_what_it_says() -> None:
    watcher = Watcher()
    assert watcher.see(alerts(3), T) == [Birth(S, "", 0, 1, resumed=False), Gap(S, 1, 2)]
    assert watcher.see([hello(3)], T) == [Birth(S, "pod-1", 5, 1, resumed=True)]


def test_a_source_that_went_back_gives_its_positions_anew() -> None:
    watcher = born(1, 2, 3, 7)
    assert watcher.see([Rolled(S, 7, 2, 50)], T) == [WentBack(S, 7, 2)]
    assert watcher.see([Rolled(S, 7, 2, 50), *alerts(3, 4)], T) == []
    assert watcher.see(alerts(6), T) == [Gap(S, 5, 5)]


def test_what_could_not_be_heard_is_not_silence() -> None:
    watcher = born(1)
    later = T + 10 * SILENT_NS
    again = Watcher(watcher.changed(), now_ns=later)
    assert again.see([], later + SILENT_NS - 1) == []
    assert again.see([], later + SILENT_NS) == [gone("silent", 1, 1)]


def test_only_what_changed_is_to_be_stored() -> None:
    watcher = born(1)
    assert list(watcher.changed()) == [S]
    watcher.see(alerts(1), T + 1)
    assert watcher.changed() == {}
    watcher.see([], T + SILENT_NS)
    assert list(watcher.changed()) == [S]


@dataclass
class Named:
    """What findings say is missing, and that they say it in a way that makes sense."""

    missing: dict[str, set[int]] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    alive: dict[str, bool] = field(default_factory=dict)
    lives: int = 0
    deaths: int = 0

    def hear(self, findings: Sequence[Finding]) -> None:
        for one in findings:
            mine = self.missing.setdefault(one.source, set())
            if isinstance(one, Gap):
                assert not mine & set(range(one.first, one.last + 1)), "named twice"
                mine |= set(range(one.first, one.last + 1))
                self.gaps.append(one)
            elif isinstance(one, GapClosed):
                assert mine >= set(range(one.first, one.last + 1)), "closed and never named"
                mine -= set(range(one.first, one.last + 1))
            elif isinstance(one, Birth):
                assert not self.alive.get(one.source)
                assert one.resumed == (one.source in self.alive)
                self.alive[one.source] = True
                self.lives += 1
            elif isinstance(one, Death):
                assert self.alive[one.source]
                self.alive[one.source] = False
                self.deaths += 1


@dataclass
class Pod:
    """A source, the stream it sends, and what of it has come."""

    source: str
    at_ns: int = 1
    seq: int = 0
    claimed: int = 0
    greeted: bool = False
    stream: list[tuple[Item, bool]] = field(default_factory=list)  # the item, whether it is lost
    sent: int = 0
    came: set[int] = field(default_factory=set)

    def say(self, what: str, number: int, lost: bool) -> None:
        self.at_ns += 1
        if what == "accept":
            for _ in range(number):
                self.seq += 1
                self.stream.append((alert(self.seq, self.source), lost))
        elif what == "live":
            self.stream.append((Hello(self.source, "pod", self.at_ns, 1, 0, self.seq), False))
        elif what == "alive":
            self.stream.append((Alive(self.source, self.seq, self.at_ns), lost))
        elif what == "bye":
            self.stream.append((Bye(self.source, self.seq, self.at_ns, "ended"), lost))
        elif what == "again":
            self.sent = max(0, self.sent - number)

    def arrive(self) -> list[Item]:
        part = [item for item, lost in self.stream[self.sent :] if not lost]
        self.sent = len(self.stream)
        for item in part:
            if isinstance(item, Alert):
                self.came.add(item.seq)
                self.claimed = max(self.claimed, item.seq)
            elif isinstance(item, Hello | Alive | Bye):
                self.claimed = max(self.claimed, item.last_seq)
        return part

    @property
    def missing(self) -> set[int]:
        return set(range(1, self.claimed + 1)) - self.came


step = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["accept", "accept", "accept", "live", "alive", "bye", "again"]),
    st.integers(1, 6),
    st.booleans(),  # lost on the way
    st.booleans(),  # what is on the way arrives now
    st.sampled_from([0, 1, 40, 200]),  # seconds that go by
)


@given(st.lists(step, max_size=60), st.randoms(use_true_random=False))
def test_whatever_is_lost_repeated_or_mixed_every_missing_position_is_named_and_no_other(
    steps: list[tuple[int, str, int, bool, bool, int]], rng: random.Random
) -> None:
    pods = [Pod(f"{n:032x}") for n in range(3)]
    for pod in pods:
        pod.say("live", 1, lost=False)
    watcher, named, now = Watcher(), Named(), T
    for which, what, number, lost, arrives, seconds in steps:
        pods[which].say(what, number, lost)
        if arrives:
            named.hear(watcher.see(mixed([pod.arrive() for pod in pods], rng), now))
        for pod in pods:
            assert named.missing.get(pod.source, set()) <= pod.missing
        now += seconds * SECOND
        watcher = Watcher(json.loads(json.dumps(state(watcher))))
    named.hear(watcher.see(mixed([pod.arrive() for pod in pods], rng), now))
    named.hear(watcher.see([], now + SILENT_NS + GRACE_NS))
    for pod in pods:
        assert named.missing.get(pod.source, set()) == pod.missing
    assert not any(named.alive.values())
    assert named.lives == named.deaths


def state(watcher: Watcher) -> dict[str, dict[str, object]]:
    watcher._changed |= watcher._sources.keys()
    return watcher.changed()


def mixed(parts: list[list[Item]], rng: random.Random) -> list[Item]:
    """Interleaved, each source in its own order."""
    queues, found = [part[::-1] for part in parts if part], list[Item]()
    while queues:
        queue = rng.choice(queues)
        found.append(queue.pop())
        queues = [one for one in queues if one]
    return found


def test_fifty_pods_born_killed_and_resumed_every_gap_is_named() -> None:
    rng = random.Random(50)
    watcher, named, now = Watcher(), Named(), T
    pods = [Pod(f"{n:032x}") for n in range(50)]
    lost: dict[str, list[tuple[int, int]]] = {pod.source: [] for pod in pods}
    kills = 0
    for life in range(4):
        for pod in pods:
            pod.at_ns += 1000
            pod.say("live", 1, lost=False)
            for _ in range(3):
                pod.say("accept", rng.randint(1, 40), lost=False)
                if rng.random() < 0.5:
                    first = pod.seq + 1
                    pod.say("accept", rng.randint(1, 20), lost=True)
                    lost[pod.source].append((first, pod.seq))
                    pod.say("alive" if rng.random() < 0.5 else "accept", 1, lost=False)
            pod.say("accept", 1, lost=False)
        named.hear(watcher.see(mixed([pod.arrive() for pod in pods], rng), now))
        for pod in pods:
            end = rng.choice(["bye", "kill", "kill and again at once"]) if life < 3 else "kill"
            if end == "bye":
                pod.say("bye", 1, lost=False)
            kills += 1
        named.hear(watcher.see(mixed([pod.arrive() for pod in pods], rng), now))
        if life % 2:
            now += SILENT_NS
            named.hear(watcher.see([], now))
    named.hear(watcher.see([], now + SILENT_NS))
    found = {
        pod.source: [(g.first, g.last) for g in named.gaps if g.source == pod.source]
        for pod in pods
    }
    assert found == lost
    assert sum(map(len, lost.values())) > 200
    assert (named.lives, named.deaths) == (200, kills) == (200, 200)
