"""Made-up traffic and rules for the tests of a plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODE_UNSCORED, Codes, Scope
from dosimeter.rules.language.schema import Rule, parse_rules

FEATURES = ("deception", "scam")
PACK = "ab" * 32
COLUMNS = [Column(name, PACK, "made") for name in FEATURES]


def calibration(
    requests: int, seed: int = 0, tokens: int = 12, per_day: int | None = None, spread: int = 256
) -> Calibration:
    """A message of 3 tokens and an answer, some of it unscored; small spreads make ties."""
    rng = np.random.default_rng(seed)
    return Calibration.from_requests(
        COLUMNS,
        [_request(rng, int(rng.integers(4, tokens + 1)), spread) for _ in range(requests)],
        corpus="made up",
        date="2026-01-31",
        answers_per_day=per_day,
        routes=["app" if i % 3 else "web" for i in range(requests)],
    )


def _request(
    rng: np.random.Generator, n: int, spread: int
) -> tuple[Codes, np.ndarray[tuple[int], np.dtype[np.uint8]]]:
    codes = (spread * rng.standard_normal((n, len(FEATURES)))).round().astype(np.int16)
    codes[rng.random(codes.shape) < 0.02] = CODE_UNSCORED
    return codes, np.where(np.arange(n) < 3, Scope.MESSAGE, Scope.ANSWER).astype(np.uint8)


def rules(*whens: str, severities: Sequence[str] = (), more: str = "") -> tuple[Rule, ...]:
    """One live rule a condition, `r0`, `r1` …; more: further lines of each."""
    named = [*severities, *["high"] * (len(whens) - len(severities))]
    text = "version: 1\nrules:\n" + "".join(
        f"  - rule: r{i}\n    when: {when}\n    status: live\n    severity: {severity}\n"
        f'    owner: o\n    summary: "s"\n    runbook: https://example.org\n{more}'
        for i, (when, severity) in enumerate(zip(whens, named, strict=True))
    )
    return parse_rules(text).rules
