"""The promise on false alarms, delays on planted drifts, and state that does not depend on batching."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.bank import Column
from dosimeter.detectors.bets import Bets, bets_on
from dosimeter.detectors.calibrate import Calibration, NotCalibrated, NotEnough
from dosimeter.detectors.drift import MISS, DriftMonitor, as_json, as_lines, request_means
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import CODE_UNSCORED, Scope
from dosimeter.detectors.shapes import NEVER, Stream

PACK = "ab" * 32
SD = 200
Draw = Callable[[np.random.Generator, int], np.ndarray]


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.rint(SD * rng.standard_normal(n)).astype(np.int64)


def cauchy(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.rint(np.clip(SD * rng.standard_cauchy(n), -32767, 32767)).astype(np.int64)


def coin(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(0, 2, n)


def rarely(rng: np.random.Generator, n: int) -> np.ndarray:
    """Almost always 0; one in 50 saturates: ties at the edge of the top tenth."""
    return np.where(rng.random(n) < 0.02, 32767, 0)


def calibration(means: np.ndarray, scope: Scope = Scope.ANSWER) -> Calibration:
    """One request of one token a mean."""
    return Calibration(
        features=("scam",),
        packs=(PACK,),
        codes=np.asarray(means, dtype=np.int16).reshape(-1, 1),
        offsets=np.arange(len(means) + 1, dtype=np.int64),
        scopes=np.full(len(means), int(scope), dtype=np.uint8),
        corpus="made by hand",
        date="2026-01-31",
    )


def monitor(
    means: np.ndarray, days: float = 30, per_day: int = 1000, among: int = 1
) -> DriftMonitor:
    return DriftMonitor.from_calibration(
        calibration(means),
        "scam",
        Scope.ANSWER,
        false_alarm_days=days,
        answers_per_day=per_day,
        among=among,
    )


def feed(found: DriftMonitor, means: np.ndarray) -> None:
    n = len(means)
    scopes = np.full(n, int(Scope.ANSWER), dtype=np.uint8)
    found.observe_requests(Stream(np.asarray(means, np.int16), np.arange(n + 1), scopes))


def alarms(
    bets: Bets, draw: Draw, rng: np.random.Generator, limit: float, t: int, runs: int
) -> int:
    """Of so many runs of t requests, those whose evidence ever reached the limit."""
    evidence = np.zeros((3, runs, len(bets.stake)))
    fired = np.zeros(runs, dtype=bool)
    for at in range(1, t + 1):
        bets.advance(evidence, bets.outcomes(draw(rng, runs)), at)
        fired |= evidence[0].mean(axis=1) >= limit
        evidence[:, fired] = 0.0
    return int(fired.sum())


@pytest.mark.parametrize("draw", [normal, cauchy, coin, rarely])
def test_false_alarms_on_unchanged_traffic_stay_within_the_promise(draw: Draw) -> None:
    """8 calibrations, 100 streams each, of a fifth of the interval: at most a fifth may alarm."""
    rng = np.random.default_rng(11)
    limit, t, runs, calibrations = 2000.0, 400, 100, 8
    fired = sum(
        alarms(bets_on(draw(rng, 1000), MISS), draw, rng, limit, t, runs)
        for _ in range(calibrations)
    )
    assert fired <= t / limit * runs * calibrations


def test_without_room_for_the_calibrations_own_error_the_promise_breaks() -> None:
    """Why the bounds have room: a calibration of 1000 whose mean lies 2 standard errors low."""
    rng = np.random.default_rng(2)
    means = normal(rng, 1000)
    means -= round(means.mean() + 2 * SD / np.sqrt(1000))
    bets = bets_on(means, MISS)
    trusting = Bets(bets.reference, bets.view, bets.share, bets.share, bets.stake)
    limit, t, runs = 10_000.0, 2000, 40  # a fifth may alarm
    assert alarms(trusting, normal, rng, limit, t, runs) > 0.4 * runs
    assert alarms(bets, normal, rng, limit, t, runs) <= 0.2 * runs


@pytest.mark.parametrize(("shift", "direction"), [(0.3, "up"), (-0.3, "down")])
def test_a_shift_of_three_tenths_of_a_sd_is_found_within_1500_requests(
    shift: float, direction: str
) -> None:
    """After 3000 unchanged requests, at one false alarm in 30 000; 8 of 8 streams."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        found = monitor(normal(rng, 3000))
        feed(found, normal(rng, 3000))
        assert not found.state.drifted
        feed(found, normal(rng, 1500) + round(shift * SD))
        state = found.state
        assert (state.drifted, state.direction) == (True, direction)
        assert state.since is not None
        assert 2500 < state.since <= state.requests < 4500
        assert found.promotion_frozen


