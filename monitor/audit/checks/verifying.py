"""A log verified, its store compared in the same pass, and what its anchors hold beside it.

Owns what belongs to one such look at a history. It changes nothing, needs no key but the public one, and never learns
how the answer is worded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from dosimeter.monitor.audit.checks.anchored import Anchored
from dosimeter.monitor.audit.checks.store_check import StoreCheck
from dosimeter.monitor.audit.queries.watched import Watched, weigh
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.tlog.findings import Verdict
from dosimeter.monitor.tlog.note import Checkpoint, Verifier
from dosimeter.monitor.tlog.verify import verify
from dosimeter.monitor.tlog.verify_tree import Progress


@dataclass(frozen=True, slots=True)
class Verified:
    """The whole answer. stored: entries of the store, signed or not; oldest_unanchored_ns: 0 where all are anchored."""

    log: Verdict
    store: StoreCheck | None
    stored: int
    since: Checkpoint | None
    anchors: tuple[Anchored, ...]
    asked_anchors: bool
    oldest_unanchored_ns: int
    gaps: Watched
    now_ns: int

    @property
    def ok(self) -> bool:
        return (
            self.log.checkpoint is not None
            and self.log.ok
            and not any(one.wrong for one in self.anchors)
            and (self.store is None or not self.store.differences)
        )

    @property
    def held(self) -> list[tuple[Anchored, Checkpoint]]:
        """Anchors with the largest of their checkpoints that is a prefix of this log, the one that holds most first."""
        fine = {(c.size, c.root) for c in self.log.anchored}
        each = [
            (one, max(good, key=lambda c: c.size))
            for one in self.anchors
            if (good := [c for c in one.checkpoints if (c.size, c.root) in fine])
        ]
        return sorted(each, key=lambda pair: -pair[1].size)

    @property
    def unanchored(self) -> int:
        held = self.held
        return self.stored - (held[0][1].size if held else 0)


def verify_history(
    folder: HistoryFolder,
    hot: HotStore | None,
    verifier: Verifier,
    *,
    now_ns: int,
    since: Checkpoint | None = None,
    anchors: Sequence[Anchored] | None = None,
    progress: Progress | None = None,
) -> Verified:
    """hot: None where only the log is at hand. anchors: None: nobody asked for them.

    Raises OSError where files that are there cannot be read.
    """
    check = None if hot is None else StoreCheck(hot, folder)
    given = [checkpoint for one in anchors or () for checkpoint in one.checkpoints]
    ingested: list[int] = []
    kept = max((c.size for c in given), default=0)

    def look(first: int, leaves: Sequence[bytes]) -> None:
        if check is not None:
            check.look(first, leaves)
        if not ingested and first + len(leaves) > kept:
            ingested.append(_ingested(leaves[max(0, kept - first)]))

    log = verify(folder.log, verifier, since=since, anchored=given, look=look, progress=progress)
    if check is not None:
        check.close()
    signed = 0 if log.checkpoint is None else log.checkpoint.size
    stored = signed if check is None else check.size
    if hot is not None and not ingested and stored > kept:
        ingested += [_ingested(leaf) for _, leaf in hot.leaves(kept, kept + 1)]
    stretches = () if check is None else check.stretches
    gaps = weigh(stretches, 1, now_ns)
    held = tuple(anchors or ())
    oldest = ingested[0] if ingested else 0
    return Verified(log, check, stored, since, held, anchors is not None, oldest, gaps, now_ns)


def _ingested(leaf: bytes) -> int:
    try:
        return int(json.loads(leaf)["ingested_ns"])
    except (ValueError, KeyError, TypeError):
        return 0
