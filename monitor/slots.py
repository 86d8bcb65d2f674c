"""Where the live requests of one server stand: a slot each in a few arrays, so that a step of many is one operation.

It owns which slot a key has and how the arrays grow; what a position means is the join's to know.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dosimeter.monitor.evidence import Ints, Recent


class Slots:
    """next: int64 [S], the position after the furthest one seen; prompt: int64 [S], tokens of the prompt.

    recent keeps the last codes of each slot.
    """

    def __init__(self, features: int) -> None:
        self.recent = Recent(features)
        self.next = np.zeros(self.recent.slots, np.int64)
        self.prompt = np.zeros(self.recent.slots, np.int64)
        self._of: dict[int, int] = {}
        self._free = list(range(self.recent.slots))[::-1]

    def of(self, keys: Sequence[int]) -> Ints:
        """The slot of each key, -1 where it has none."""
        return np.array([self._of.get(key, -1) for key in keys], np.int64)

    def take(self, key: int, prompt_len: int) -> int:
        """A slot for a new request."""
        if not self._free:
            self._grow()
        slot = self._of[key] = self._free.pop()
        self.next[slot], self.prompt[slot] = 0, prompt_len
        return slot

    def release(self, key: int) -> None:
        self._free.append(self._of.pop(key))

    def rebind(self, features: int) -> None:
        """Other columns from now on: what was kept of the old ones is gone."""
        self.recent = Recent(features, self.recent.slots)
        for slot in self._of.values():
            self.recent.skip(slot, 0, int(self.next[slot]))

    def _grow(self) -> None:
        before = self.recent.slots
        self.recent.grow()
        more = np.zeros(self.recent.slots - before, np.int64)
        self.next = np.concatenate([self.next, more])
        self.prompt = np.concatenate([self.prompt, more])
        self._free = list(range(before, self.recent.slots))[::-1]