def test_a_slow_ramp_is_found_before_it_has_gone_half_a_sd() -> None:
    """A tenth of a sd every thousand requests."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        found = monitor(normal(rng, 3000))
        feed(found, normal(rng, 5000) + np.rint(np.arange(5000) * SD / 10_000).astype(np.int64))
        assert (found.state.drifted, found.state.direction) == (True, "up")


def test_more_requests_in_the_tail_alone_are_found() -> None:
    """4 % at 4 sd: the mean rank hardly moves, and alerts would come fivefold."""
    rng = np.random.default_rng(4)
    found = monitor(normal(rng, 3000))
    live = normal(rng, 3000)
    feed(found, np.where(rng.random(3000) < 0.04, 4 * SD, live))
    assert found.state.drifted
    assert "reach the top 1.0% of the calibration" in found.state.sentence


def test_traffic_that_never_varied_notices_the_first_requests_that_do() -> None:
    found = monitor(np.zeros(1000))
    feed(found, np.zeros(5000))
    assert not found.state.drifted
    feed(found, np.ones(100))
    assert (found.state.drifted, found.state.direction) == (True, "up")


def test_a_longer_interval_and_more_monitors_raise_the_limit() -> None:
    means = normal(np.random.default_rng(1), 1000)
    assert monitor(means, days=30, per_day=1000).state.limit == 30_000
    shared = monitor(means, days=30, per_day=1000, among=10)
    assert shared.state.limit == 300_000
    assert shared.tolerance > monitor(means).tolerance
    feed(shared, means + 4 * SD)
    assert shared.state.sentence.endswith("on any of 10 monitors once in 30 days at most")


def test_nothing_is_compared_after_a_drift_and_it_stays() -> None:
    rng = np.random.default_rng(1)
    found = monitor(normal(rng, 1000))
    feed(found, normal(rng, 500) + 2 * SD)
    before = found.state
    feed(found, normal(rng, 20_000))
    assert before.drifted
    assert found.state == before
    assert before.requests < 500


def test_the_statistic_of_a_request_is_the_ceiling_of_its_scored_mean() -> None:
    """Two stretches of the scope are one request; other scopes and unscored tokens are not in it."""
    u, a, m = CODE_UNSCORED, int(Scope.ANSWER), int(Scope.MESSAGE)
    codes = np.array([1, 2, 900, 4, u, u, -1, -2, 900, 32767], np.int16)
    scopes = np.array([a, a, m, a, a, a, a, a, m, a], np.uint8)
    offsets = np.array([0, 5, 6, 8, 8, 9, 10])
    found = request_means(Stream(codes, offsets, scopes), Scope.ANSWER)
    assert found.tolist() == [3, NEVER, -1, NEVER, NEVER, 32767]


def test_requests_without_a_score_are_counted_and_change_nothing() -> None:
    found = monitor(np.arange(1000))
    found.observe(np.zeros(0, np.int16))
    found.observe(np.full(5, CODE_UNSCORED, np.int16))
    assert (found.state.requests, found.state.unscored, found.state.statistic) == (0, 2, 0.0)
    assert found.state.sentence == "`scam` in scope `answer`: nothing compared yet"
    assert any("2 requests had no score" in line for line in as_lines([found]))


requests = st.lists(
    st.lists(st.sampled_from([CODE_UNSCORED, -32767, -300, 0, 1, 250, 32767]), max_size=4),
    max_size=60,
)


@settings(deadline=None, max_examples=25)
@given(requests, st.integers(0, 60), st.sampled_from([2.0, 50.0, 1e8]))
def test_one_batch_and_one_request_at_a_time_give_equal_state(
    live: list[list[int]], cut: int, days: float
) -> None:
    """To the bit, with a restart from JSON in between; small limits drift on the way."""
    means = np.arange(-500, 500)
    singly, batched, restarted = (monitor(means, days=days, per_day=1) for _ in range(3))
    codes = [np.array(request, np.int16) for request in live]
    for request in codes:
        singly.observe(request)
    stream = Stream(
        np.concatenate([np.zeros(0, np.int16), *codes]),
        np.cumsum([0, *map(len, codes)]),
        np.full(sum(map(len, codes)), int(Scope.ANSWER), np.uint8),
    )
    batched.observe_requests(stream)
    for request in codes[:cut]:
        restarted.observe(request)
    fresh = monitor(means, days=days, per_day=1)
    fresh.restore(json.loads(json.dumps(restarted.snapshot())))
    for request in codes[cut:]:
        fresh.observe(request)
    assert singly.snapshot() == batched.snapshot() == fresh.snapshot()
    assert singly.state == batched.state == fresh.state


def test_a_batch_longer_than_a_chunk_equals_its_halves() -> None:
    rng = np.random.default_rng(8)
    whole, halves = (monitor(np.arange(1000), days=1e6) for _ in range(2))
    live = rng.integers(0, 1000, 9001)
    feed(whole, live)
    feed(halves, live[:5000])
    feed(halves, live[5000:])
    assert whole.snapshot() == halves.snapshot()
    assert whole.state.requests == 9001


def test_too_few_requests_are_refused_with_how_many_are_missing() -> None:
    """999 with a score, and one whose only token has none."""
    means = np.arange(1000)
    means[3] = CODE_UNSCORED
    with pytest.raises(NotEnough, match="needs 1000 benign requests") as refused:
        monitor(means)
    assert (refused.value.have, refused.value.more) == (999, 1)
    monitor(np.arange(1000))


def test_a_scope_or_feature_that_was_not_calibrated_is_refused() -> None:
    ready = calibration(np.arange(1000))
    promise = {"false_alarm_days": 30.0, "answers_per_day": 1000}
    with pytest.raises(NotEnough):
        DriftMonitor.from_calibration(ready, "scam", Scope.MESSAGE, **promise)
    with pytest.raises(NotCalibrated):
        DriftMonitor.from_calibration(ready, "flattery", Scope.ANSWER, **promise)
    empty = Calibration.from_requests(
        [Column("scam", PACK, "p")], [], corpus="none", date="2026-01-31"
    )
    with pytest.raises(NotEnough):
        DriftMonitor.from_calibration(empty, "scam", Scope.ANSWER, **promise)


@pytest.mark.parametrize(
    ("days", "per_day", "among"),
    [
        (0, 1, 1),
        (-1, 1, 1),
        (float("nan"), 1, 1),
        (float("inf"), 1, 1),
        (1, 0, 1),
        (1, -1, -1),
        (1, 10**400, 1),
    ],
)
def test_a_promise_that_is_none_is_refused(days: float, per_day: int, among: int) -> None:
    with pytest.raises(InputError, match="days at"):
        monitor(np.arange(1000), days, per_day, among)


def test_a_snapshot_of_another_calibration_or_promise_is_refused() -> None:
    found = monitor(np.arange(1000))
    for other in (monitor(np.arange(1001)), monitor(np.arange(1000), days=31)):
        with pytest.raises(InputError, match="a new calibration or promise starts afresh"):
            found.restore(other.snapshot())


@pytest.mark.parametrize(
    "change",
    [
        {"requests": -1},
        {"requests": True},
        {"unscored": 1.5},
        {"evidence": []},
        {"evidence": [[1, 2], [3]]},
        {"evidence": [[float("nan")] * 36] * 3},
        {"evidence": [[-1.0] * 36] * 3},
        {"evidence": [[1e308] * 36] * 3},
        {"evidence": {"a": 1}},
        {"evidence": None},
        {"version": 2},
        {"more": 1},
    ],
)
def test_a_snapshot_that_is_none_is_refused_and_leaves_the_monitor_alone(
    change: dict[str, object],
) -> None:
    found = monitor(np.arange(1000))
    feed(found, np.arange(100))
    before = found.snapshot()
    with pytest.raises(InputError):
        found.restore({**before, **change})
    with pytest.raises(InputError):
        found.restore([])
    assert found.snapshot() == before


def test_what_people_and_machines_read() -> None:
    rng = np.random.default_rng(1)
    steady = monitor(normal(rng, 1000))
    feed(steady, normal(rng, 200))
    drifted = DriftMonitor.from_calibration(
        calibration(normal(rng, 1000)),
        "scam",
        Scope.ANSWER,
        false_alarm_days=30,
        answers_per_day=1000,
        route="support",
    )
    feed(drifted, normal(rng, 2000) + SD)
    lines = list(as_lines([steady, drifted]))
    assert lines[0].startswith(
        "drifted  `scam` in scope `answer` on route `support` has risen since"
    )
    assert lines[0].endswith("unchanged traffic says so once in 30 days at most")
    assert "hint: promotion is frozen and no threshold moves; calibrate anew" in lines[1]
    assert lines[2].startswith("steady   `scam` in scope `answer` scores as in its calibration")
    assert lines[3].endswith(
        "cannot tell a shift under about 0.11 sd of a request's mean from none"
    )
    assert len(lines) == 4
    assert list(as_lines([])) == []
    first, second = json.loads(as_json([steady, drifted]))["drift"]
    assert (first["drifted"], first["promotion_frozen"], first["since"]) == (False, False, None)
    assert (second["drifted"], second["direction"], second["route"]) == (True, "up", "support")


def test_a_route_is_compared_with_its_own_requests_of_the_calibration() -> None:
    """Half of the requests come by mail and score 2 sd higher: to the mail that is nothing new."""
    rng = np.random.default_rng(0)
    means = normal(rng, 4000)
    of = np.arange(4000) % 2
    whole = replace(
        calibration(means + 2 * SD * of),
        routes=("chat", "mail"),
        route_of=of.astype(np.uint16),
    )
    live = normal(rng, 800) + 2 * SD
    drifted = {}
    for route in ("chat", "mail"):
        found = DriftMonitor.from_calibration(
            whole, "scam", Scope.ANSWER, false_alarm_days=30, answers_per_day=100, route=route
        )
        assert len(found.bets.reference) == 2000
        feed(found, live)
        drifted[route] = found.state.drifted
    assert drifted == {"chat": True, "mail": False}
    with pytest.raises(InputError, match="route `male` is not calibrated"):
        DriftMonitor.from_calibration(
            whole, "scam", Scope.ANSWER, false_alarm_days=30, answers_per_day=100, route="male"
        )
