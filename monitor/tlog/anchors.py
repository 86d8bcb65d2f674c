"""Where signed checkpoints are also kept, so that a log cut back or written anew can be told.

An anchor holds notes and gives them back; who signed them is for the reader to check. `outside`
says that somebody else's key or clock vouches for when a note was there: one file, broker or
collector of the operator's own shares its administrator with the log. Anchors that need a client
library have modules of their own, imported only where they are configured.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from dosimeter.monitor.tlog import tiles

MAX_LINE = 1 << 16
CUT_OFF = "— cut-off\n"  # ends a note that an interrupted write left unfinished


class AnchorFailed(RuntimeError):
    """A checkpoint could not be put there, or what is there could not be read."""


class Anchor(Protocol):
    name: str
    outside: bool
    readable: bool  # False: what was put there is read by other means

    def put(self, note: str) -> None:
        """Returns when the note is safely there. Raises AnchorFailed; may be called again."""

    def notes(self) -> Iterable[str]:
        """Notes found there, the oldest first, unverified. Raises AnchorFailed, also after some of them."""


class FileAnchor:
    """A file that is only ever appended to: on another disk, a share, or under `chattr +a`."""

    outside, readable = False, True

    def __init__(self, path: Path, name: str = "file") -> None:
        self.path, self.name = path, name

    def put(self, note: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            opened = os.open(self.path, flags, 0o644)
            with os.fdopen(opened, "r+b", buffering=0) as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_LINE))
                last = (file.read().splitlines(keepends=True) or [CUT_OFF.encode()])[-1]
                data = note.encode()
                if not (last.startswith("— ".encode()) and last.endswith(b"\n")):
                    data = b"\n" * (not last.endswith(b"\n")) + CUT_OFF.encode() + data
                if file.write(data) != len(data):
                    raise OSError(f"{self.path}: written only in part")
                os.fsync(file.fileno())
        except OSError as error:
            raise AnchorFailed(
                f"anchor `{self.name}`: {error}\n  hint: is `{self.path}` writable, and its disk full?"
            ) from error

    def notes(self) -> list[str]:
        try:
            with self.path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
                found = list(tiles.split_notes(lines))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise AnchorFailed(f"anchor `{self.name}`: {error}") from error
        return [note for note in found if note.endswith("\n") and not note.endswith(CUT_OFF)]
