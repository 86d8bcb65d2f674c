"""What never came to a member of the fleet is counted and named, and nothing is that only went to others."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition

from dosimeter.monitor.feed.items import Alert, Alive, Hello, Item
from dosimeter.monitor.fleet.gaps import KEPT_NS, FeedGaps, Lost

AT, OTHER = TopicPartition("feed", 3), TopicPartition("feed", 4)
S = 10**9
SOURCE = "ab" * 16


def alert(seq: int, source: str = SOURCE) -> Alert:
    return Alert(source, seq, f"{seq:032x}", b"{}", None, True)


def hello(first: int, last: int, *, exact_after: int = 0, at_ns: int = 1) -> Hello:
    return Hello(SOURCE, "pod-7", at_ns, first, exact_after, last)


def seen(gaps: FeedGaps, *items: Item, offset: int = 0, now_ns: int = S) -> dict[str, object]:
    gaps.see(AT, list(enumerate(items, offset)), now_ns)
    return gaps.as_dict()


def begun(due: int | None = None) -> FeedGaps:
    gaps = FeedGaps()
    gaps.begin(AT, due)
    return gaps


def test_records_that_the_topic_did_not_keep_are_named_by_partition_and_offsets() -> None:
    gaps = begun(due=5)
    found = seen(gaps, alert(1), alert(2), offset=9)
    assert found == {
        "records_missing": 4,
        "positions_missing": 0,
        "gaps": ["feed-3 offsets 5-8: not kept until they were read"],
    }
    assert seen(gaps, alert(3), offset=11)["records_missing"] == 4


def test_where_nothing_was_committed_any_record_may_be_the_first() -> None:
    assert seen(begun(), alert(1), offset=900)["records_missing"] == 0


def test_a_topic_that_was_made_anew_lacks_nothing_by_its_offsets() -> None:
    gaps = begun(due=900)
    assert seen(gaps, alert(1), offset=0)["records_missing"] == 0
    assert seen(gaps, alert(2), offset=2)["records_missing"] == 1


def test_positions_passed_over_are_named_by_sidecar_and_are_not_missing_once_they_come() -> None:
    gaps = begun()
    found = seen(gaps, hello(1, 0), alert(1), alert(4))
    assert found["positions_missing"] == 2
    assert found["gaps"] == ["pod-7 (abababab) positions 2-3: not sent, or not yet"]
    assert seen(gaps, alert(2), offset=3)["positions_missing"] == 1


def test_what_a_sidecar_sent_before_we_read_is_not_ours_to_miss() -> None:
    """A member takes a partition over in the middle: the sidecar greets with all it ever had, then goes on."""
    gaps = begun(due=70)
    assert seen(gaps, hello(1, 5000), alert(5001), alert(5002), offset=70)["gaps"] == []
    found = seen(gaps, hello(1, 5002, at_ns=2), alert(5004), offset=73)
    assert found["positions_missing"] == 1


def test_what_a_sidecar_says_it_has_and_does_not_send_is_missing_after_a_while() -> None:
    gaps = begun()
    alive = Alive(SOURCE, 3, 2 * S)
    assert seen(gaps, alert(1), alive, now_ns=2 * S)["positions_missing"] == 0
    assert seen(gaps, offset=2, now_ns=70 * S)["positions_missing"] == 2


def test_positions_that_an_older_release_skipped_are_not_missing() -> None:
    assert seen(begun(), hello(1, 0, exact_after=8), alert(3), alert(7))["gaps"] == []


def test_a_partition_that_others_read_in_between_is_begun_anew_and_what_was_said_stays() -> None:
    gaps = begun()
    gaps.begin(OTHER, None)
    seen(gaps, alert(1), alert(3))
    gaps.end([AT])
    assert gaps.partitions == {OTHER}
    gaps.begin(AT, 60)
    found = seen(gaps, alert(40), offset=60)
    assert (found["positions_missing"], found["records_missing"]) == (1, 0)


def test_of_many_gaps_the_latest_are_named_and_all_are_counted() -> None:
    lost = Lost()
    for n in range(30):
        lost.see(AT, 10 * n, 10 * n + 2)
        lost.settle()
    lost.see(AT, 0, 7)
    lost.forget()
    lost.settle()
    assert (lost.records, len(lost.named)) == (60, 20)
    assert lost.named[-1].startswith("feed-3 offsets 290-291: ")


DAY_S = 86_400 * S
POD = st.integers(0, 5)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 9).map(lambda n: n * DAY_S),  # that went by before
        st.lists(st.tuples(POD, st.booleans(), st.integers(0, 3)), max_size=4),  # greets, skips
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_what_a_sidecar_skips_is_missing_unless_it_was_not_heard_of_for_a_week(
    steps: list[tuple[int, list[tuple[int, bool, int]]]],
) -> None:
    """Pods come and go, and each is a source of its own: kept is what was heard of within KEPT_NS, and nothing else."""
    gaps, now, offset, missing = begun(), S, 0, 0
    last: dict[str, int] = {}  # position
    heard: dict[str, int] = {}
    for went_by, said in steps:
        now += went_by
        gaps.see(AT, [], now)
        for name in [name for name, at in heard.items() if now - at >= KEPT_NS]:
            heard.pop(name)
            last.pop(name, None)
        items: list[Item] = []
        for pod, greets, skips in said:
            name = f"{pod:032x}"
            if greets:
                items.append(Hello(name, f"pod-{pod}", now, 1, 0, last.get(name, 0)))
            missing += skips if name in last else 0
            last[name] = last.get(name, 0) + skips + 1
            items.append(alert(last[name], name))
            heard[name] = now
        gaps.see(AT, list(enumerate(items, offset)), now)
        offset += len(items)
        assert gaps.as_dict()["positions_missing"] == missing
        assert set(gaps._heard) == set(heard)
        for part in gaps._parts.values():
            assert part.sources == set(heard) == set(part.watcher._sources)


def test_a_sidecar_that_lives_is_known_however_long_ago_it_greeted() -> None:
    gaps = begun()
    seen(gaps, hello(1, 0, exact_after=2), alert(1))
    for day in range(1, 30):
        seen(gaps, Alive(SOURCE, 1, day * DAY_S), offset=1 + day, now_ns=day * DAY_S)
    found = seen(gaps, alert(5), offset=31, now_ns=30 * DAY_S)
    assert found["gaps"] == ["pod-7 (abababab) positions 3-4: not sent, or not yet"]
