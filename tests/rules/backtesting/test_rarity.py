"""How rare a value is, counted by hand; and which ordinary request is nearest."""

from __future__ import annotations

import numpy as np
import pytest

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODE_UNSCORED, Scope
from dosimeter.rules.atoms import Atom
from dosimeter.rules.backtesting.rarity import Share, lookalikes, share_beyond

PACK = "a" * 64
A = Scope.ANSWER


def calibration(*requests: list[tuple[int, int]]) -> Calibration:
    """Answers of (scam, deception) codes; each request on a route of its own."""
    pairs = [
        (np.array(codes, np.int16).reshape(-1, 2), np.full(len(codes), int(A), np.uint8))
        for codes in requests
    ]
    routes = [f"route-{i}" for i in range(len(requests))]
    columns = [Column("scam", PACK, "t"), Column("deception", PACK, "t")]
    return Calibration.from_requests(
        columns, pairs, corpus="by hand", date="2026-11-29", routes=routes
    )


BENIGN = calibration(
    [(0, 0), (10, 0)], [(5, 256), (5, 256)], [(20, 0), (30, 512)], [(CODE_UNSCORED, 0)]
)


@pytest.mark.parametrize(
    ("atom", "value", "expected"),
    [
        (Atom(0, A, 1, "once", 1, 5), (10, 1), Share(2, 4)),
        (Atom(0, A, 1, "once", 1, 5), (31, 1), Share(0, 4)),
        (Atom(0, A, 1, "average", 2, 5), (10, 2), Share(3, 4)),  # means 5, 5, 25
        (Atom(0, A, 1, "average", 2, 5), (11, 2), Share(1, 4)),
        (Atom(0, A, 1, "average_scope", 1, 5), (50, 2), Share(1, 4)),
        (Atom(0, A, -1, "once", 1, 5), (5, 1), Share(2, 4)),  # least codes 0, 5, 20
        (Atom(0, A, 1, "share", 1, 4, 100), (2, 2), Share(2, 4)),  # all of it beyond 4
    ],
)
def test_a_value_is_as_rare_as_the_requests_that_reach_it(
    atom: Atom, value: tuple[int, int], expected: Share
) -> None:
    assert share_beyond(BENIGN.stream("scam"), atom, *value) == expected


def test_rarity_reads_as_people_say_it() -> None:
    assert str(Share(2, 4000)) == "1 in 2,000 of 4,000 ordinary ones"
    assert str(Share(0, 4000)) == "none of 4,000 ordinary ones"
    assert str(Share(0, 0)) == "no ordinary request has such tokens"


def test_the_nearest_ordinary_request_is_the_one_with_such_means_in_all_features() -> None:
    codes = np.array([[260, 4], [240, 8]], np.int16)  # deception 0.98 sd, scam 0.02 sd
    first, second, *_ = lookalikes(BENIGN, A, codes, ("deception", "scam"))
    assert (first.request, first.route) == (1, "route-1")
    assert first.distance == pytest.approx(abs(250 - 256) / 256, abs=0.005)
    assert second.request == 2  # 1.0 sd of deception too, and more scam
    assert second.scores == pytest.approx((256 / 256, 25 / 256))


def test_nothing_is_alike_where_nothing_can_be_compared() -> None:
    assert lookalikes(BENIGN, A, np.zeros((1, 1), np.int16), ("defection",)) == []
    assert lookalikes(BENIGN, Scope.TOOL, np.zeros((1, 1), np.int16), ("scam",)) == []
