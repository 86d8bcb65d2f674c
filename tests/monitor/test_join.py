"""Join: every row finds its request and scope, and no token is missing without a reason."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.frames import CODE_UNSCORED, ROWS, Scope, ScoreFrame, StepFrame
from dosimeter.monitor.coverage import Account, Positions, settle
from dosimeter.monitor.join import MAX_HOLES, Join
from dosimeter.monitor.records import Close, Open
from dosimeter.monitor.taps.wire import COUNTER_LIMIT, COUNTERS, WireError

F = 2


def opened(
    key: int, prompt: int, spans: list[list[int]] | None = None, again: bool = False
) -> Open:
    body = {"key": key, "prompt_len": prompt, "spans": spans or [], "again": again}
    return Open.parse(body)


def closed(key: int, served: int, emitted: int, cached: int = 0, **errors: int) -> Close:
    return Close.parse(
        {
            "key": key,
            "outcome": "finished",
            "served": served,
            "emitted": emitted,
            "cached": cached,
            "errors": errors,
        }
    )


def frame(*rows: tuple[int, int, int]) -> StepFrame:
    """rows: (key, start, n). The code of (key, position) is 100 * key + position."""
    table = np.array([(key, start, n, 0, 0) for key, start, n in rows], ROWS)
    values = [(100 * key + start + i) % 30000 for key, start, n in rows for i in range(n)]
    codes = np.repeat(np.array(values, np.int16)[:, None], F, axis=1)
    return StepFrame(table, codes.reshape(-1, F), 1, 2)


def told(joined: ScoreFrame | None) -> list[tuple[int, int, int, str]]:
    assert joined is not None
    return [(int(k), int(s), int(n), Scope(int(c)).name) for k, s, n, c in joined.segments.tolist()]


def stated(served: int, requests: int) -> dict[str, int]:
    counters = dict.fromkeys(COUNTERS.names or (), 0)
    return counters | {"served_closed": served, "requests_closed": requests}


def test_a_prompt_is_cut_where_its_scope_changes_and_what_follows_it_is_answer() -> None:
    join = Join(F, None)
    join.open(opened(7, 6, [[0, 0, 2], [2, 2, 6]]), "tap")
    joined = join.step(frame((7, 0, 8)))
    assert told(joined) == [(7, 0, 2, "SYSTEM"), (7, 2, 4, "MESSAGE"), (7, 6, 2, "ANSWER")]
    assert joined is not None
    assert joined.codes[:, 0].tolist() == list(range(700, 708))


def test_one_token_each_of_many_requests_keeps_rows_and_codes_together() -> None:
    join = Join(F, None)
    for key in (5, 3, 9):
        join.open(opened(key, 1), "tap")
        join.step(frame((key, 0, 1)))
    joined = join.step(frame((9, 1, 1), (5, 1, 1), (3, 1, 1)))
    assert told(joined) == [(9, 1, 1, "ANSWER"), (5, 1, 1, "ANSWER"), (3, 1, 1, "ANSWER")]
    assert joined is not None
    assert joined.codes[:, 0].tolist() == [901, 501, 301]


def test_prompts_and_next_tokens_in_one_step_keep_rows_and_codes_together() -> None:
    join = Join(F, None)
    for key in (1, 2, 3):
        join.open(opened(key, 2), "tap")
    join.step(frame((1, 0, 2), (3, 0, 2)))
    joined = join.step(frame((1, 2, 1), (2, 0, 3), (3, 2, 1)))
    assert joined is not None
    at = np.repeat(joined.segments, joined.segments["n"])
    expected = [
        100 * key + start
        for key, start, n, _ in joined.segments.tolist()
        for start in range(start, start + n)
    ]
    assert joined.codes[:, 0].tolist() == expected
    assert len(at) == len(joined.codes) == 5
    assert sorted(told(joined)) == [
        (1, 2, 1, "ANSWER"),
        (2, 0, 2, "MESSAGE"),
        (2, 2, 1, "ANSWER"),
        (3, 2, 1, "ANSWER"),
    ]


def test_rows_the_server_ran_twice_are_taken_once() -> None:
    join = Join(F, None)
    join.open(opened(1, 4), "tap")
    join.step(frame((1, 0, 4)))
    assert told(join.step(frame((1, 2, 4)))) == [(1, 4, 2, "ANSWER")]
    assert join.step(frame((1, 0, 6))) is None


def test_rows_before_their_open_wait_for_it() -> None:
    join = Join(F, None)
    assert join.step(frame((4, 0, 3))) is None
    (early,) = join.open(opened(4, 3), "tap")
    assert told(early) == [(4, 0, 3, "MESSAGE")]


def test_a_row_that_was_dropped_and_came_when_the_server_ran_it_again_is_counted_once() -> None:
    """The tap has named the positions by then. Under memory pressure, where servers put requests off and sockets fill,
    `unaccounted` had gone below zero."""
    for cached, served, emitted in ((0, 8, 6), (4, 8, 0)):
        join = Join(F, None)
        join.open(opened(1, 5), "tap")
        if not cached:
            join.step(frame((1, 0, 6)))  # of 8 rows, the last two were dropped
        join.step(frame((1, 0, 7)))  # put off, and run again as far as it had come but for one
        ended = join.close(closed(1, served, emitted, cached, dropped=served - cached - emitted))
        assert ended is not None
        assert (ended.account.scored, ended.account.unaccounted) == (7, 0)
        assert sum(ended.account.unscored.values()) == 1


def test_rows_after_the_servers_own_end_are_counted_apart() -> None:
    join = Join(F, None)
    join.open(opened(1, 3), "tap")
    join.step(frame((1, 0, 7)))
    ended = join.close(closed(1, served=5, emitted=7))
    assert ended is not None
    assert ended.account == Account(5, 5, {}, 2, 1, {"tap": 5})


def test_a_token_without_any_finite_score_is_unscored_and_one_column_is_not_enough() -> None:
    join = Join(F, None)
    join.open(opened(1, 3), "tap")
    step = frame((1, 0, 3))
    step.codes[1, :] = CODE_UNSCORED
    step.codes[2, 0] = CODE_UNSCORED
    join.step(step)
    ended = join.close(closed(1, served=3, emitted=3))
    assert ended is not None
    assert (ended.account.scored, ended.account.unscored) == (2, {"not_finite": 1})


def test_rows_that_were_sent_and_never_came_stay_unaccounted() -> None:
    join = Join(F, None)
    join.open(opened(1, 2), "tap")
    join.step(frame((1, 0, 2)))
    join.step(frame((1, 5, 1)))
    ended = join.close(closed(1, served=6, emitted=6))
    assert ended is not None
    assert (ended.account.scored, ended.account.unscored, ended.account.unaccounted) == (3, {}, 3)


def test_a_request_announced_again_owes_its_gap_to_the_restart() -> None:
    join = Join(F, Account())
    join.connect("tap")
    join.open(opened(1, 2, again=True), "tap")
    join.step(frame((1, 5, 1)))
    ended = join.close(closed(1, served=6, emitted=6))
    assert ended is not None
    assert ended.account.unscored == {"sidecar_restart": 5}


def test_requests_whose_close_was_never_seen_are_found_in_the_servers_total() -> None:
    join = Join(F, Account(served=100, scored=100, requests=3))
    join.connect("tap")
    assert join.counters("tap", stated(140, 5)) == []
    assert join.account == Account(140, 100, {"sidecar_restart": 40}, 0, 5, {"counters": 40})
    join.counters("tap", stated(140, 5))
    assert join.account.served == 140


def test_a_request_no_longer_named_after_a_reconnect_is_over() -> None:
    join = Join(F, None)
    join.connect("tap")
    join.open(opened(1, 2), "tap")
    join.open(opened(2, 2), "tap")
    join.connect("tap")
    join.open(opened(2, 2, again=True), "tap")
    assert [request.key for request in join.counters("tap", stated(9, 1))] == [1]
    assert join.account == Account(9, 0, {"dropped": 9}, 0, 1, {"counters": 9})
    assert list(join.live) == [2]


def test_a_front_that_connects_meanwhile_ends_no_request_of_the_tap() -> None:
    """After a restart of the sidecar all of a server's processes come back at once, in any order."""
    join = Join(F, None)
    join.connect("tap")
    join.open(opened(1, 2), "tap")
    join.connect("front")
    assert join.counters("tap", stated(0, 0)) == []
    assert told(join.step(frame((1, 0, 2)))) != []
    assert join.late_rows == 0


