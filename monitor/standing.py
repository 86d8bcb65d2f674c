"""Whether a file that we hold open still stands at its path: moved or replaced, it is used in vain.

It looks at names only, never into a file.
"""

from __future__ import annotations

from pathlib import Path


class Standing:
    """Remembers what stands at `path` now; made right after the file was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = _identity(path)

    @property
    def lost(self) -> str | None:
        """What became of it, in words; None: it stands."""
        found = _identity(self.path)
        if found == self._known:
            return None
        became = "is gone" if found is None else "was replaced by another file"
        return f"{self.path} {became}; put it back, or restart the sidecar"


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
