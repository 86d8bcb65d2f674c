"""The bench that holds levels against unseen traffic finds a level that does not hold."""

from __future__ import annotations

import numpy as np
import pytest

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import Scope
from dosimeter.monitor.bench import levels_hold

FEATURES = ("a", "b", "c")


def traffic(n: int, shift_from: int | None = None) -> Calibration:
    """Answers of 12 tokens over two routes; from a request on, scores sit 3 sd higher."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(n):
        codes = 256 * rng.standard_normal((12, len(FEATURES)))
        if shift_from is not None and i >= shift_from:
            codes += 768
        rows.append((codes.round().astype(np.int16), np.full(12, Scope.ANSWER, np.uint8)))
    return Calibration.from_requests(
        [Column(name, "ab" * 32, "t") for name in FEATURES],
        rows,
        corpus="made up",
        date="2026-01-31",
        routes=["web" if i % 3 else "app" for i in range(n)],
    )


def values(calibration: Calibration) -> dict[str, float]:
    return {f.name.split(": ")[1]: f.value for f in levels_hold.held(calibration)}  # type: ignore[misc]


def test_levels_hold_where_the_halves_are_alike() -> None:
    found = values(traffic(12_000))
    assert found["cells of feature, shape and route"] == 24
    assert found["cells over their joint 95 % bound"] == 0


def test_a_level_that_does_not_hold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Placed on the quiet half alone: the deal of the halves is taken away."""
    calibration = traffic(12_000, shift_from=6_000)

    class ByOrder:
        def random(self, n: int) -> np.ndarray:
            return np.arange(n) / n

    monkeypatch.setattr(levels_hold.np.random, "default_rng", lambda seed: ByOrder())
    found = values(calibration)
    assert (
        found["cells over their joint 95 % bound"]
        == found["cells of feature, shape and route"]
        == 24
    )
