"""What an attack is: a name, what it does, how it ends, and what the monitor must say of it.

An attack either blinds the monitor, which must then name the gap, or it only tries to, and then all of the
attacker's own tokens must have been seen. It knows nothing of how the verdict is reached; `run` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dosimeter.monitor.chaos.arena import Arena

Act = Callable[["Arena"], Generator[None]]
"""Begins, yields while it is under way, ends; a second yield keeps what must stay until all is well again."""
Others = Literal["scored", "counted"]
"""Tokens of tenants beside the attacker: each scored, or, where all of the machine was hit, each accounted for."""


@dataclass(frozen=True, slots=True)
class Attack:
    """says: what one of the monitor's words must match. sees: its proof that nothing escaped it; one of the two."""

    name: str
    does: str  # one line, for people
    act: Act
    says: str | None = None
    sees: Callable[[Arena], str | None] | None = None
    others: Others = "scored"
    fake: str | None = None  # what stands in for a thing that cannot be done here

    def __post_init__(self) -> None:
        if (self.says is None) == (self.sees is None):
            raise ValueError(f"attack `{self.name}`: give either `says` or `sees`")
