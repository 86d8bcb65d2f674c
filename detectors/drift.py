"""`DriftMonitor`: do live requests of one feature and scope still score as its calibration did?

It owns the test and what it promises; it never moves a threshold, and learns neither rules nor
where requests come from. The statistic of a request is its mean code. The test is the
Shiryaev-Roberts e-detector of Shin, Ramdas and Rinaldo (arXiv:2203.03532): what the bets of `bets.py`
would have made of 1, summed over every possible start of a drift and averaged over bets. Drift is
declared where that reaches `false_alarm_days * answers_per_day`.

Promised, with probability 99 % over the draw of the calibration: on unchanged traffic the expected
time to a false alarm is at least `false_alarm_days`, and the probability of one within d days at
most d / `false_alarm_days` (evidence less the count of requests is a supermartingale, stopped).
Heavy tails and ties cost nothing. Assumed: the calibration's requests are independent draws of that
traffic; a live request is distributed like them whatever came before; no more than `answers_per_day`
of them. Traffic whose mix changes by the hour is a drift to this test; many requests of one
conversation count for more than they are. Calibrate per route, one request a conversation.

A mean rank within `tolerance` of 1/2 is no evidence: it may be the calibration's own error. A CUSUM
whose limit is simulated on the calibration's resampled requests has no such floor, and takes that
error for drift: on six draws of 1000 normal requests it kept 31 to 96 % of a promised 20 000.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dosimeter.detectors.bets import LEAST, Bets, Doubles, bets_on
from dosimeter.detectors.calibrate import EVERYWHERE, Calibration
from dosimeter.detectors.findings import InputError, hint_for
from dosimeter.detectors.frames import CODE_UNSCORED, Codes, Scope
from dosimeter.detectors.placement import NotEnough
from dosimeter.detectors.shapes import NEVER, Ints, Stream

Direction = Literal["up", "down"]

VERSION = 1
MISS = 0.01
"""Probability, over the draw of the calibration, that the promise does not hold."""
CHUNK = 4096


@dataclass(frozen=True, slots=True)
class DriftState:
    """Where a monitor stands.

    drifted    the statistic has reached the limit; nothing is compared from then on
    statistic  evidence, in requests: benign traffic gets this far once in so many at most
    limit      false_alarm_days * answers_per_day, times the monitors that share the promise
    requests   compared so far
    unscored   requests left out: they have no scored token of the scope
    since      about the first request of the drift; None while there is none
    direction  whether scores rose or fell; None while there is no drift
    """

    drifted: bool
    statistic: float
    limit: float
    requests: int
    unscored: int
    since: int | None
    direction: Direction | None
    sentence: str


class DriftMonitor:
    """One feature and scope, live, against its calibration. Made by `from_calibration`."""

    def __init__(self, of: Mapping[str, Any], bets: Bets, per_day: int) -> None:
        """of: what is monitored, and the promise, in words and numbers that JSON can carry."""
        self.of = dict(of)
        self.bets = bets
        self._scope = Scope[str(of["scope"]).upper()]
        self._limit = float(of["limit"])
        self._per_day = per_day
        self._evidence: Doubles = np.zeros((3, len(bets.stake)))
        self._requests = 0
        self._unscored = 0

    @classmethod
    def from_calibration(
        cls,
        calibration: Calibration,
        feature: str,
        scope: Scope,
        *,
        false_alarm_days: float,
        answers_per_day: int,
        route: str | None = None,
        among: int = 1,
    ) -> DriftMonitor:
        """route: of the calibration's requests only those of it; where it knows no routes, a name
        for its traffic. among: monitors that share the promise, so that it holds for the first
        false alarm of any of them.

        Raises NotCalibrated, NotEnough (fewer than 1000 requests with a scored token of the scope)
        and InputError.
        """
        sane = 0 < false_alarm_days < 1e9 and all(
            1 <= n < 1 << 50 for n in (answers_per_day, among)
        )
        if not sane:
            raise InputError.at(
                "drift",
                f"{false_alarm_days} days at {answers_per_day} answers a day among {among} monitors",
                "each is above 0, and no more than anyone could mean",
            )
        limit = float(false_alarm_days) * answers_per_day * among
        means = request_means(calibration.stream(feature), scope)
        if route is not None and calibration.routes != (EVERYWHERE,):
            if route not in calibration.routes:
                hint = hint_for(route, calibration.routes)
                raise InputError.at("drift", f"route `{route}` is not calibrated", hint)
            means = means[calibration.by_route == calibration.routes.index(route)]
        means = means[means > NEVER]
        word = scope.name.lower()
        if len(means) < LEAST:
            what = f"drift of `{feature}` in scope `{word}`"
            raise NotEnough(what, "requests with a score there", len(means), LEAST)
        of = {
            "calibration": calibration.digest,
            "feature": feature,
            "scope": word,
            "route": route,
            "limit": limit,
            "among": among,
        }
        return cls(of, bets_on(means, MISS / among), answers_per_day)

    @property
    def promotion_frozen(self) -> bool:
        """True from a drift on. Only a monitor of a new calibration starts afresh."""
        return bool(self._evidence[0].mean() >= self._limit)

    @property
    def tolerance(self) -> float:
        """Mean ranks this far from 1/2 are no evidence; in sd of a normal about 3.5 times that."""
        return float(self.bets.bound[0] - 0.5)

    @property
    def state(self) -> DriftState:
        weight, starts, _ = self._evidence
        drifted = self.promotion_frozen
        direction: Direction | None = None
        since = None
        if drifted:
            direction = "up" if self.bets.stake[int(np.argmax(weight))] > 0 else "down"
            since = min(max(1, round(float(starts.sum() / weight.sum()))), self._requests)
        statistic = float(weight.mean())
        sentence = self._sentence(statistic, direction, since)
        counts = self._requests, self._unscored
        return DriftState(drifted, statistic, self._limit, *counts, since, direction, sentence)

    def observe(self, codes: Codes) -> None:
        """The codes int16 [T] of one request's tokens of this scope, its stretches end to end."""
        scopes = np.full(len(codes), int(self._scope), dtype=np.uint8)
        self.observe_requests(Stream(codes, np.array([0, len(codes)]), scopes))

    def observe_requests(self, stream: Stream) -> None:
        """Requests with the tokens of all their scopes, in order: equal to one after the other."""
        self.observe_means(request_means(stream, self._scope))

    def observe_means(self, means: Ints) -> None:
        """Requests in order, by what `request_means` makes of them."""
        for low in range(0, len(means), CHUNK):
            chunk = means[low : low + CHUNK]
            outcomes = self.bets.outcomes(chunk)
            for i in range(len(chunk)):
                if self.promotion_frozen:
                    return
                if chunk[i] == NEVER:
                    self._unscored += 1
                    continue
                self._requests += 1
                self.bets.advance(self._evidence, outcomes[i], self._requests)

    def snapshot(self) -> dict[str, Any]:
        """All that a restart needs, for JSON: what it is of, two counts and 3 K floats."""
        return {
            "version": VERSION,
            "of": dict(self.of),
            "requests": self._requests,
            "unscored": self._unscored,
            "evidence": self._evidence.tolist(),
        }

    def restore(self, saved: Any) -> None:
        """Take up a snapshot. Raises InputError where it is of something else, or is none."""
        place = "drift snapshot"
        keys = {"version", "of", "requests", "unscored", "evidence"}
        if not isinstance(saved, dict) or set(saved) != keys or saved["version"] != VERSION:
            raise InputError.at(place, f"a snapshot of version {VERSION} has {sorted(keys)}")
        if saved["of"] != self.of:
            raise InputError.at(
                place,
                f"it is of {str(saved['of'])[:300]}, this monitor of {self.of}",
                "a new calibration or promise starts afresh",
            )
        counts = saved["requests"], saved["unscored"]
        if any(type(count) is not int or not 0 <= count < 1 << 53 for count in counts):
            raise InputError.at(place, "requests and unscored are counts")
        try:
            evidence = np.array(saved["evidence"], dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            evidence = np.zeros(0)
        if (
            evidence.shape != self._evidence.shape
            or not ((evidence >= 0) & (evidence < 1e300)).all()
        ):
            raise InputError.at(place, f"evidence is {list(self._evidence.shape)} finite numbers")
        self._requests, self._unscored = counts
        self._evidence = evidence

    def _sentence(self, statistic: float, direction: Direction | None, since: int | None) -> str:
        route = f" on route `{self.of['route']}`" if self.of["route"] is not None else ""
        what = f"`{self.of['feature']}` in scope `{self.of['scope']}`{route}"
        if direction is None:
            if not self._requests:
                return f"{what}: nothing compared yet"
            return (
                f"{what} scores as in its calibration: {self._requests} requests, evidence at "
                f"{statistic / self._limit:.1%} of its limit"
            )
        weight, starts, totals = self._evidence
        best = int(np.argmax(weight))
        length = max(1.0, self._requests + 1 - float(starts[best] / weight[best]))
        now = min(1.0, float(totals[best] / weight[best]) / length)
        view, share = int(self.bets.view[best]), float(self.bets.share[best])
        if view:
            seen = f"{now:.1%} of requests reach the top {share:.1%} of the calibration"
        else:
            seen = f"the average request ranks above {now:.1%} of the calibration (half, were it unchanged)"
        among = int(self.of["among"])
        days = self._limit / self._per_day / among
        shared = f" on any of {among} monitors" if among > 1 else ""
        moved = "risen" if direction == "up" else "fallen"
        return (
            f"{what} has {moved} since about request {since} of {self._requests}: {seen}; "
            f"unchanged traffic says so{shared} once in {days:g} days at most"
        )


def request_means(stream: Stream, scope: Scope) -> Ints:
    """int64 [A], one a request: the ceiling of the mean code of its scored tokens of the scope;
    NEVER where there is none."""
    scored = (stream.scopes == int(scope)) & (stream.codes != CODE_UNSCORED)
    lengths = np.diff(stream.offsets)
    of = np.repeat(np.arange(len(lengths)), lengths)[scored]
    sums = np.zeros(len(lengths), dtype=np.int64)
    np.add.at(sums, of, stream.codes[scored].astype(np.int64))
    counts = np.bincount(of, minlength=len(lengths))
    return np.where(counts > 0, -(-sums // np.maximum(counts, 1)), NEVER)


def as_lines(monitors: Sequence[DriftMonitor]) -> Iterator[str]:
    """A line a monitor, those that drifted first; last, what the bluntest could not see."""
    states = [monitor.state for monitor in monitors]
    for state in sorted(states, key=lambda state: not state.drifted):
        yield f"{'drifted' if state.drifted else 'steady':8} {state.sentence}"
        if state.drifted:
            yield f"{'':8}   hint: promotion is frozen and no threshold moves; calibrate anew"
        if state.unscored:
            yield f"{'':8}   {state.unscored} requests had no score there and are not compared"
    if monitors:
        bluntest = max(monitors, key=lambda monitor: monitor.tolerance)
        yield (
            f"{'':8} {len(bluntest.bets.reference)} calibrated requests cannot tell a shift under "
            f"about {3.5 * bluntest.tolerance:.2f} sd of a request's mean from none"
        )


def as_json(monitors: Sequence[DriftMonitor]) -> str:
    found = []
    for monitor in monitors:
        state = monitor.state
        fields = {name: getattr(state, name) for name in DriftState.__slots__}
        frozen = monitor.promotion_frozen
        found.append(
            {**monitor.of, **fields, "promotion_frozen": frozen, "tolerance": monitor.tolerance}
        )
    return json.dumps({"drift": found}, indent=2)
