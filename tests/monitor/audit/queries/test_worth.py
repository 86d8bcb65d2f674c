"""What an answer is worth, in the words that people read."""

from __future__ import annotations

from datetime import UTC

from dosimeter.monitor.audit.queries.worth import none_found, percent, short, worth
from tests.monitor.audit.queries.test_watched import cover, died, over, said

BORN = said("birth", -1, name="pod-7")
FULL = [BORN, *(cover(hour, 100, 100) for hour in range(10))]


def test_none_that_was_watched_says_so_and_only_that() -> None:
    found = over(FULL, a=10)
    assert worth(found, UTC, total=0) == [
        "coverage 100 % of 1,000 tokens · gaps: none",
        "none, and that time was watched",
    ]
    assert len(worth(found, UTC, total=1)) == 1


def test_none_of_a_time_that_was_watched_in_part_says_how_much_was_not_and_who_was_silent() -> None:
    found = over([*FULL[:5], cover(3, 100, 89)], a=4)
    assert none_found(found) == (
        "none found, but 6.0 h of 10.0 h not known to be watched; 11 of 500 tokens not scored"
    )
    (line,) = [one for one in worth(found, UTC, total=0) if "gave no sign of life" in one]
    assert line.endswith("  (6.0 h)  pod-7 gave no sign of life")


def test_no_count_is_never_called_nothing_served() -> None:
    found = over([BORN], a=10)
    assert short(found).startswith("coverage is not known: no count of tokens came")
    assert none_found(found).startswith("none found, but coverage is not known")
    some = over([BORN, cover(3, 10, 10)], a=10)
    said_ = [one for one in worth(some, UTC, total=0) if "no count of tokens" in one]
    assert said_ == [
        "  no count of tokens for 9.0 h of the time watched: nothing was served then, or it is not counted yet"
    ]


def test_nothing_follows_where_nobody_watched_or_the_time_has_not_come() -> None:
    assert worth(over([]), UTC, total=0)[:2] == [
        "no data in that time",
        "nothing follows: nobody is known to have watched then",
    ]
    later = over([BORN], now=-0.5, a=-0.5)
    assert worth(later, UTC, total=0)[:2] == [
        "that time has not come yet",
        "nothing follows: that time has not come yet",
    ]
    part = over(FULL[:5], now=4, a=4)
    assert (
        none_found(part) == "none, and that time was watched until now; the rest has not come yet"
    )
    assert any(line.startswith("  not yet: ") for line in worth(part, UTC, total=0))


def test_alerts_of_a_time_without_coverage_are_not_called_no_data() -> None:
    assert worth(over([]), UTC, total=2)[0].startswith("coverage is not known")


def test_what_no_rule_looked_for_is_a_doubt_however_well_it_was_watched() -> None:
    said_ = none_found(over(FULL, a=10), ["no rule here ever read feature `x`"])
    assert said_ == "none found, but no rule here ever read feature `x`"


def test_one_pod_of_several_that_was_silent_is_named_with_its_time() -> None:
    other = [said("birth", -99, "b", name="pod-8"), *(cover(h, 10, 10, "b") for h in range(10))]
    found = over([BORN, died(5, 4), said("birth", 6), *other], a=10, b=10)
    assert "silent while others watched: pod-7" in short(found)
    assert none_found(found) == "none found, but pod-7 not known to have watched all the time"
    gone = over([said("birth", -60, name="pod-7"), died(-50, -51), *other], b=10)
    assert any("pod-7 since " in line for line in worth(gone, UTC, total=0))
    assert none_found(gone) == "none, and that time was watched"


def test_gaps_are_named_and_a_doubt() -> None:
    gap = [
        said("gap", 1, first=1188, last=1189),
        *(said("gap", 2, first=n, last=n) for n in (1300, 1310, 1400)),
    ]
    found = over([*FULL, *gap], a=10)
    assert "gaps: pod-7 seq 1188-1189, pod-7 seq 1300, pod-7 seq 1310 and 1 more" in short(found)
    assert none_found(found) == "none found, but 5 records never came here"


def test_a_share_is_never_rounded_up() -> None:
    assert [percent(s) for s in (1, 0.99999, 0.9998, 0.5, 0)] == [
        "100 %", "99.99 %", "99.98 %", "50 %", "0 %",
    ]  # fmt: skip


def test_lists_are_cut_and_say_so() -> None:
    found = over([BORN, *(cover(h, 100, h) for h in range(10))], a=10)
    lines = worth(found, UTC, total=1, most=3)
    assert sum("of 100  " in line for line in lines) == 3
    assert "    and 7 more" in lines
