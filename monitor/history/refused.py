"""What the ledger will not take, kept beside it: one JSON line an item, on disk before it counts.

Evidence is never dropped, so a record that cannot be committed for what it is (a defect of ours)
waits here for someone to look. It knows nothing of commits; bytes that are not text are base64.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

NAME = "refused.jsonl"


class Refused:
    """Append-only. count: items in the file, of earlier processes too; 0 when someone has moved it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def beside(cls, ledger: Path) -> Refused:
        return cls(ledger.with_name(NAME))

    @property
    def count(self) -> int:
        try:
            with self.path.open("rb") as file:
                return sum(1 for _ in file)
        except FileNotFoundError:
            return 0

    def keep(self, item: Mapping[str, object]) -> None:
        """Return when it is on disk. Raises OSError: nothing was kept, try again later."""
        line = json.dumps(item, sort_keys=True, default=_plain).encode() + b"\n"
        is_new = not self.path.exists()
        with self.path.open("ab", buffering=0) as file:
            start = file.tell()
            try:
                if file.write(line) != len(line):
                    raise OSError(f"{self.path}: written in part")
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), start)
                raise
        if is_new:
            _sync_folder(self.path.parent)


def _plain(value: object) -> object:
    """What JSON has no word for; never an error, since this is the last place that can keep it."""
    if not isinstance(value, bytes):
        return repr(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}


def _sync_folder(folder: Path) -> None:
    """A file survives power loss only when its name does."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