def test_the_account_says_whose_count_it_holds_against() -> None:
    join = Join(F, None)
    join.connect("tap")
    for key, source in enumerate(("usage", "scheduler", "usage"), start=1):
        body = {"key": key, "outcome": "finished", "served": 10 * key, "served_source": source}
        join.close(Close.parse(body))
    join.counters("tap", stated(67, 4))
    assert join.account.served_by == {"usage": 40, "scheduler": 20, "counters": 7}
    assert sum(join.account.served_by.values()) == join.account.served


def test_a_source_that_nobody_knows_is_refused() -> None:
    body = {"key": 1, "outcome": "finished", "served": 1, "served_source": "x"}
    with pytest.raises(WireError, match="expected one of usage"):
        Close.parse(body)


def test_rows_of_the_old_columns_do_not_wait_for_a_request_under_the_new() -> None:
    join = Join(F, None)
    join.step(frame((4, 0, 3)))
    join.rebind(F + 1)
    assert join.open(opened(4, 3), "tap") == []
    assert join.waiting.dropped == 3


def test_early_rows_that_nobody_asks_for_give_way_to_later_ones() -> None:
    join = Join(F, None)
    for key in range(1, 1100):  # 1024 of them fill it
        join.step(frame((key, 0, 4)))
    assert join.waiting.dropped == 4 * 75
    assert join.open(opened(75, 4), "tap") == []
    assert [told(one) for one in join.open(opened(76, 4), "tap")] == [[(76, 0, 4, "MESSAGE")]]
    assert len(join.open(opened(1099, 4), "tap")) == 1


