"""Sums of coverage, times of which nobody knows that they were watched, and gaps, worked out by hand."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.audit.queries.lives import EVER, Silence
from dosimeter.monitor.audit.queries.watched import Gap, Watched, weigh

HOUR = 3600 * 10**9
BEGIN = 500_000 * HOUR


def cover(hour: int, served: int, scored: int, source: str = "a", hours: int = 1) -> dict[str, Any]:
    return {
        "kind": "coverage", "source": source, "time_ns": BEGIN + (hour + hours) * HOUR, "epoch": "e",
        "from_ns": BEGIN + hour * HOUR, "to_ns": BEGIN + (hour + hours) * HOUR, "served": served, "scored": scored,
        "unscored": {"dropped": served - scored}, "unaccounted": 0,
    }  # fmt: skip


def said(kind: str, hour: float, source: str = "a", **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "source": source, "time_ns": at(hour), **fields}


def at(hour: float) -> int:
    return BEGIN + int(hour * HOUR)


def died(noticed: float, seen: float, source: str = "a", reason: str = "silent") -> dict[str, Any]:
    return said("death", noticed, source, reason=reason, seen_ns=at(seen))


def over(
    entries: list[dict[str, Any]],
    first: int = 0,
    past: int = 10,
    *,
    now: float = 99,
    **signs: float,
) -> Watched:
    """signs: of a source that is not dead, the hour of its last sign of life."""
    heard = {source: at(hour) for source, hour in signs.items()}
    return weigh(entries, at(first), at(past), now_ns=at(now), signs=heard)


def hours(spans: tuple[tuple[int, int], ...] | list[tuple[int, int]]) -> list[tuple[float, float]]:
    return [((a - BEGIN) / HOUR, (b - BEGIN) / HOUR) for a, b in spans]


def test_hours_add_up_and_those_under_99_per_cent_are_named() -> None:
    found = over(
        [
            said("birth", -5, name="pod-7"),
            cover(0, 1000, 1000),
            cover(1, 1000, 990),  # 99 % is not under 99 %
            cover(2, 1000, 989),
            cover(2, 500, 500, "b"),
            cover(10, 7, 0),  # after the range
            cover(-1, 7, 0),  # before it
        ],
        a=10,
    )
    assert (found.served, found.scored, found.unscored) == (3500, 3479, {"dropped": 21})
    assert [(w.source, w.from_ns) for w in found.weak] == [("a", BEGIN + 2 * HOUR)]
    assert found.unwatched == ()
    assert found.any_data
    assert not found.whole


def test_processes_of_one_source_are_one_hour_together() -> None:
    found = over([said("birth", 0), cover(1, 1000, 900), cover(1, 99_000, 99_000)])
    assert found.weak == []
    assert len(found.windows) == 1


def test_without_coverage_and_without_a_living_source_there_is_no_data() -> None:
    for entries in (
        [],
        [said("birth", -9), cover(-5, 10, 10), died(-1, -1, reason="ended")],
        [said("birth", -9)],  # whose last sign of life was its birth
        [said("birth", 11), cover(12, 10, 10)],
    ):
        found = over(entries)
        assert not found.any_data


def test_a_living_source_whose_counts_are_not_here_is_data_and_no_coverage() -> None:
    found = over([said("birth", -9)], a=10)
    assert found.any_data
    assert found.share is None
    assert found.unwatched == ()
    assert found.uncounted_ns == 10 * HOUR
    assert not found.whole


def test_times_between_a_death_and_the_next_birth_are_unwatched() -> None:
    entries = [
        said("birth", -1),
        died(2, 2),
        said("birth", 2.5),
        said("birth", 3, "b"),
        died(4, 4, reason="ended"),
        died(6, 6, "b", reason="ended"),
    ]
    assert hours(over(entries).unwatched) == [(2, 2.5), (6, 10)]


def test_a_source_that_is_not_known_to_be_dead_watched_until_its_last_sign_of_life() -> None:
    """Alone, killed at 4, asked about at 9; the death is noticed at 9.5, and what was said before is the same then."""
    entries = [said("birth", -1), *(cover(hour, 10, 10) for hour in range(4))]
    for found in (over(entries, now=9, a=4), over([*entries, died(9.5, 4)], now=9)):
        assert hours(found.unwatched) == [(4, 9)]
        assert found.silences == (Silence("a", at(4), EVER, said=False),)
        assert not found.whole
    again = over([*entries, died(9.5, 4), said("birth", 9.6, started_ns=at(9.6))], a=10)
    assert hours(again.unwatched) == [(4, 9.6)]


def test_an_hour_of_counts_that_spans_a_death_is_watched_until_the_death() -> None:
    """Killed at 2.1, born again at 4.5; a history that was away gives both lives in one window from 2 to 5."""
    lives = [said("birth", -1), died(4.5, 2.1), said("birth", 4.5)]
    assert hours(over([*lives, cover(2, 10, 10)], a=10).unwatched) == [(2.1, 4.5)]
    assert hours(over([*lives, cover(2, 10, 10, hours=3)], a=10).unwatched) == [(2.1, 4.5)]


def test_an_hour_that_was_scored_within_a_silence_is_a_sign_of_life() -> None:
    """A broker was away: what came later was counted then."""
    lives = [said("birth", -1), died(3, 2.5), said("birth", 6.5, started_ns=at(6.5))]
    each = [cover(2, 10, 10), cover(4, 10, 10), cover(5, 10, 0)]
    found = over([*lives, *each], a=10)
    assert hours(found.unwatched) == [(2.5, 4), (5, 6.5)]
    assert found.silent == []  # nobody else watched then


def test_the_same_life_heard_again_was_silent_and_not_dead() -> None:
    entries = [
        said("birth", -1, started_ns=at(-1)),
        died(3, 2),
        said("birth", 5, started_ns=at(-1), resumed=True),
    ]
    assert over(entries, a=10).unwatched == ()


def test_a_new_life_began_when_it_says_between_the_last_sign_and_its_greeting() -> None:
    lives = [said("birth", -1, started_ns=at(-1)), died(5, 2)]
    for started, begin in ((4, 4), (1, 5), (7, 5)):
        found = over([*lives, said("birth", 5, started_ns=at(started))], a=10)
        assert hours(found.unwatched) == [(2, begin)]


def test_a_source_that_is_silent_while_others_watch_is_named() -> None:
    others = [said("birth", -99, "b"), *(cover(hour, 10, 10, "b") for hour in range(10))]
    found = over([said("birth", -1), died(5, 4), said("birth", 6), *others], a=10, b=10)
    assert (found.unwatched, [s for s, _ in found.silent]) == ((), ["a"])
    assert hours([part for _, part in found.silent]) == [(4, 6)]
    assert not found.whole
    ended = over([said("birth", -1), died(5, 4, reason="ended"), *others], b=10)
    assert ended.silent == []  # its own word
    assert ended.whole
    long_ago = over([said("birth", -60), died(-50, -51), *others], b=10)
    assert ([one.source for one in long_ago.gone], long_ago.silent) == (["a"], [])
    assert long_ago.whole


def test_what_is_yet_to_come_is_not_unwatched() -> None:
    found = over([said("birth", -1), *(cover(h, 5, 5) for h in range(4))], now=4, a=4)
    assert (found.unwatched, found.later) == ((), (at(4), at(10)))
    assert found.whole
    later = over([said("birth", -1)], now=-0.5, a=-0.5)
    assert (later.unwatched, later.later, later.any_data) == ((), (at(0), at(10)), False)


def test_an_open_beginning_is_the_first_that_is_known() -> None:
    found = weigh([said("birth", 3), cover(4, 5, 5)], 0, at(5), signs={"a": at(5)})
    assert found.unwatched == ()
    assert found.from_ns == at(3)


def test_a_feed_that_came_late_counts_tokens_and_no_time() -> None:
    entry = {**cover(0, 100, 50), "from_ns": 0}
    found = over([entry])
    assert found.served == 100
    assert found.unwatched == ((BEGIN, BEGIN + 10 * HOUR),)
    assert found.over_edge == 1


def test_gaps_are_named_until_they_are_closed() -> None:
    found = over(
        [
            said("birth", -9, name="pod-7"),
            said("gap", -1, first=1, last=9),  # named before the range
            said("gap", 1, first=1188, last=1200),
            said("gap", 2, "b", first=5, last=5),
            said("gap-closed", 3, first=1190, last=1191),
            said("gap", 20, first=1300, last=1301),  # found out later
            said("gap", 21, first=1310, last=1311),
            said("went-back", 22, had=1311, has=1305),  # they can never come
            said("gap", 40, first=1400, last=1401),  # too late to concern it
        ]
    )
    assert found.gaps == (
        Gap("a", 1188, 1189), Gap("a", 1192, 1200), Gap("a", 1300, 1301), Gap("b", 5, 5),
    )  # fmt: skip


SPANS = st.lists(st.tuples(st.integers(-5, 15), st.integers(1, 6)), max_size=6)


@given(SPANS)
def test_unwatched_is_what_no_hour_of_any_window_covers(spans: list[tuple[int, int]]) -> None:
    found = over([cover(begin, 1, 1, str(n), long) for n, (begin, long) in enumerate(spans)])
    seen = {h for begin, long in spans for h in range(begin, begin + long)}
    expected = [h for h in range(10) if h not in seen]
    listed = [h for a, b in found.unwatched for h in range((a - BEGIN) // HOUR, (b - BEGIN) // HOUR)]  # fmt: skip
    assert listed == (expected if found.any_data or not spans else list(range(10)))
