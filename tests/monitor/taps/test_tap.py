"""A failing step is counted for the requests in it, never reaches the server, and cannot blind the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dosimeter.monitor.taps import tap as tap_module
from dosimeter.monitor.taps.requests import Request, Requests
from dosimeter.monitor.taps.rows import Rows
from dosimeter.monitor.taps.tap import Breaker, Replacement, Tap


class Op:
    """A fake read-out: scores are the row number, or an error where one is injected."""

    def __init__(self) -> None:
        self.fail = False
        self.begun = 0

    def begin(self) -> None:
        self.begun += 1

    def read(self, n: int, select: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32]:
        if self.fail:
            raise RuntimeError("injected")
        return np.arange(n, dtype=np.float32)[:, None]


def of_step(*rows: tuple[Request, int, int]) -> Rows:
    found = Rows()
    for row in rows:
        found.add(*row)
    return found


class Ill(int):
    """A first position that nothing can be compared with: what a defect of ours is met by, for one request."""

    def __bool__(self) -> bool:
        raise RuntimeError("a defect that one request brings out")


class Fixture:
    def __init__(self, takes: int = 1_000_000) -> None:
        self.requests = Requests(lambda kind, record: None, lambda: 0)
        self.op, self.frames, self.states = Op(), [], []
        self.takes = takes
        self.tested = 0
        self.tap = Tap(
            self.op, self.sink, self.self_test, self.states.append, Breaker(limit=3, pause_s=0.0)
        )

    def sink(self, rows: npt.NDArray[np.void], scores: object, ns: int) -> tuple[int, str | None]:
        total = int(rows["n"].sum())
        self.frames.append(rows.tolist())
        return min(total, self.takes), "dropped" if total > self.takes else None

    def self_test(self) -> None:
        self.tested += 1
        if self.op.fail:
            raise RuntimeError("op is still wrong")

    def request(self) -> Request:
        return self.requests.open([1, 2, 3], None)

    def step(self, *rows: tuple[Request, int, int]) -> str:
        return self.tap.step(lambda: (of_step(*rows), None), lambda: "server's result")


def test_the_servers_result_and_errors_pass_through() -> None:
    fixture = Fixture()
    assert fixture.step((fixture.request(), 0, 3)) == "server's result"

    def crash() -> None:
        raise MemoryError("the server's own")

    with pytest.raises(MemoryError):
        fixture.tap.step(lambda: (Rows(), None), crash)


def test_rows_are_named_by_key_start_and_what_the_cache_held() -> None:
    fixture = Fixture()
    a, b = fixture.request(), fixture.request()
    fixture.step((a, 0, 3), (b, 16, 2))
    fixture.step((b, 18, 1), (a, 3, 1))
    assert fixture.frames == [
        [(a.key, 0, 3, 0, 1), (b.key, 16, 2, 16, 1)],
        [(b.key, 18, 1, 0, 0), (a.key, 3, 1, 0, 0)],
    ]
    assert (a.emitted, b.emitted, b.cached) == (4, 3, 16)


def test_recomputed_rows_are_sent_again_and_counted_once() -> None:
    fixture = Fixture()
    request = fixture.request()
    fixture.step((request, 0, 5))
    fixture.step((request, 0, 6))
    assert request.emitted == 6


def test_a_failed_step_is_charged_to_its_requests_only() -> None:
    fixture = Fixture()
    ill, well = fixture.request(), fixture.request()
    fixture.op.fail = True
    fixture.step((ill, 0, 4))
    fixture.op.fail = False
    fixture.step((well, 0, 4), (ill, 4, 1))
    assert ill.unscored == {"tap_error": 4}
    assert (ill.emitted, well.emitted, well.unscored) == (1, 4, {})


def test_rows_of_steps_that_could_not_be_read_are_told() -> None:
    fixture = Fixture()
    told: list[int] = []
    fixture.tap.on_unread = told.append
    a, b = fixture.request(), fixture.request()
    fixture.op.fail = True
    fixture.step((a, 0, 4), (b, 0, 2))
    fixture.op.fail = False
    fixture.step((a, 4, 1))
    assert (told, fixture.tap.rows_error) == ([6], 6)


def test_a_sink_that_fails_leaves_the_step_unread() -> None:
    fixture = Fixture()
    told: list[int] = []
    request = fixture.request()

    def sink(*_: object) -> tuple[int, str | None]:
        raise OSError("no sink")

    tap = Tap(fixture.op, sink, on_unread=told.append)
    tap.step(lambda: (of_step((request, 0, 3)), None), lambda: None)
    assert (told, request.unscored, request.emitted) == ([3], {"tap_error": 3}, 0)
    assert (tap.rows_error, tap.rows_emitted) == (3, 0)


def test_a_sink_that_goes_on_failing_is_a_blind_tap() -> None:
    """The read of each step had counted as a step that went well, so the tap said `live` and handed nothing on."""
    fixture = Fixture()
    request, sink = fixture.request(), fixture.tap._sink

    def failing(*_: object) -> tuple[int, str | None]:
        raise OSError("no sink")

    fixture.tap._sink = failing
    for at in range(4):
        fixture.step((request, at, 1))
    assert fixture.states == ["3 failed steps in a row, the last: no sink"]
    fixture.tap._sink = sink
    fixture.step((request, 4, 1))
    assert fixture.states[1:] == [None]
    assert (request.unscored, request.emitted) == ({"tap_error": 4}, 1)


def test_the_breaker_opens_after_k_failures_and_closes_after_a_passed_self_test() -> None:
    fixture = Fixture()
    request = fixture.request()
    fixture.op.fail = True
    for position in range(4):
        fixture.step((request, position, 1))
    assert len(fixture.states) == 1
    assert "injected" in fixture.states[0]
    assert fixture.tested == 1  # the fourth step was a trial, and failed
    fixture.op.fail = False
    fixture.step((request, 4, 1))
    assert fixture.states[1:] == [None]
    assert (request.unscored, request.emitted) == ({"tap_error": 4}, 1)


def test_an_open_breaker_does_no_work_until_its_pause_is_over() -> None:
    fixture = Fixture()
    fixture.tap.breaker = Breaker(limit=1, pause_s=3600.0)
    fixture.op.fail = True
    request = fixture.request()
    fixture.step((request, 0, 1))
    begun = fixture.op.begun
    fixture.step((request, 1, 1))
    assert fixture.op.begun == begun
    assert request.unscored == {"tap_error": 2}


def test_rows_the_wire_did_not_take_are_charged_from_the_end() -> None:
    fixture = Fixture(takes=5)
    a, b, c = (fixture.request() for _ in range(3))
    fixture.step((a, 0, 3), (b, 0, 4), (c, 0, 2))
    assert [r.emitted for r in (a, b, c)] == [3, 2, 0]
    assert [r.unscored for r in (a, b, c)] == [{}, {"dropped": 2}, {"dropped": 2}]


def test_a_pause_that_ends_within_a_step_does_not_count_that_step_against_the_op() -> None:
    """Most time passes inside a forward: a retry that began there was never armed, failed, and put the
    next one off again, so that a tap stayed blind long after its fault was gone."""
    fixture = Fixture()
    fixture.tap.breaker = Breaker(limit=1, pause_s=3600.0)
    request = fixture.request()
    fixture.op.fail = True
    fixture.step((request, 0, 1))
    fixture.op.fail = False

    def forward() -> None:
        fixture.tap.breaker.retry_at = 0.0

    fixture.tap.step(lambda: (of_step((request, 1, 1)), None), forward)
    assert fixture.tap.breaker.failures == 1
    fixture.step((request, 2, 1))
    assert fixture.states[-1] is None
    assert (request.unscored, request.emitted) == ({"tap_error": 2}, 1)


def test_rows_lost_before_the_first_that_was_read_are_not_taken_for_the_prefix_cache() -> None:
    fixture = Fixture()
    request = fixture.request()

    def broken() -> tuple[Rows, None]:
        raise KeyError("a field this release renamed")

    fixture.tap.step(broken, lambda: None)  # these were rows 0 to 4
    fixture.step((request, 5, 1))
    assert (request.cached, request.unscored, request.emitted) == (0, {"tap_error": 5}, 1)


def test_positions_that_the_server_passes_over_within_a_prompt_are_named() -> None:
    """It put the request off after 3 rows, another ran the same prompt meanwhile, and its pages were there then."""
    fixture = Fixture()
    request = fixture.request()
    fixture.step((request, 0, 3))
    fixture.step((request, 16, 2))
    assert (request.cached, request.emitted, request.unscored) == (13, 5, {})
    assert fixture.frames[-1] == [(request.key, 16, 2, 0, 0)]


def test_rows_lost_within_a_request_are_not_taken_for_the_prefix_cache() -> None:
    fixture = Fixture()
    request = fixture.request()

    def broken() -> tuple[Rows, None]:
        raise KeyError("a field this release renamed")

    fixture.step((request, 4, 3))  # 4 of them from a cache
    fixture.tap.step(broken, lambda: None)  # row 7
    fixture.step((request, 8, 1))
    assert (request.cached, request.unscored, request.emitted) == (4, {"tap_error": 1}, 4)


def test_a_step_beside_another_is_counted_and_never_given_the_others_scores() -> None:
    fixture = Fixture()
    a, b = fixture.request(), fixture.request()
    fixture.tap.step(lambda: (of_step((a, 0, 2)), None), lambda: fixture.step((b, 0, 2)))
    assert fixture.frames == [[(a.key, 0, 2, 0, 1)]]
    assert (a.emitted, b.unscored) == (2, {"tap_error": 2})


def test_rows_of_a_forward_that_the_server_could_not_finish_are_not_served() -> None:
    fixture = Fixture()
    request = fixture.request()

    def crash() -> None:
        raise MemoryError("the server's own")

    with pytest.raises(MemoryError):
        fixture.tap.step(lambda: (of_step((request, 0, 3)), None), crash)
    assert (request.undone, request.emitted, request.unscored) == (3, 0, {})
    fixture.step((request, 0, 3))  # and the op reads on
    assert request.emitted == 3


def test_nobody_who_listens_can_cost_the_server_its_step() -> None:
    fixture = Fixture()

    def tell(reason: str | None) -> None:
        raise OSError("no one there")

    fixture.tap.on_state = tell
    fixture.op.fail = True
    for position in range(5):
        assert fixture.step((fixture.request(), position, 1)) == "server's result"


def test_a_model_that_was_changed_is_not_read_and_every_row_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores of other weights under the pack's name would be worse than none."""
    monkeypatch.setattr(tap_module, "ASK_S", 0.0)
    fixture = Fixture()
    why: list[str | None] = ["weights changed"]
    fixture.tap = Tap(
        fixture.op, fixture.sink, on_state=fixture.states.append, changed=lambda: why[0]
    )
    request = fixture.request()
    fixture.step((request, 0, 4))
    fixture.step((request, 4, 1))
    assert (request.unscored, fixture.states) == ({"model_changed": 5}, ["weights changed"])
    why[0], fixture.tap._ask_at = None, 0.0
    fixture.step((request, 5, 1))
    assert (request.emitted, fixture.states) == (1, ["weights changed", None])