def test_counters_of_several_roles_may_not_add_up_beyond_what_can_be_stored() -> None:
    join = Join(F, None)
    join.connect("tap")
    join.counters("tap", stated(COUNTER_LIMIT - 1, 1))
    with pytest.raises(WireError, match="2 roles add up beyond"):
        join.counters("front", stated(1, 1))
    assert join.account.served == COUNTER_LIMIT - 1


def test_a_request_with_more_holes_than_are_kept_comes_up_short_and_no_other_does() -> None:
    """Every second position alone is a hole each: without a bound one request grew for as long as it ran."""
    join = Join(F, None)
    for key in (1, 2):
        join.open(opened(key, 1), "tap")
    sent = MAX_HOLES + 100
    for i in range(sent):
        join.step(frame((1, 2 * i, 1)))
    join.step(frame((2, 0, 1), (2, 3, 1)))
    join.close(closed(2, 4, 2))
    assert (join.account.scored, join.account.unaccounted) == (2, 2)
    join.close(closed(1, 2 * sent, sent))
    # Positions 0 and one after each of the holes: what is beyond the last of them was not taken.
    assert join.account.scored == 2 + 1 + MAX_HOLES


def test_unscored_rows_side_by_side_are_one_hole() -> None:
    """A model that answers with NaN for an hour is one fact, whatever the number of steps."""
    join = Join(F, None)
    join.open(opened(1, 1), "tap")
    for at in range(0, 40, 2):
        step = frame((1, at, 2))
        step.codes.setflags(write=True)
        step.codes[:] = CODE_UNSCORED
        join.step(step)
    assert join.positions(join.live[1]).not_finite == [(0, 40)]


def test_a_row_entry_without_rows_does_not_wait() -> None:
    """Four million of them once waited, 500 bytes each, since none counted against the bound on rows."""
    join = Join(F, None)
    for key in range(100):
        assert join.step(frame((key, 0, 0), (key + 100, 5, 0))) is None
    assert all(join.waiting.take(key) == [] for key in range(200))


def test_a_bank_of_many_columns_has_fewer_live_requests() -> None:
    """2 MiB of last codes a request: not 65,536 of them."""
    join = Join(4096, None)
    for key in range(512):
        join.open(opened(key, 1), "tap")
    with pytest.raises(WireError, match="more than 512 requests are open"):
        join.open(opened(512, 1), "tap")


