"""Runs manipulations, each on a fresh copy, and holds the verdict against the one that was due.

Owns how an auditor looks: the log with the key they kept, the store, the anchors, the evidence with its keys. And what
counts as located: every changed entry or file named, and no entry before the first of them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from random import Random

from dosimeter.monitor.audit.checks.anchored import read_anchors
from dosimeter.monitor.audit.checks.differences import Difference
from dosimeter.monitor.audit.checks.evidence_check import check_evidence
from dosimeter.monitor.audit.checks.verdict import verdict_lines
from dosimeter.monitor.audit.checks.verifying import Verified, verify_history
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.chaos import (
    audit_insider,
    audit_key_holder,
    audit_log_files,
    audit_rows,
    audit_sealed,
    audit_topic,
    audit_whole,
)
from dosimeter.monitor.chaos.audit_attack import Manipulation, NotAllowed, Where
from dosimeter.monitor.chaos.audit_clean import Day
from dosimeter.monitor.chaos.audit_copy import Copy
from dosimeter.monitor.chaos.audit_history import Made, anchors_of
from dosimeter.monitor.tlog.note import Verifier
from dosimeter.monitor.tlog.reader import LogReader, LogUnreadable

TABLE = (
    *audit_log_files.TABLE,
    *audit_rows.TABLE,
    *audit_whole.TABLE,
    *audit_key_holder.TABLE,
    *audit_sealed.TABLE,
    *audit_topic.TABLE,
    *audit_insider.TABLE,
)
MEMORY = Path("/dev/shm")
"""Where copies are made if it is there: none has to outlive anything."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an auditor would read."""

    verified: Verified
    evidence: tuple[Difference, ...]
    lines: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.verified.ok and not self.evidence

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Of entries that are named, the narrow ones and the wide."""
        store = self.verified.store
        each = [*(store.differences if store else ()), *self.evidence]
        spans = [(one.index, one.index) for one in each if one.index is not None]
        return spans + [
            (f.first, f.first if f.last is None else f.last)
            for f in self.verified.log.findings
            if f.first is not None
        ]

    @property
    def words(self) -> str:
        """All that was found, with paths and hashes."""
        store = self.verified.store
        each = [*(store.differences if store else ()), *self.evidence]
        said = [f"{one.what} {one.log} {one.store}" for one in each]
        return "\n".join([*said, *map(str, self.verified.log.findings), *self.lines])


@dataclass(frozen=True, slots=True)
class Outcome:
    """actual: as `expected` would say it, or `nothing found`. said: the line that matters."""

    manipulation: Manipulation
    actual: str
    said: str

    @property
    def as_expected(self) -> bool:
        return self.actual == self.manipulation.expected


def judge(root: Path, verifier: Verifier) -> Verdict:
    """Without writing anything. The clock stands at the end of what was made."""
    folder = HistoryFolder(root / "history")
    anchors = read_anchors(anchors_of(root), verifier)
    with HotStore(folder.hot, read_only=True) as hot:
        verified = verify_history(
            folder, hot, verifier, now_ns=2_000_000_000 * 10**9, anchors=anchors
        )
        leaves: list[tuple[int, bytes]] = []
        try:
            leaves += LogReader(folder.log).leaves(0)
            leaves += hot.leaves(len(leaves), hot.size)
        except (LogUnreadable, IndexError):
            pass  # said by the log's own verification
        with KeyStore(folder.keys) as keys:
            evidence = tuple(check_evidence(folder, hot, keys, leaves)) if verified.log.ok else ()
    return Verdict(verified, evidence, tuple(verdict_lines(verified, UTC)))


def manipulations(
    made: Made, table: Sequence[Manipulation], runs: int, seed: int | str, progress: Progress
) -> Iterator[Outcome]:
    """One after the other through the table, until there are so many."""
    with tempfile.TemporaryDirectory(prefix="dosimeter-attack-", dir=memory()) as folder:
        for run in range(runs):
            one = table[run % len(table)]
            root = Path(folder) / str(run)
            shutil.copytree(made.root, root)
            yield attempt(made, root, one, Random(f"{seed}/{run}"))
            shutil.rmtree(root)
            progress(run + 1, runs)


def attempt(made: Made, root: Path, one: Manipulation, dice: Random) -> Outcome:
    before = _accepted(root)
    try:
        where = one.act(Copy(made, root, dice))
    except NotAllowed as error:
        after = judge(root, made.verifier)
        untouched = after.ok and _accepted(root) == before
        return Outcome(one, "refused" if untouched else "refused, and changed", str(error))
    verdict = judge(root, made.verifier)
    return Outcome(one, *_said(one, where, verdict, made, root))


def _accepted(root: Path) -> list[bytes]:
    """Every entry of the store that is not sealed."""
    with HotStore(HistoryFolder(root / "history").hot, read_only=True) as hot:
        return [leaf for _, leaf in hot.leaves(0, hot.size)]


def positions(root: Path) -> list[int]:
    """Of the alerts of one source, as often as they are in the log."""
    leaves = LogReader(HistoryFolder(root / "history").log).leaves(0)
    said = [json.loads(leaf) for _, leaf in leaves]
    return sorted(one["seq"] for one in said if one["kind"] == "alert")


def _said(
    one: Manipulation, where: Where, verdict: Verdict, made: Made, root: Path
) -> tuple[str, str]:
    if not verdict.ok:
        first = next(iter(verdict.words.splitlines()), "")
        if _located(where, verdict):
            return "located", first
        if where.start is not None and any(a <= where.start <= b for a, b in verdict.spans):
            return "found", first
        return "found, elsewhere", first
    gaps = {(gap.first, gap.last) for gap in verdict.verified.gaps.gaps}
    if where.gaps:
        named = gaps == set(where.gaps)
        return "named" if named else f"gaps {sorted(gaps)}", f"gaps: {sorted(gaps)}"
    if where.words:
        line = next((line.strip() for line in verdict.lines if where.words in line), "")
        return ("named" if line else "nothing found"), line
    stated = [line.strip() for line in verdict.lines if "cannot be excluded" in line]
    if where.start is not None:
        outside = [c.size for a, c in verdict.verified.held if a.outside]
        window = bool(outside) and where.start >= max(outside) and bool(stated)
        return ("not excluded" if window else "nothing found"), (stated or [""])[0]
    if one.expected == "no effect":
        seen = positions(root)
        whole = not gaps and seen == list(range(1, made.last_seq + 1 + audit_topic.MORE))
        return (
            "no effect" if whole else "another history"
        ), f"{len(seen)} positions, {len(gaps)} gaps"
    return "nothing found", ""


def _located(where: Where, verdict: Verdict) -> bool:
    spans = verdict.spans
    expected = set(where.entries)
    if expected:
        exact = {n for a, b in spans if set(range(a, b + 1)) <= expected for n in range(a, b + 1)}
        return expected <= exact
    if where.start is not None:
        named = any(a == where.start for a, _ in spans)
        return named and all(b >= where.start for _, b in spans)  # none ends before it
    return bool(where.path) and where.path in verdict.words


def alarms(histories: int, seed: int, progress: Progress) -> Iterator[str]:
    """What is said of histories that nobody touched."""
    with tempfile.TemporaryDirectory(prefix="dosimeter-clean-", dir=memory()) as folder:
        for n in range(histories):
            root = Path(folder) / str(n)
            verifier = Day(root, seed + n).live()
            verdict = judge(root, verifier)
            if not verdict.ok:
                yield f"history {seed + n}: {verdict.words[:400]}"
            shutil.rmtree(root)
            progress(n + 1, histories)


def memory() -> Path | None:
    return MEMORY if MEMORY.is_dir() else None
