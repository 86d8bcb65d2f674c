"""What anchors hold of a log: their checkpoints, each with its signature checked.

Owns which of an anchor's notes concern this log, and what is said of those that do not. It never learns how an anchor
keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dosimeter.monitor.tlog.note import Checkpoint, Note, NoteError, Opens


class Holds(Protocol):
    """One anchor, as far as it is read."""

    @property
    def name(self) -> str: ...

    @property
    def outside(self) -> bool: ...

    @property
    def readable(self) -> bool: ...

    def notes(self) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class Anchored:
    """checkpoints: of this log, signed by its key. outside: of the operator's control.

    wrong: notes in the name of this log that its key did not sign. error: why it could not be read, or what is odd.
    """

    name: str
    outside: bool
    checkpoints: tuple[Checkpoint, ...] = ()
    wrong: int = 0
    error: str = ""


def read_anchors(anchors: Sequence[Holds], verifier: Opens) -> list[Anchored]:
    """Asks each; one that does not answer is said, and keeps no other from being asked."""
    return [_read(one, verifier) for one in anchors]


def configured(config: Path, folder: Path) -> Sequence[Holds]:
    """Those that a sidecar's file names. folder: of the history. Raises InputError, OSError, AnchorFailed."""
    from dosimeter.monitor.audit.store.anchoring import build_anchors
    from dosimeter.monitor.config import load_config
    from dosimeter.monitor.config_history import HistoryConfig

    settings = load_config(config).history or HistoryConfig()
    return build_anchors(settings.anchors, folder)


def _read(anchor: Holds, verifier: Opens) -> Anchored:
    if not anchor.readable:
        said = "is read by other means: look there for the root of log/checkpoint"
        return Anchored(anchor.name, anchor.outside, error=said)
    found: list[Checkpoint] = []
    wrong, others = 0, set()
    try:
        for note in anchor.notes():
            origin = _origin(note)
            if origin != verifier.name:
                others.add(origin)
                continue
            try:
                found.append(Checkpoint.open(note, verifier))
            except NoteError:
                wrong += 1
    except Exception as error:  # someone else's service, and someone else's library
        return Anchored(anchor.name, anchor.outside, tuple(found), wrong, f"cannot be read: {error}")  # fmt: skip
    said = ""
    if not found and others:
        names = ", ".join(sorted(others))[:200]
        said = f"holds nothing of `{verifier.name}`, but of {names}: was the key swapped?"
    elif not found:
        said = "holds nothing yet"
    return Anchored(anchor.name, anchor.outside, tuple(found), wrong, said)


def _origin(note: str) -> str:
    try:
        return Checkpoint.parse(Note.parse(note).text).origin
    except NoteError:
        return "what is no checkpoint"