def test_a_request_that_our_bookkeeping_fails_on_costs_the_others_nothing() -> None:
    """Found by `dosimeter chaos blind` on 2026-11-20: every step with such a request in it was lost to all, and
    five of them opened the breaker, so that one client could blind the monitor for everyone."""
    fixture = Fixture()
    ill, well = fixture.request(), fixture.request()
    fixture.tap.on_error = fixture.requests.failed
    kept: list[object] = []
    fixture.tap._sink = lambda rows, values, ns: (kept.append(values.tolist()), (len(rows), None))[
        1
    ]  # type: ignore[union-attr]
    for step in range(5):
        fixture.step((ill, Ill(2 * step), 2), (well, step, 1))
    assert kept == [[[2.0]]] * 5  # the third row of each step is the other request's
    assert (ill.unscored, ill.emitted) == ({"tap_error": 10}, 0)
    assert (well.unscored, well.emitted) == ({}, 5)
    assert (fixture.tap.rows_error, fixture.states) == (10, [])
    assert fixture.requests.errors == 5  # and `/status` says what it was


@pytest.mark.parametrize("at", [0, 1])
def test_rows_that_a_request_could_not_note_are_charged_once(at: int) -> None:
    """Of its first rows also what the server's cache held before them: nothing else tells of that."""
    fixture = Fixture()
    request = fixture.request()
    for index, (start, n) in enumerate(((16, 4), (20, 2), (22, 1))):
        fixture.step((request, Ill(start) if index == at else start, n))
    lost = 20 if at == 0 else 2
    assert request.unscored == {"tap_error": lost}
    assert request.cached + request.emitted + lost == 23


