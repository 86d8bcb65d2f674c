"""When to stop asking somebody who does not answer, and when to try again.

It is pure: it has no clock, no thread and no idea of what is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PATIENCE = 5
PAUSE_S = 30.0


@dataclass
class Breaker:
    """After 5 without an answer in a row nobody is asked for 30 s; then one is, and it decides."""

    unanswered: int = field(default=0, init=False)  # in a row
    open_until: float = field(default=0.0, init=False)  # monotonic seconds

    def asks(self, now: float) -> bool:
        """Whether to put a question now. After a pause it says yes once, until that is answered or a pause is over."""
        if self.unanswered < PATIENCE:
            return True
        if now < self.open_until:
            return False
        self.open_until = now + PAUSE_S
        return True

    def note(self, answered: bool, now: float) -> None:
        """What became of a question that was put."""
        if answered:
            self.unanswered = 0
            return
        self.unanswered += 1
        if self.unanswered >= PATIENCE:
            self.open_until = now + PAUSE_S
