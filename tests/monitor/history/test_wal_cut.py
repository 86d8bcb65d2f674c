"""Power lost while the line writes: of the ledger's write-ahead log, what was whole is there and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord

from .wal import cut

COMMITS = 3


def test_alerts_of_whole_commits_are_there_and_the_next_is_accepted_behind_them(
    tmp_path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    there, left = tmp_path / "ledger.db", tmp_path / "left.db"
    groups = [[record_of(2 * n), record_of(2 * n + 1)] for n in range(COMMITS)]
    cores = [record.core for group in groups for record in group]
    with Ledger(there):
        pass  # closed, its schema is in the file and no write-ahead log is left
    with Ledger(there) as ledger:
        for group in groups:
            ledger.append(group)
        seen = set()
        for commits in cut(there, left):
            seen.add(commits)
            with Ledger(left) as again:
                with LedgerReader(left) as reader:
                    stored = [alert.core for alert in reader.alerts_since(0)]
                assert stored == cores[: 2 * commits]
                given = [record for group in groups for record in group]
                done = again.append(given)  # as the line does that decides the same things again
                assert (done.duplicates, done.accepted) == (2 * commits, 2 * (COMMITS - commits))
        assert seen == set(range(COMMITS + 1))
