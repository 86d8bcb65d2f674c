"""Sums of coverage, times unwatched and gaps, against cases worked out by hand."""

from datetime import UTC
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.audit.queries.watched import Gap, Watched, lines, percent, short, weigh

HOUR = 3600 * 10**9
BEGIN = 500_000 * HOUR


def cover(at: int, served: int, scored: int, source: str = "a", hours: int = 1) -> dict[str, Any]:
    return {
        "kind": "coverage", "source": source, "time_ns": BEGIN + (at + hours) * HOUR, "epoch": "e",
        "from_ns": BEGIN + at * HOUR, "to_ns": BEGIN + (at + hours) * HOUR, "served": served, "scored": scored,
        "unscored": {"dropped": served - scored}, "unaccounted": 0,
    }  # fmt: skip


def said(kind: str, at: float, source: str = "a", **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "source": source, "time_ns": BEGIN + int(at * HOUR), **fields}


def over(entries: list[dict[str, Any]], first: int = 0, past: int = 10) -> Watched:
    return weigh(entries, BEGIN + first * HOUR, BEGIN + past * HOUR)


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
        ]
    )
    assert (found.served, found.scored, found.unscored) == (3500, 3479, {"dropped": 21})
    assert [(w.source, w.from_ns) for w in found.weak] == [("a", BEGIN + 2 * HOUR)]
    assert found.unwatched == ()
    assert found.any_data
    assert short(found) == "coverage 99.4 % of 3,500 tokens; 1 hour under 99 % · gaps: none"
    assert any("pod-7" in line and "98.9 % of 1,000" in line for line in lines(found, UTC))


def test_processes_of_one_source_are_one_hour_together() -> None:
    found = over([said("birth", 0), cover(1, 1000, 900), cover(1, 99_000, 99_000)])
    assert found.weak == []
    assert len(found.windows) == 1


def test_without_coverage_and_without_a_living_source_there_is_no_data() -> None:
    for entries in (
        [],
        [said("birth", -9), cover(-5, 10, 10), said("death", -1, reason="ended")],
        [said("birth", 11), cover(12, 10, 10)],
    ):
        found = over(entries)
        assert not found.any_data
        assert short(found) == "no data in that time"
        assert lines(found, UTC)[0].startswith("no data: nothing was watching")


def test_a_living_source_that_served_nothing_is_data() -> None:
    found = over([said("birth", -9)])
    assert found.any_data
    assert found.share is None
    assert found.unwatched == ()
    assert short(found) == "no tokens were served · gaps: none"


def test_times_between_a_death_and_the_next_birth_are_unwatched() -> None:
    entries = [
        said("birth", -1),
        said("death", 2, reason="silent"),
        said("birth", 2.5),
        said("birth", 3, "b"),
        said("death", 4, reason="ended"),
        said("death", 6, "b", reason="ended"),
    ]
    found = over(entries)
    assert [((a - BEGIN) / HOUR, (b - BEGIN) / HOUR) for a, b in found.unwatched] == [(2, 2.5), (6, 10)]  # fmt: skip
    assert "unwatched 4.5 h" in short(found)


def test_an_open_beginning_is_the_first_that_is_known() -> None:
    found = weigh([said("birth", 3), cover(4, 5, 5)], 0, BEGIN + 5 * HOUR)
    assert found.unwatched == ()


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
    assert "gaps: pod-7 seq 1188-1189, pod-7 seq 1192-1200, pod-7 seq 1300-1301 and 1 more" in short(found)  # fmt: skip


def test_a_share_is_never_rounded_up() -> None:
    assert [percent(s) for s in (1, 0.99999, 0.9998, 0.5, 0)] == [
        "100 %", "99.99 %", "99.98 %", "50 %", "0 %",
    ]  # fmt: skip


def test_lists_are_cut_and_say_so() -> None:
    found = over([said("birth", -1), *(cover(h, 100, h) for h in range(10))])
    assert sum("of 100" in line for line in lines(found, UTC, most=3)) == 3
    assert "    and 7 more" in lines(found, UTC, most=3)


SPANS = st.lists(st.tuples(st.integers(-5, 15), st.integers(1, 6)), max_size=6)


@given(SPANS)
def test_unwatched_is_what_no_hour_of_any_window_covers(spans: list[tuple[int, int]]) -> None:
    found = over([cover(at, 1, 1, str(n), hours) for n, (at, hours) in enumerate(spans)])
    seen = {h for at, hours in spans for h in range(at, at + hours)}
    expected = [h for h in range(10) if h not in seen]
    listed = [h for a, b in found.unwatched for h in range((a - BEGIN) // HOUR, (b - BEGIN) // HOUR)]  # fmt: skip
    assert listed == (expected if found.any_data or not spans else list(range(10)))
