"""Memory is bounded, and what it forgets or stops to count is said."""

from __future__ import annotations

from dosimeter.rules.remembered import MOST_COUNTED, Digest, Memory, Window


def test_a_group_has_notified_within_a_span_until_the_span_is_over() -> None:
    memory = Memory(10)
    memory.note("a", 100, 50)
    assert memory.within("a", 149, 50)
    assert not memory.within("a", 150, 50)
    assert not memory.within("b", 149, 50)


def test_the_earliest_group_is_forgotten_where_there_is_no_room() -> None:
    memory = Memory(2)
    for now, key in enumerate(("a", "b", "a", "c")):
        memory.note(key, now, 1000)
    assert [memory.within(key, 4, 1000) for key in ("a", "b", "c")] == [True, False, True]
    assert (len(memory), memory.evicted) == (2, 1)


def test_groups_that_no_longer_matter_go_without_being_counted_as_evicted() -> None:
    memory = Memory(100)
    for now in range(100):
        memory.note(str(now), now, 10)
        assert len(memory) <= 10
    memory.note("later", 1000, 10)
    memory.note("later", 1000, 10)
    assert memory.evicted == 0
    for _ in range(5):
        memory.note("later", 1001, 10)
    assert len(memory) == 1


def test_a_group_that_matters_for_one_more_nanosecond_is_kept() -> None:
    memory = Memory(10)
    memory.note("a", 0, 10)
    memory.note("b", 9, 10)
    assert len(memory) == 2
    assert memory.within("a", 9, 10)
    memory.note("c", 10, 10)
    assert len(memory) == 2


def test_the_two_kinds_of_key_never_meet() -> None:
    """A request may be named like a tenant, and a tenant like a user."""
    memory = Memory(10)
    memory.note(("tenant", "acme"), 0, 10)
    assert not memory.within("acme", 1, 10)
    assert not memory.within(("user", "acme"), 1, 10)


def test_windows_follow_each_other_from_the_epoch_on() -> None:
    assert [(w.from_ns, w.to_ns) for w in (Window(0, 60), Window(59, 60), Window(60, 60))] == [
        (0, 60),
        (0, 60),
        (60, 120),
    ]


def test_groups_are_counted_exactly_to_ten_thousand_and_then_as_a_floor() -> None:
    window = Window(0, 60)
    for n in range(MOST_COUNTED):
        window.limit(str(n))
        window.limit(str(n // 2))
    assert window.digest("r") == Digest("r", 0, 60, 0, 20_000, 10_000, False)
    window.limit("5")
    assert window.digest("r").groups_floor is False
    window.limit("new")
    window.limit("5")
    assert window.digest("r") == Digest("r", 0, 60, 0, 20_003, 10_000, True)
