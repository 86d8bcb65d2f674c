"""A stage's thread says why it waits, and that it does not turn, before anybody restarts it."""

from __future__ import annotations

import threading

from dosimeter.monitor.fleet.service import STUCK_S, Turning


class Hangs:
    """Its step ends when it is let go."""

    def __init__(self) -> None:
        self.stepping, self.let_go = threading.Event(), threading.Event()

    def step(self, timeout_s: float) -> int:
        self.stepping.set()
        self.let_go.wait(30)
        return 0

    def close(self) -> None: ...


def test_a_stage_that_hangs_says_so_after_a_while_and_not_while_it_is_told_to_end() -> None:
    stage, stop = Hangs(), threading.Event()
    turning = Turning("counting", stage, stop)
    assert stage.stepping.wait(30)
    assert (turning.trouble, turning.alive) == (None, True)
    turning.turned -= STUCK_S
    assert turning.trouble == "it has not turned for 60 s and more: see its log"
    assert not turning.alive
    stop.set()
    assert turning.trouble is None
    stage.let_go.set()
    turning.join(30)
