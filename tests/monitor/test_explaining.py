"""Why an alert came: of conditions that differ in scope, side or length alone, the one that was met is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import SEGMENTS, Scope, ScoreFrame
from dosimeter.monitor.explaining import explain
from dosimeter.rules.alert import AlertContext, build_alert
from dosimeter.rules.decide import Decision
from dosimeter.rules.engine import Engine
from dosimeter.rules.language.schema import parse_rules
from dosimeter.rules.program import compile_program

COLUMN = Column("scam", "ab" * 32, "made")
MESSAGE, ANSWER = int(Scope.MESSAGE), int(Scope.ANSWER)


def benign() -> Calibration:
    """Four requests: a message of 4 sd in each, and answers of three tokens at 0, 0, 0 and 4 sd."""
    scopes = np.array([MESSAGE, *[ANSWER] * 3], "u1")
    requests = [(np.array([1024, *[code] * 3], "<i2")[:, None], scopes) for code in (0, 0, 0, 1024)]
    return Calibration.from_requests([COLUMN], requests, corpus="made", date="2026-01-31")


@pytest.mark.parametrize(
    ("first", "second", "codes", "said"),
    [
        ("in: message, above: z 2", "in: answer, above: z 2", [600],
         "scam in answer, one token"),
        ("in: answer, above: z 2, average: 4 tokens", "in: answer, above: z 2, average: 2 tokens", [600, 600],
         "scam in answer, average of 2 tokens"),
        ("in: answer, below: z 2, for: 3 tokens", "in: answer, above: z 2, for: 3 tokens", [600] * 3,
         "scam in answer, for 3 tokens"),
        ("in: answer, above: z 2, for: 3 tokens", "in: answer, above: z 2, for: 2 tokens", [600] * 2,
         "scam in answer, for 2 tokens"),
        ("in: answer, above: z 2, share: 90 % of answer", "in: answer, above: z 2, share: 50 % of answer", [600, 0],
         "scam in answer, at least 50 % of it beyond"),
    ],
)  # fmt: skip
def test_of_conditions_that_are_nearly_alike_the_one_that_was_met_is_told(
    first: str, second: str, codes: list[int], said: str, tmp_path: Path
) -> None:
    """Each had been told as the first under `any`, with how rare that one is."""
    rules = parse_rules(
        "version: 1\nrules:\n  - rule: r\n    when:\n      any:\n"
        f"        - {{feature: scam, {first}}}\n        - {{feature: scam, {second}}}\n"
        "    status: live\n    severity: low\n    owner: o\n    summary: s\n"
    )
    calibration = benign()
    calibration.save(tmp_path / "made")
    program = compile_program(rules, [COLUMN], [calibration])
    engine = Engine(program)
    engine.open(1, {})
    segments = np.array([(1, 0, len(codes), ANSWER)], SEGMENTS)
    hits = engine.step(ScoreFrame(segments, np.array(codes, "<i2")[:, None], 0, 0))
    (hit,) = hits + engine.close(1, finished=True)
    alert = build_alert(hit, AlertContext(1, 2, "m", "d", {}), Decision("notified", True, ""))
    facts = explain(alert.core, None, program.blobs().get, [tmp_path / "made"])
    (condition,) = facts["conditions"]
    assert (condition["condition"], condition["as rare as"]) == (
        said,
        "1 in 4 of 4 ordinary ones",
    )
