"""The write-ahead logs of ledger and history's store, cut at every single byte: `make wal-sweep`, about 10 minutes.

After each cut the file must open, pass SQLite's own check, and hold the commits that are whole by the file format and
nothing of the next; the ledger must accept what comes after. The tests of this try some of the lengths (`wal.py`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.chaos.kill_line import record
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from tests.monitor.audit.audit_scene import opened
from tests.monitor.audit.store.test_keeper import own
from tests.monitor.history.wal import cut

MEMORY = Path("/dev/shm")
"""Where there is one: so many files are opened that a disk would be all that is measured."""
COMMITS, IN_EACH = 2, 2
SAY_EVERY = 10_000
Cut = tuple[int, bool]
"""Commits that are whole by the file format, and whether the file then is just that."""


def ledger(folder: Path, tried: Callable[[bytes], range]) -> Iterator[Cut]:
    there, left = folder / "ledger.db", folder / "left.db"
    groups = [[record(n, i) for i in range(IN_EACH)] for n in range(1, COMMITS + 1)]
    cores = [one.core for group in groups for one in group]
    late = record(99, 0)
    with Ledger(there):
        pass  # closed, its schema is in the file and no write-ahead log is left
    with Ledger(there) as writer:
        for group in groups:
            writer.append(group)
        for commits in cut(there, left, tried):
            with Ledger(left) as again:
                accepted = again.append([late]).accepted
                with LedgerReader(left) as reader:
                    stored = [alert.core for alert in reader.alerts_since(0)]
                    sound = reader._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            expected = [*cores[: IN_EACH * commits], late.core]
            yield commits, sound and accepted == 1 and stored == expected


def store(folder: Path, tried: Callable[[bytes], range]) -> Iterator[Cut]:
    there, left = folder / "there", folder / "left"
    left.mkdir()
    with opened(there) as to:
        to.hot.empty_log()
        for n in range(COMMITS):
            to.append([own(IN_EACH * n + i + 1) for i in range(IN_EACH)])
        leaves = [leaf for _, leaf in to.hot.leaves(0, COMMITS * IN_EACH)]
        for commits in cut(there / "hot.db", left / "hot.db", tried):
            with HotStore(left / "hot.db") as hot:
                kept = [leaf for _, leaf in hot.leaves(0, COMMITS * IN_EACH)]
                size = hot.size
                sound = hot.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            expected = leaves[: IN_EACH * commits]
            yield commits, sound and kept == expected and size == len(expected)


SUBJECTS = {"ledger": ledger, "store": store}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--of", choices=SUBJECTS, action="append")
    parser.add_argument("--step", type=int, default=1, help="every so many bytes")
    args = parser.parse_args()
    wrong = 0
    for name in args.of or SUBJECTS:
        began, whole, others = time.monotonic(), Counter[int](), 0
        with ExitStack() as stack:
            at = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
            folder = Path(stack.enter_context(at))
            for commits, right in SUBJECTS[name](
                folder, lambda wal: range(0, len(wal) + 1, args.step)
            ):
                whole[commits] += 1
                others += not right
                if whole.total() % SAY_EVERY == 0:
                    print(f"{name}: {whole.total():,} lengths, {others} wrong", flush=True)
        found = ", ".join(f"{commits}: {whole[commits]:,}" for commits in sorted(whole))
        took = time.monotonic() - began
        print(
            f"{name}: cut at {whole.total():,} lengths, {others} wrong, {took:.0f} s; "
            f"by commits that are whole: {found}",
            flush=True,
        )
        wrong += others
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
