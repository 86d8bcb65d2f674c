"""What a log says of the store beside it: files that were sealed, files whose time was over, holds, what was watched.

Owns what is remembered of entries that the log has and the store must agree with. It never learns what the store has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dosimeter.monitor.audit.checks.differences import Differences
from dosimeter.monitor.audit.queries.watched import KINDS


@dataclass(frozen=True, slots=True)
class Hashes:
    """In hex: of a core file, and over the leaves that it was made of."""

    core: str
    leaves: str


@dataclass(frozen=True, slots=True)
class Named:
    """A sealed file as its entry names it. evidence: whether it had any."""

    core: str
    past: int
    evidence: bool


@dataclass
class Logged:
    """Give `learn` every entry in order. Sealed files are known by their first position."""

    differences: Differences
    stretches: list[Mapping[str, Any]] = field(default_factory=list)  # births, deaths, gaps
    hashes: dict[int, Hashes] = field(default_factory=dict)
    named: dict[int, Named] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)  # core files whose time is over
    gone_evidence: set[str] = field(default_factory=set)
    holds: dict[str, str] = field(default_factory=dict)  # on whom -> by which entry; empty: none

    def learn(self, said: Mapping[str, Any]) -> None:
        """Raises KeyError, TypeError, ValueError of an entry that is none."""
        kind = said["kind"]
        if kind in KINDS and kind != "coverage":
            self.stretches.append(said)
        elif kind == "retention":
            self.gone.update(str(name) for name in said.get("core", ()))
            self.gone_evidence.update(str(name) for name in said.get("evidence_files", ()))
        elif kind in ("hold", "release"):
            about = str(said.get("about") or said.get("subject"))
            self.holds[about] = str(said["id"]) if kind == "hold" else ""
        elif kind == "seal" and isinstance(said.get("first"), int):
            self._sealed(said["first"], said)

    def _sealed(self, first: int, said: Mapping[str, Any]) -> None:
        told = Hashes(str(said.get("core_sha256")), str(said.get("leaves_sha256")))
        name, past = str(said.get("core")), int(said.get("past", 0))
        self.named.setdefault(first, Named(name, past, "evidence_sha256" in said))
        before = self.hashes.setdefault(first, told)
        if before != told:  # sealing never says two things
            what = f"entry {said['id']} says anew what was sealed from {first} on"
            self.differences.add(first, what, before.core, told.core)
