"""Sixty-four connections that say nothing would keep every server out, for ever and unnamed."""

from __future__ import annotations

from dataclasses import dataclass

from dosimeter.monitor.mute import GREETS_WITHIN_NS, Mute


@dataclass
class One:
    number: int
    role: str | None = None


def test_who_has_not_greeted_in_time_is_overdue_and_who_has_is_not() -> None:
    mute, silent, greeted = Mute(), One(1), One(2)
    assert mute.overdue([silent, greeted], 0) == []
    greeted.role = "tap"
    later = One(3)
    assert mute.overdue([silent, greeted, later], GREETS_WITHIN_NS) == []
    assert mute.overdue([silent, greeted, later], GREETS_WITHIN_NS + 1) == [silent]
    assert mute.overdue([greeted, later], 2 * GREETS_WITHIN_NS + 1) == [later]
