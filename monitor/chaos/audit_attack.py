"""What a manipulation of a history is: a name, whose it is, and the verdict that is due, stated beforehand.

Owns the words of the table and who can reach what. It knows no manipulation and nothing of how a verdict is reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dosimeter.monitor.chaos.audit_copy import Copy

Adversary = Literal["root", "key-holder", "kafka-admin", "storage-admin", "insider-analyst"]
REACH: dict[Adversary, str] = {
    "root": "every file of history and its databases; not the signing key (in an HSM), not the anchors",
    "key-holder": "every file of history, and the signing key; not the anchors",
    "kafka-admin": "the topic that feeds history, and the anchor that is a topic; no file of history",
    "storage-admin": "sealed files and backups; not what history is writing",
    "insider-analyst": "questions in SQL and the commands that a role allows; no file",
}

Expected = Literal["located", "found", "not excluded", "named", "refused", "no effect"]
"""
located       not verified, and the exact entry or file is named
found         not verified, and the entries it is among are named, between two checkpoints
not excluded  verified, with the words that after the last anchored entry this cannot be excluded
named         verified, and the verdict or the log names what is missing
refused       it could not be done, and the history is as it was
no effect     it was done, and the history is as it would have been
"""


class NotAllowed(Exception):
    """What was tried was refused; the text says how."""


@dataclass(frozen=True, slots=True)
class Where:
    """What was changed. entries: each of them is to be named, and no other. start: the first of what follows.
    path: a file, by its end, or a hash. gaps: positions of the feed. words: what one line of the verdict says.
    """

    entries: tuple[int, ...] = ()
    start: int | None = None
    path: str = ""
    gaps: tuple[tuple[int, int], ...] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class Manipulation:
    """act: changes the copy and says where. Raises NotAllowed where it is kept from it."""

    name: str
    adversary: Adversary
    expected: Expected
    act: Callable[[Copy], Where]
