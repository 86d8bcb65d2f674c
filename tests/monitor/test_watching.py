"""What was told in shadow is told again when the rule is promoted, because nobody was notified."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import SEGMENTS, Scope, ScoreFrame
from dosimeter.monitor.decisions import Decisions
from dosimeter.monitor.records import Hello, Open
from dosimeter.monitor.servers import Server
from dosimeter.monitor.watching import Watching
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.language.watching import Absent, Shift
from dosimeter.rules.policy import Policy
from dosimeter.rules.program import Program

S = 1_000_000_000
START = 1_700_000_000 * S
HELLO = Hello.parse(
    {
        "role": "tap",
        "state": "live",
        "model": {"name": "m"},
        "columns": [{"feature": "f", "pack": "p", "packName": "p"}],
    }
)


class Scene:
    """One server with an open request, looked at by hand."""

    def __init__(self, form: Absent | Shift, calibrations: tuple[Calibration, ...] = ()) -> None:
        decisions = Decisions()
        self.server = Server.begin(1, HELLO, Program(("f",), (), ()), None, decisions)
        self.server.connections.add(1)
        self.server.open(Open.parse({"key": 1, "prompt_len": 1}), "tap")
        self.watching = Watching(decisions)
        self.calibrations = calibrations
        self.rule = SecondRule("r", form, "shadow", "high", "s", "", "", Policy())
        self.status("shadow")

    def status(self, status: str) -> None:
        rule = replace(self.rule, status=status)
        self.watching.expect([rule], self.calibrations, date.max)

    def looks(self, *at_s: int) -> list[tuple[int, str]]:
        """When which decisions."""
        found = []
        for at in at_s:
            self.server.join.account.served = at
            told = self.watching.look([self.server], at * S, START + at * S)
            found += [(at, one.decision) for one in told]
        assert self.watching.errors == 0
        return found


def test_a_silence_told_in_shadow_is_told_when_its_rule_goes_live_and_goes_on() -> None:
    scene = Scene(Absent("f", 60))
    assert scene.looks(0, 30, 70, 100) == [(70, "shadow")]
    scene.status("shadow")
    assert scene.looks(101) == []
    scene.status("live")
    assert scene.looks(102, 200, 300) == [(102, "notified")]


def test_a_silence_that_was_not_told_yet_lasts_as_long_after_the_promotion() -> None:
    scene = Scene(Absent("f", 60))
    assert scene.looks(0, 50) == []
    scene.status("live")
    assert scene.looks(59, 60, 61) == [(60, "notified")]


@pytest.fixture
def calibration() -> Calibration:
    rng = np.random.default_rng(1)
    return Calibration(
        features=("f",),
        packs=("p",),
        codes=rng.normal(0, 256, (30000, 1)).astype(np.int16),
        offsets=np.arange(3001, dtype=np.int64) * 10,
        scopes=np.full(30000, 3, np.uint8),
        corpus="noise",
        date="2026-01-01",
        answers_per_day=100,
    )


def test_a_shift_told_in_shadow_is_told_when_its_rule_goes_live(calibration: Calibration) -> None:
    scene = Scene(Shift("f", Scope.ANSWER), (calibration,))
    scene.looks(0)
    watch = scene.server.watch
    assert watch is not None
    for key in range(300):
        codes = np.full((10, 1), 500, np.int16)
        segments = np.array([(key, 0, 10, int(Scope.ANSWER))], SEGMENTS)
        watch.frame(ScoreFrame(segments, codes, 0, 0))
        watch.ended(key)
    assert scene.looks(1, 2) == [(1, "shadow")]
    scene.status("live")
    assert scene.looks(3, 4) == [(3, "notified")]