def test_columns_that_would_not_fit_the_live_requests_are_refused() -> None:
    join = Join(1, None)
    for key in range(513):
        join.open(opened(key, 1), "tap")
    with pytest.raises(WireError, match="4096 columns are too many for 513 open requests"):
        join.rebind(4096)
    assert join.features == 1


def test_slots_grow_and_are_used_again() -> None:
    join = Join(F, None)
    for key in range(1, 1300):
        join.open(opened(key, 1), "tap")
        join.step(frame((key, 0, 1)))
    assert join.slots.recent.slots == 2048
    for key in range(1, 1300):
        assert join.close(closed(key, 1, 1)) is not None
    join.open(opened(9000, 1), "tap")
    assert told(join.step(frame((9000, 0, 1)))) == [(9000, 0, 1, "MESSAGE")]
    assert join.account == Account(1299, 1299, {}, 0, 1299, {"tap": 1299})


def test_a_span_that_leaves_a_hole_is_refused() -> None:
    with pytest.raises(WireError, match="does not continue the prompt at 2"):
        opened(1, 6, [[0, 0, 2], [2, 3, 6]])


# --- the property: whatever happens, every served token is scored or has a reason


@dataclass
class Modelled:
    """What the server and the tap of one request know; written without looking at Join."""

    key: int
    prompt: int
    served: int
    cached: int
    at: int
    emitted: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    silent: int = 0
    silent_past_end: int = 0
    restarted: bool = False
    ran: int = 0  # as far as it ever came


@dataclass
class World:
    join: Join = field(default_factory=lambda: Join(F, None))
    live: dict[int, Modelled] = field(default_factory=dict)
    connected: bool = True
    served: int = 0
    requests: int = 0
    next_key: int = 1
    silent: int = 0
    silent_past_end: int = 0
    queued: list[Close] = field(default_factory=list)

    def begin(self, prompt: int, completion: int, cached: int, after: int) -> None:
        cached = min(cached, prompt - 1)
        request = Modelled(self.next_key, prompt, prompt + completion - 1, cached, cached)
        self.next_key += 1
        self.live[request.key] = request
        if self.connected:
            self.join.open(opened(request.key, prompt), "tap")

    def run(self, which: int, n: int, fate: str) -> None:
        if not self.live:
            return
        request = list(self.live.values())[which % len(self.live)]
        n = min(n, request.served + 1 - request.at)  # one row past the end can happen
        if n <= 0:
            return
        start, request.at = request.at, request.at + n
        new = max(0, request.at - max(start, request.ran, request.cached))
        request.ran = max(request.ran, request.at)
        if fate == "sent" and not self.connected:
            fate = "no_sidecar"
        if fate in ("sent", "silent"):
            request.emitted += new
            if fate == "sent":
                self.join.step(frame((request.key, start, n)))
            else:
                owed = max(0, min(start + n, request.served) - start)
                request.silent += owed
                request.silent_past_end += n - owed
        else:
            request.errors[fate] = request.errors.get(fate, 0) + new

    def put_off(self, which: int) -> None:
        """All of it is run again, what came out of the cache too."""
        if self.live:
            list(self.live.values())[which % len(self.live)].at = 0

    def end(self, which: int) -> None:
        if not self.live:
            return
        request = list(self.live.values())[which % len(self.live)]
        while request.at < request.served:
            self.run(which, request.served - request.at, "sent")
        del self.live[request.key]
        self.served += request.served
        self.requests += 1
        record = closed(
            request.key, request.served, request.emitted, request.cached, **request.errors
        )
        if not request.restarted:
            self.silent += request.silent
            self.silent_past_end += request.silent_past_end
        if self.connected:
            self.join.close(record)
        else:
            self.queued.append(record)

    def kill(self) -> None:
        """The sidecar dies: what it knew, apart from the stored account, is gone."""
        self.connected = False
        for request in self.live.values():
            request.restarted = True

    def return_(self, lose_queue: bool) -> None:
        if self.connected:
            return
        self.join = Join(F, self.join.account)
        self.join.connect("tap")
        for request in self.live.values():
            self.join.open(opened(request.key, request.prompt, again=True), "tap")
        for record in [] if lose_queue else self.queued:
            self.join.close(record)
        self.queued.clear()
        self.connected = True
        self.beat()

    def beat(self) -> None:
        if self.connected:
            self.join.counters("tap", stated(self.served, self.requests))


