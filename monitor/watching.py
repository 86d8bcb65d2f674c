"""`absent` and `shift` rules in the line: at each housekeeping, does every server still score, and as calibrated?

Owns which rule looks at which columns of which server, and turns what they find into records. What a silence is says
`rules/language/watching`, what a drift is `detectors/drift`; it moves no threshold, and learns nothing of sockets.

Evidence of a drift is kept while the sidecar runs: restarted, it begins anew, which costs time and raises no alarm.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from dosimeter.detectors.calibrate import Calibration, NotCalibrated
from dosimeter.detectors.drift import DriftMonitor
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.placement import NotEnough
from dosimeter.monitor.alerts import Decided
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.records import Column
from dosimeter.monitor.servers import Server
from dosimeter.monitor.watch import Watch
from dosimeter.rules.alert import Alert
from dosimeter.rules.decide import Decision
from dosimeter.rules.language.second import SecondRule, running
from dosimeter.rules.language.watching import FALSE_ALARM_DAYS, Absent, Shift, Silence
from dosimeter.rules.occurrence import Occurrence
from dosimeter.rules.policy import Policy
from dosimeter.rules.second_record import Watched, build_absent, build_shift

log = logging.getLogger(__name__)

MOST_COMPARED = 256
"""Requests of one server and rule compared at one look, which takes about 15 ms; those beyond are left out."""

DriftOf = tuple[
    str, str, Shift, str, int
]  # model, rule, its form, digest of the calibration, among how many


@dataclass
class _Silent:
    rule: SecondRule
    form: Absent
    column: int | None  # None: no loaded pack scores it
    silence: Silence


@dataclass
class _Drift:
    """One monitor, of all servers of one model and calibration."""

    rule: SecondRule
    calibration: str
    monitor: DriftMonitor
    told: bool = False
    left_out: int = 0


@dataclass
class _Server:
    """What is asked of one server; made anew when its columns or the rules change."""

    columns: tuple[Column, ...]
    version: int
    watch: Watch
    silent: list[_Silent]
    drifts: list[_Drift]
    requests: int = field(default=-1)  # closed, at the last look


class Watching:
    """The second stage for the monitor itself. Ask it at every housekeeping.

    inactive: rules that may not alarm, and why, by rule.
    """

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions
        self._rules: list[tuple[SecondRule, Policy]] = []
        self._calibrations: Sequence[Calibration] = ()
        self._servers: dict[int, _Server] = {}
        self._drifts: dict[DriftOf, _Drift] = {}
        self._version = 0
        self.inactive: dict[str, str] = {}
        self.errors = 0

    def expect(
        self, rules: Sequence[SecondRule], calibrations: Sequence[Calibration], day: date
    ) -> None:
        """The rules of now. A silence under way, and a comparison of the same, go on.

        What was told under another status is told again: in shadow nobody heard of it.
        """
        found = [rule for rule in running(rules, day) if isinstance(rule.when, Absent | Shift)]
        self._rules = [(rule, rule.policy.on(day)) for rule in found]
        self._decisions.expect_policies(policy for _, policy in self._rules)
        self._calibrations = calibrations
        ids = {rule.id for rule in found}
        self._drifts = {of: one for of, one in self._drifts.items() if of[1] in ids}
        self._version += 1
        self.inactive = {}

    @property
    def active(self) -> list[str]:
        """Rules that may alarm."""
        return [rule.id for rule, _ in self._rules if rule.id not in self.inactive]

    @property
    def drifts(self) -> list[dict[str, Any]]:
        """What each comparison says."""
        return [
            {"rule": rule, "model": model, "left_out": one.left_out}
            | {"drifted": one.monitor.promotion_frozen, "sentence": one.monitor.state.sentence}
            for (model, rule, *_), one in list(self._drifts.items())
        ]

    def look(self, servers: Iterable[Server], now_ns: int, time_ns: int) -> list[Decided]:
        """now_ns: monotonic. time_ns: wall clock. Never raises."""
        if not self._rules and not self._servers:
            return []
        found: list[Decided] = []
        alive: set[int] = set()
        for server in servers:
            alive.add(server.epoch)
            try:
                found += self._look(server, now_ns, time_ns)
            except Exception:
                self.errors += 1
                log.exception("server %s could not be watched", server.name)
        for epoch in self._servers.keys() - alive:
            del self._servers[epoch]
        return found

    def _look(self, server: Server, now_ns: int, time_ns: int) -> Iterator[Decided]:
        known = self._servers.get(server.epoch)
        asked = (server.watch, server.columns, self._version)
        if known is None or (known.watch, known.columns, known.version) != asked:
            known = self._servers[server.epoch] = self._begin(server, known)
            server.watch = known.watch
        scored, means = known.watch.take()
        closed = server.join.account.requests
        requests = bool(server.connections and server.join.live) or closed != known.requests
        known.requests = closed
        model = server.hello.model
        at = Watched(server.name, model.get("name", ""), model.get("digest", ""), time_ns)
        for one in known.silent:
            said = one.silence.look(
                now_ns,
                requests=requests,
                served=server.join.account.served,
                scored=one.column in scored,
            )
            if said is not None:
                decision = self._decide(one.rule, at)
                yield self._told(one.rule, build_absent(one.rule, said, at, decision), decision)
        for drift, of in zip(known.drifts, means, strict=True):
            drift.monitor.observe_means(of[:MOST_COMPARED])
            drift.left_out += max(0, len(of) - MOST_COMPARED)
            if drift.monitor.promotion_frozen and not drift.told:
                drift.told = True
                decision, state = self._decide(drift.rule, at), drift.monitor.state
                made = build_shift(drift.rule, state, drift.calibration, at, decision)
                yield self._told(drift.rule, made, decision)

    def _begin(self, server: Server, before: _Server | None) -> _Server:
        columns, model = server.columns, server.hello.model.get("name", "")
        features = [column.feature for column in columns]
        silent: list[_Silent] = []
        drifts: list[_Drift] = []
        under_way = {one.rule.id: one for one in before.silent} if before is not None else {}
        mine = [rule for rule, policy in self._rules if policy.applies({}, model)]
        for rule in mine:
            form = rule.when
            if isinstance(form, Absent):
                same = under_way.get(rule.id)
                goes_on = same is not None and same.form == form
                silence = same.silence if same is not None and goes_on else Silence(form.for_ns)
                if same is not None and same.rule.status != rule.status:
                    silence.say_again()
                column = features.index(form.feature) if form.feature in features else None
                silent.append(_Silent(rule, form, column, silence))
            elif isinstance(form, Shift) and form.feature in features:
                among = sum(isinstance(other.when, Shift) for other in mine)
                drift = self._drift(rule, form, columns[features.index(form.feature)], model, among)
                drifts += [drift] if drift is not None else []
            else:
                self.inactive[rule.id] = "no loaded pack scores its feature"
        asked = sorted({one.column for one in silent if one.column is not None})
        compared = [
            (features.index(form.feature), form.scope)
            for form in (drift.rule.when for drift in drifts)
            if isinstance(form, Shift)
        ]
        return _Server(columns, self._version, Watch(asked, compared), silent, drifts)

    def _drift(
        self, rule: SecondRule, form: Shift, column: Column, model: str, among: int
    ) -> _Drift | None:
        of = (form.feature, column.pack)
        found = [c for c in self._calibrations if of in zip(c.features, c.packs, strict=True)]
        if not found:
            self.inactive[rule.id] = f"`{form.feature}` is not calibrated with the loaded pack"
            return None
        (calibration, *_) = found
        if calibration.answers_per_day is None:
            self.inactive[rule.id] = (
                "its calibration does not say how many answers a day there are; calibrate with "
                "`--answers-per-day`"
            )
            return None
        at = model, rule.id, form, calibration.digest, among
        known = self._drifts.get(at)
        if known is not None:
            known.told = known.told and known.rule.status == rule.status
            known.rule = rule
            return known
        try:
            monitor = DriftMonitor.from_calibration(
                calibration,
                form.feature,
                form.scope,
                false_alarm_days=FALSE_ALARM_DAYS,
                answers_per_day=calibration.answers_per_day,
                among=among,
            )
        except (NotCalibrated, NotEnough, InputError) as error:
            self.inactive[rule.id] = str(error).replace("\n  hint: ", "; ")
            return None
        self._drifts[at] = _Drift(rule, calibration.digest, monitor)
        return self._drifts[at]

    def _decide(self, rule: SecondRule, at: Watched) -> Decision:
        policy = next(policy for known, policy in self._rules if known is rule)
        exempt = policy.exemption({}, at.model) is not None
        request = f"{at.epoch}/{rule.id}"
        of = Occurrence(rule.id, rule.status, at.time_ns, request, {}, at.model, exempt)
        return self._decisions.decide_second(of, rule, policy)

    def _told(self, rule: SecondRule, made: Alert, decision: Decision) -> Decided:
        record = LedgerRecord(made.event_id, made.canonical, None, made.deliverable)
        return Decided(record, rule.id, rule.severity, decision.decision)
