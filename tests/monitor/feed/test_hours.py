"""Coverage by the hour: every token in exactly one window, whatever the feed and the sidecar do."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.feed.hours import HOUR_NS, Hours
from dosimeter.monitor.feed.items import Coverage
from dosimeter.monitor.history.records import Account

MINUTE = 60 * 10**9
DAY = 24 * HOUR_NS
E = "e" * 16


def account(served: int, scored: int | None = None, epoch: str = E, **more: int) -> Account:
    scored = served if scored is None else scored
    unscored = {"dropped": served - scored} if served > scored else {}
    counts = {"unaccounted": 0, "requests": 1, "closed": 1} | more
    return Account(epoch, served, scored, unscored=unscored, served_by={"usage": served}, **counts)


def begun(at_ns: int = DAY) -> Hours:
    hours = Hours("s")
    assert hours.look([], at_ns) == []
    return hours


def windows(found: list[Coverage]) -> list[tuple[int, int, int]]:
    return [(one.from_ns // MINUTE, one.to_ns // MINUTE, one.served) for one in found]


def test_an_hour_is_given_when_it_is_over_and_holds_the_difference() -> None:
    hours = begun()
    assert hours.look([account(100, 90)], DAY + 1 * MINUTE) == []
    assert hours.look([account(250, 240)], DAY + 2 * MINUTE) == []
    [one] = hours.look([account(250, 240)], DAY + HOUR_NS)
    assert one == Coverage(
        "s", E, DAY, DAY + HOUR_NS, 250, {"usage": 250}, 240, {"dropped": 10}, 0, 1, 1
    )
    for minute in range(61, 90):
        assert hours.look([account(250, 240)], DAY + minute * MINUTE) == []
    assert hours.look([account(300, 290)], DAY + 90 * MINUTE) == []
    [two] = hours.look([account(300, 290)], DAY + 121 * MINUTE)
    assert (two.from_ns, two.to_ns) == (DAY + HOUR_NS, DAY + 2 * HOUR_NS)
    assert (two.served, two.scored, two.unscored, two.requests) == (50, 50, {}, 0)


def test_what_is_new_at_the_first_look_of_an_hour_counts_for_that_hour() -> None:
    hours = begun(DAY + 59 * MINUTE)
    hours.look([account(100)], DAY + 59 * MINUTE + 59 * 10**9)
    found = hours.look([account(130)], DAY + 60 * MINUTE)
    assert windows(found) == [(24 * 60 + 59, 25 * 60, 100)]
    assert windows(hours.look([account(130)], DAY + 120 * MINUTE)) == [(25 * 60, 26 * 60, 30)]


def test_hours_in_which_nobody_looked_are_one_window() -> None:
    hours = begun()
    hours.look([account(100)], DAY + 30 * MINUTE)
    away = Hours("s", json.loads(json.dumps(hours.state())))
    assert away.look([account(900)], DAY + 190 * MINUTE) == []
    assert windows(away.look([account(900)], DAY + 240 * MINUTE)) == [(24 * 60, 28 * 60, 900)]


def test_a_server_that_did_nothing_while_nobody_looked_has_its_hour_alone() -> None:
    hours = begun()
    hours.look([account(100)], DAY + 30 * MINUTE)
    assert windows(hours.look([account(100)], DAY + 190 * MINUTE)) == [(24 * 60, 25 * 60, 100)]


def test_what_was_there_before_the_first_look_has_no_beginning() -> None:
    hours = Hours("s")
    assert windows(hours.look([account(100)], DAY + 5 * MINUTE)) == [(0, 24 * 60 + 5, 100)]
    hours.look([account(110)], DAY + 6 * MINUTE)
    assert windows(hours.look([account(110)], DAY + HOUR_NS)) == [(24 * 60 + 5, 25 * 60, 10)]


def test_a_flush_gives_the_rest_of_the_hour_and_the_next_window_begins_there() -> None:
    hours = begun()
    hours.look([account(100)], DAY + 20 * MINUTE)
    assert windows(hours.flush()) == [(24 * 60, 24 * 60 + 20, 100)]
    assert hours.flush() == []
    again = Hours("s", hours.state())
    again.look([account(140)], DAY + 21 * MINUTE)
    assert windows(again.look([account(140)], DAY + HOUR_NS)) == [(24 * 60 + 20, 25 * 60, 40)]


def test_what_is_first_seen_as_an_hour_begins_is_in_a_window_that_has_an_inside() -> None:
    """2026-11-30: such a window began and ended in the same moment."""
    hours = begun()
    hours.look([account(100)], DAY + 59 * MINUTE)
    [_] = hours.look([account(100)], DAY + HOUR_NS)
    hours = begun(DAY + HOUR_NS - 1)
    hours.look([account(40)], DAY + HOUR_NS)
    [one] = hours.flush()
    assert (one.served, one.from_ns < one.to_ns) == (40, True)
    hours.look([account(50)], DAY + HOUR_NS + MINUTE)
    [other] = hours.flush()
    assert (other.served, other.from_ns >= one.to_ns) == (10, True)


def test_a_killed_sidecar_takes_back_requests_that_were_open() -> None:
    hours = begun()
    hours.look([account(100, requests=5, closed=1)], DAY + MINUTE)
    hours.look([account(100, requests=5, closed=1)], DAY + HOUR_NS)
    hours.look([account(100, requests=2, closed=1)], DAY + HOUR_NS + MINUTE)
    [one] = hours.look([account(100, requests=2, closed=1)], DAY + 2 * HOUR_NS)
    assert (one.served, one.requests, one.closed) == (0, -3, 0)


def test_totals_of_a_restored_backup_are_a_new_beginning() -> None:
    hours = begun()
    hours.look([account(1000)], DAY + MINUTE)
    assert windows(hours.look([account(400)], DAY + 2 * MINUTE)) == [(24 * 60, 24 * 60 + 2, 1000)]
    hours.look([account(450)], DAY + 3 * MINUTE)
    assert windows(hours.look([account(450)], DAY + HOUR_NS)) == [(24 * 60, 25 * 60, 50)]


def test_a_clock_that_was_set_back_counts_on_in_the_same_hour() -> None:
    hours = begun(DAY + 10 * MINUTE)
    hours.look([account(100)], DAY + 20 * MINUTE)
    assert hours.look([account(200)], DAY - 3 * HOUR_NS) == []
    assert windows(hours.look([account(200)], DAY + HOUR_NS)) == [(24 * 60 + 10, 25 * 60, 200)]


def test_a_server_that_did_nothing_costs_no_room() -> None:
    hours = begun()
    nothing = [account(0, epoch=f"{n:016x}", requests=0, closed=0) for n in range(100)]
    hours.look(nothing, DAY + MINUTE)
    assert hours.state()["epochs"] == {}


steps = st.lists(
    st.tuples(
        st.integers(1, 200),  # minutes that go by
        st.sampled_from([f"{n:016x}" for n in range(3)]),  # the server that works
        st.integers(0, 1000),  # tokens served
        st.integers(0, 1000),  # of them scored, at most
        st.sampled_from(["look", "look", "look", "restart", "end", "away"]),
    ),
    max_size=40,
)


@given(steps)
def test_windows_add_up_to_the_totals_and_never_overlap(
    done: list[tuple[int, str, int, int, str]],
) -> None:
    hours, now = begun(), DAY
    served: Counter[str] = Counter()
    scored: Counter[str] = Counter()
    found: list[Coverage] = []
    for minutes, epoch, tokens, seen, what in done:
        now += minutes * MINUTE
        served[epoch] += tokens
        scored[epoch] += min(seen, tokens)
        if what == "away":
            continue
        if what == "restart":
            hours = Hours("s", json.loads(json.dumps(hours.state())))
        found += hours.look([account(served[e], scored[e], e) for e in served], now)
        if what == "end":
            found += hours.flush()
    found += hours.look([account(served[e], scored[e], e) for e in served], now) + hours.flush()
    for epoch in served:
        mine = [one for one in found if one.epoch == epoch]
        assert sum(one.served for one in mine) == served[epoch]
        assert sum(one.scored for one in mine) == scored[epoch]
        assert sum(one.unscored.get("dropped", 0) for one in mine) == served[epoch] - scored[epoch]
        assert all(one.served == one.scored + sum(one.unscored.values()) for one in mine)
        assert all(one.from_ns < one.to_ns for one in mine)
        assert all(a.to_ns <= b.from_ns for a, b in pairwise(mine))