small = st.integers(0, 12)
fates = st.sampled_from(["sent", "sent", "sent", "dropped", "tap_error"])
events = st.one_of(
    st.tuples(st.just("begin"), st.integers(1, 20), st.integers(1, 20), small, small),
    st.tuples(st.just("run"), small, st.integers(1, 9), fates),
    st.tuples(st.just("end"), small),
    st.tuples(st.just("put_off"), small),
    st.tuples(st.just("kill")),
    st.tuples(st.just("return_"), st.booleans()),
    st.tuples(st.just("beat")),
)


def play(schedule: list[tuple[object, ...]]) -> World:
    world = World()
    world.join.connect("tap")
    for name, *arguments in schedule:
        getattr(world, str(name))(*arguments)
    world.return_(False)
    while world.live:
        world.end(0)
    world.beat()
    return world


def test_a_cached_row_that_ran_again_while_another_was_lost_is_counted_once() -> None:
    """One of the prompt was cached and one sent; the sidecar was killed and the request put off, and all run again."""
    begun = [("begin", 1, 1, 0, 0), ("begin", 2, 1, 1, 0), ("end", 0)]
    run = [("run", 0, 1, "sent"), ("run", 0, 1, "sent"), ("kill",), ("put_off", 0)]
    account = play([*begun, *run]).join.account
    assert account.unaccounted == 0, account


@settings(max_examples=100, deadline=None)
@given(st.lists(events, max_size=40))
def test_every_served_token_is_scored_or_has_a_reason(schedule: list[tuple[object, ...]]) -> None:
    world = play(schedule)
    account = world.join.account
    assert account.served == world.served
    assert account.requests == world.requests
    assert account.unaccounted == 0, account
    assert min([0, *account.unscored.values()]) == 0


silent_events = st.one_of(
    events.filter(lambda event: event[0] not in ("kill", "return_", "put_off")),
    st.tuples(st.just("run"), small, st.integers(1, 9), st.just("silent")),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(silent_events, max_size=40))
def test_a_loss_that_nobody_states_is_unaccounted_to_the_token(
    schedule: list[tuple[object, ...]],
) -> None:
    world = play(schedule)
    assert world.join.account.served == world.served
    # A row past the end that is lost can stand for one in the answer that was dropped: never less.
    assert world.silent <= world.join.account.unaccounted <= world.silent + world.silent_past_end


def test_what_comes_in_a_pause_has_no_score_and_its_own_reason_prompt_and_answer_alike() -> None:
    """Next tokens go all at once there too: one at a time they cost forty times what scoring them does."""
    join = Join(F, None)
    for key in (1, 2):
        join.open(opened(key, 2), "tap")
    join.step(frame((1, 0, 2)))
    joined = join.step(frame((1, 2, 1), (2, 0, 3)), paused=True)
    assert joined is not None
    assert (joined.codes == CODE_UNSCORED).all()
    assert told(joined) == [(1, 2, 1, "ANSWER"), (2, 0, 2, "MESSAGE"), (2, 2, 1, "ANSWER")]
    for start in (3, 4):
        join.step(frame((1, start, 1), (2, start, 1)), paused=True)
    assert told(join.step(frame((1, 5, 1), (2, 5, 1)))) == [
        (1, 5, 1, "ANSWER"),
        (2, 5, 1, "ANSWER"),
    ]
    assert join.positions(join.live[1]).paused == [(2, 5)]
    for key, scored in ((1, 3), (2, 1)):
        ended = join.close(closed(key, served=6, emitted=6))
        assert ended is not None
        account = ended.account
        assert (account.scored, account.unscored) == (scored, {"paused": 6 - scored})
        assert account.unaccounted == 0


def test_more_cached_than_there_was_is_not_taken_out_of_the_account() -> None:
    """Only what came again is: half of the positions came, none twice, and 80 of 50 are said to be cached."""
    half = Positions(next=100, gaps=[(0, 50)])
    account = settle(
        half, served=100, source="scheduler", emitted=50, cached=80, errors={}, loss_reason=None
    )
    assert (account.unscored, account.unaccounted) == ({"prefix_cache": 80}, -30)
