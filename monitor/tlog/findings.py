"""What verification can find wrong, and the verdict that holds it. Data only; nothing is read here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dosimeter.monitor.tlog.note import Checkpoint

MAX_FINDINGS = 1000


class Kind(StrEnum):
    KEY = "key"  # not signed by the key asked for, or a checkpoint of another log
    SIGNATURE = "signature"  # a note that cannot be read, or whose signature does not fit
    ENTRY = "entry"  # an entry is not what was signed
    TILE = "tile"  # a tile is not what was signed; the entries below it are
    ROOT = "root"  # entries and tiles together do not give the signed root
    MISSING = "missing"  # a file is not there
    TRUNCATED = "truncated"  # a file ends too early
    ROLLED_BACK = "rolled-back"  # more was signed than the log now holds or says
    FORKED = "forked"  # two histories were signed


@dataclass(frozen=True, slots=True)
class Finding:
    """`first` to `last` are the entries it concerns, where that is known; `path` is in the log."""

    kind: Kind
    what: str
    first: int | None = None
    last: int | None = None
    path: str | None = None

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}: "
        return f"{self.kind}: {where}{self.what}"


class Findings:
    """Collected in the order found; beyond MAX_FINDINGS only counted."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.more = 0

    def add(
        self,
        kind: Kind,
        what: str,
        first: int | None = None,
        last: int | None = None,
        path: str | None = None,
    ) -> None:
        before = self.found[-1] if self.found else None
        if (
            before is not None
            and before.kind is kind is Kind.MISSING
            and before.first is not None
            and before.last is not None
            and before.last + 1 == first
        ):
            what = f"missing, as are those up to `{path}`: entries {before.first} to {last}"
            self.found[-1] = Finding(kind, what, before.first, last, before.path)
        elif len(self.found) < MAX_FINDINGS:
            self.found.append(Finding(kind, what, first, last, path))
        else:
            self.more += 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one pass over a log has shown."""

    checkpoint: Checkpoint | None  # the newest with a good signature; None: nothing to check by
    intact: int  # entries that are what this checkpoint signed
    kept: int  # earlier checkpoints kept by the log that were read
    oldest: Checkpoint | None  # the oldest of them that is a prefix
    since_holds: bool | None  # None: none was asked for
    anchored: Sequence[Checkpoint]  # those of the anchors that are a prefix, in order of size
    unchecked: Sequence[int]  # sizes of checkpoints inside damage, which can be said nothing about
    findings: Sequence[Finding]
    more: int  # findings beyond those listed

    @property
    def ok(self) -> bool:
        return not self.findings
