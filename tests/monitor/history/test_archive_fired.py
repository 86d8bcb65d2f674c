"""What fired live comes out of the archive again, and a backtest over the same archive fires it a second time."""

from __future__ import annotations

import numpy as np
import pytest
from score_traffic import EPOCH, NOON_NS, SECOND_NS, spooled, traffic

from dosimeter.monitor.backtest_work import Task, Told, replay_file
from dosimeter.monitor.history.archive import Archiver
from dosimeter.monitor.history.archive_fired import fired_in
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_reader import ArchiveFile, open_archive
from dosimeter.rules.backtesting.estimate import Found, changes, figures, joined

MADE = traffic(150, seed=9, threshold=600)
TRUTH = {(EPOCH, key, p) for key, one in MADE.truth.items() for p in one.fired}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArchiveFile, ...]:
    folder = ArchiveFolder(tmp_path_factory.mktemp("archive"))
    spooled(folder, MADE.records, pieces=4)
    folder.key.write_bytes(b"\x07" * 32)
    archiver = Archiver(folder, one_in=5)
    while archiver.step():
        pass
    archiver.close()
    return open_archive(folder.path).files


def hits(of: Found) -> set[tuple[int, int, int]]:
    requests = of.requests[of.hits["request"]]
    return set(
        zip(
            requests["epoch"].tolist(),
            requests["key"].tolist(),
            of.hits["position"].tolist(),
            strict=True,
        )
    )


def replayed(file: ArchiveFile, since_ns: int | None = None, until_ns: int | None = None) -> Told:
    programs = (MADE.program.canonical,)
    task = Task(file, programs, "lab", since_ns, until_ns, live=True, values=True)
    return replay_file(task, lambda tokens: None)


def test_what_fired_live_is_in_the_archive_with_whose_it_was(
    files: tuple[ArchiveFile, ...],
) -> None:
    found = joined([fired_in(file.path) for file in files])
    assert len(files) > 1
    assert hits(found) == TRUTH
    assert found.rules == ("r0",)
    for request in found.requests:
        assert found.tenants[request["tenant"]] == f"tenant-{request['key'] % 3}"
        assert found.routes[request["route"]] == "chat"
        assert request["one_in"] == 1


def test_a_backtest_of_the_same_rules_fires_what_fired_live(
    files: tuple[ArchiveFile, ...],
) -> None:
    told = [replayed(file) for file in files]
    found = joined([one.found for one in told])
    before = joined([one.before for one in told if one.before is not None])
    assert hits(found) == TRUTH
    assert changes(found, before) == ([], [])
    assert figures(found, 5, "r0").total.value == len(TRUTH)


def test_time_cuts_both_alike(files: tuple[ArchiveFile, ...]) -> None:
    since, until = NOON_NS + SECOND_NS * 2, NOON_NS + SECOND_NS * 5
    told = [replayed(file, since, until) for file in files]
    found, before = joined([t.found for t in told]), joined([t.before for t in told if t.before])
    assert 0 < len(hits(found)) < len(TRUTH)
    assert hits(found) == hits(before)
    assert (found.requests["last_ns"] >= since).all()
    assert (found.requests["last_ns"] < until).all()


def test_values_are_on_the_side_of_the_level_on_which_they_fire(
    files: tuple[ArchiveFile, ...],
) -> None:
    """Weighted requests beyond the level are those that fire, with one hit a request."""
    told = [replayed(file) for file in files]
    counts = np.sum([one.values["r0"].counts for one in told], axis=0)
    assert counts[len(counts) // 2 :].sum() == len({key for _, key, _ in TRUTH})
    weighted = sum(one.seen.weighted_requests for one in told)
    assert counts.sum() == weighted  # every request of this traffic has an answer