def test_other_packs_are_taken_over_between_two_steps_and_by_the_later_one() -> None:
    fixture, taken = Fixture(), []
    request = fixture.request()
    new = Replacement(lambda: taken.append(len(fixture.frames)), lambda: None)
    step = fixture.tap.begin(lambda: (of_step((request, 0, 3)), None))
    fixture.tap.load(new)
    fixture.tap.end(step)
    assert (taken, len(fixture.frames)) == ([], 1)
    fixture.step((request, 3, 1))
    fixture.step((request, 4, 1))
    assert (taken, len(fixture.frames)) == ([1], 3)
    assert request.unscored == {}


def test_rows_that_waited_while_other_packs_came_are_not_given_to_them() -> None:
    """Of a draft, whose request another thread's step has passed: its scores are of packs nobody says any more."""
    fixture = Fixture()
    drafted, other = fixture.request(), fixture.request()
    held = fixture.tap.hold(fixture.tap.begin(lambda: (of_step((drafted, 0, 3)), None)))
    fixture.tap.load(Replacement(lambda: None, lambda: None))
    fixture.step((other, 0, 2))
    fixture.tap.release(held, [2])
    assert (drafted.emitted, drafted.unscored) == (0, {"pack_changed": 2})
    assert (other.emitted, other.unscored) == (2, {})


def test_held_rows_that_could_not_be_handed_on_are_not_taken_for_the_prefix_cache() -> None:
    fixture = Fixture()
    request = fixture.request()
    held = fixture.tap.hold(fixture.tap.begin(lambda: (of_step((request, 0, 3)), None)))
    fixture.tap.release(held, [])  # of no request how many: an error of ours
    fixture.step((request, 3, 1))
    assert (request.cached, request.unscored, request.emitted) == (0, {"tap_error": 3}, 1)


def test_packs_that_cannot_be_taken_over_are_tried_again_and_nothing_is_read_meanwhile() -> None:
    fixture, wrong, tested = Fixture(), [True], []

    def take() -> None:
        if wrong:
            raise RuntimeError("half of it is in")

    fixture.tap.load(Replacement(take, lambda: tested.append(1)))
    request = fixture.request()
    for position in range(3):
        fixture.step((request, position, 1))
    assert request.unscored == {"tap_error": 3}
    assert "half of it is in" in str(fixture.states[-1])
    wrong.clear()
    fixture.step((request, 3, 1))
    assert (request.emitted, fixture.states[-1]) == (1, None)
    assert (tested, fixture.tested) == ([1], 0)  # by the self-test of the packs that are in
