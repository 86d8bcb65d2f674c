"""What a client asked and got: the one side of every comparison, and the kit's own word for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dosimeter.monitor.conformance.ear import Sequence as Told


@dataclass(frozen=True, slots=True)
class Asked:
    """One sequence, as its client knows it.

    answer   generated ids; None: the client got text, or was gone before the end
    usage    prompt and completion tokens by the server's own reply, where it gave them
    ended    the client got all of it
    place    which sequence of its call this is, in the order the server began them; None: any
    scored   False: of a mode that is refused, so that every token must be `unsupported`
    compare  False: accounted for like all, not compared
    """

    label: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...] | None = None
    usage: tuple[int, int] | None = None
    ended: bool = True
    place: int | None = 0
    scored: bool = True
    compare: bool = True

    @property
    def served(self) -> int | None:
        """Tokens by the client's word: prompt + generated - 1."""
        if not self.ended:
            return None
        if self.usage is not None:
            return max(0, sum(self.usage) - 1)
        return None if self.answer is None else max(0, len(self.prompt) + len(self.answer) - 1)


Read = Callable[[Asked, Told], Sequence[int] | None]
"""The ids of a sequence, prompt and all, from what its CLOSE carried; None if it carried none."""
