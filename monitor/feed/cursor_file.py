"""A cursor in a small file of its own, replaced whole: after a crash it holds the old one or the new one.

It knows nothing of what a cursor means.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class CursorError(RuntimeError):
    """The file is there and holds no cursor."""


class CursorFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, Any]:
        """Empty when there is no file. Raises CursorError, OSError."""
        try:
            found = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise CursorError(self._broken(str(error))) from error
        if not isinstance(found, dict):
            raise CursorError(self._broken(f"not an object but {type(found).__name__}"))
        return found

    def save(self, cursor: Mapping[str, Any]) -> None:
        """On disk when it returns. Raises OSError: the file is as it was."""
        new = self.path.with_name(f"{self.path.name}.new")
        with new.open("wb") as file:
            file.write(json.dumps(cursor, sort_keys=True, separators=(",", ":")).encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _broken(self, why: str) -> str:
        return (
            f"{self.path}: not a cursor: {why}\n"
            "  hint: move it away; the whole ledger is sent again, and what history has is recognised"
        )
