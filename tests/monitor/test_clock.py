"""A wall clock that is set moves every time in every record: it is counted, by how much, and said."""

from __future__ import annotations

from dosimeter.monitor.clock import ClockWatch

S = 1_000_000_000


class Clocks:
    def __init__(self) -> None:
        self.monotonic, self.wall = 5 * S, 1_700_000_000 * S
        self.watch = ClockWatch(lambda: self.monotonic, lambda: self.wall)
        self.watch.look()

    def later(self, seconds: float, jump: float = 0.0) -> None:
        self.monotonic += round(seconds * S)
        self.wall += round((seconds + jump) * S)
        self.watch.look()


def test_time_that_passes_is_no_jump() -> None:
    clocks = Clocks()
    for seconds in (0.5, 3600, 86_400):
        clocks.later(seconds)
    clocks.later(0.5, jump=0.2)  # discipline
    assert (clocks.watch.jumps, clocks.watch.last_s) == (0, None)


def test_a_clock_set_forward_or_back_is_counted_once_each_with_its_distance() -> None:
    clocks = Clocks()
    clocks.later(0.5, jump=7200)
    clocks.later(0.5)
    assert (clocks.watch.jumps, clocks.watch.last_s) == (1, 7200.0)
    clocks.later(0.5, jump=-60)
    assert (clocks.watch.jumps, clocks.watch.last_s) == (2, -60.0)
