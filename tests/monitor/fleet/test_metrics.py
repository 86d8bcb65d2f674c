"""A member's status and its metrics: of each field that is a number, one that a dashboard can show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from dosimeter.monitor.fleet.counter import FleetCounter
from dosimeter.monitor.fleet.member import Member
from dosimeter.monitor.fleet.metrics import record_member
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.metrics import METRICS
from tests.monitor.fleet.test_stages import DAY, START, Fake, Producer, fed, hit, router, row, rule


class Recorded:
    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    def record(
        self,
        name: str,
        value: float,
        attributes: dict[str, str] | None = None,
        *,
        traceparent: str = "",
    ) -> None:
        said = attributes or {}
        assert METRICS[name].attributes == tuple(said)
        self.found[" ".join([name.removeprefix("dosimeter.fleet."), *said.values()])] = value


def told(path: Path) -> dict[str, Any]:
    """A member that has routed two hits, after three records were gone, and counted two more behind one that was."""
    routing = router(Fake([fed(3), row(4, value=b"no"), fed(6)]), Producer())
    routing.step(0)
    with Ledger(path / "ledger.db") as ledger:
        rules = (rule(),)
        member = cast(Member, Fake([], [hit(0, START), row(1, value=b"no"), hit(3, START)]))
        counting = FleetCounter(member, ledger, lambda: (rules, DAY), lambda: START, group="g")
        counting.step(0)
        counting.step(0)
        waiting = {"error": "gone"}
        return {
            "routing": routing.told | waiting,
            "counting": counting.told | {"error": None},
        }


def test_what_a_member_says_is_what_it_measures(tmp_path: Path) -> None:
    status, metrics = told(tmp_path), Recorded()
    assert status["routing"]["gaps"] == [
        "t-0 offsets 5-5: not kept until they were read",
        "00000000 positions 5-6: not sent, or not yet",
    ]
    assert status["counting"]["gaps"] == ["t-0 offsets 2-2: not kept until they were read"]
    record_member(metrics, status, "f")
    assert metrics.found == {
        "partitions f routing": 1, "topic.partitions f routing": 3,
        "lag routing": 0, "stalled routing": 1, "missing routing": 1,
        "partitions f counting": 1, "topic.partitions f counting": 3,
        "lag counting": 0, "stalled counting": 0, "missing counting": 1,
        "positions.missing": 2, "routed sent": 2, "routed refused": 1, "groups": 1,
        "hits counted": 2, "hits of_no_rule": 0, "hits late": 0, "hits unattributed": 0, "hits refused": 1,
    }  # fmt: skip


def test_every_field_of_both_stages_is_documented(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "operate.md").read_text()
    written = set(re.findall(r"^\| `((?:routing|counting)\.\w+)` \|", page, re.MULTILINE))
    status = told(tmp_path)
    assert written == {f"{stage}.{name}" for stage, found in status.items() for name in found}
