"""Where the parts of one history lie. It owns names and nothing in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HistoryFolder:
    """By default `history` in the sidecar's data-dir."""

    root: Path

    @property
    def hot(self) -> Path:
        """Entries not sealed yet; where an entry becomes accepted."""
        return self.root / "hot.db"

    @property
    def keys(self) -> Path:
        """Names and keys: what erasure destroys. To be backed up apart from the rest, and for a short time."""
        return self.root / "keys.db"

    @property
    def log(self) -> Path:
        """Tiles and checkpoints, readable by anybody's client."""
        return self.root / "log"

    @property
    def signing_key(self) -> Path:
        """Of the log; its public half is `log/key`."""
        return self.root / "signing.key"

    @property
    def next_key(self) -> Path:
        """What replaces it, from before it signs until it stands in its place."""
        return self.root / "signing.key.next"

    @property
    def core(self) -> Path:
        return self.root / "core"

    @property
    def evidence(self) -> Path:
        return self.root / "evidence"

    def make(self) -> HistoryFolder:
        for folder in (self.root, self.log, self.core, self.evidence):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self
