"""The day's random requests without an alert: the same for everybody, each with the same chance."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from dosimeter.monitor.audit.people import sample
from dosimeter.monitor.audit.people.sample import queue_sample
from dosimeter.monitor.history.archive import Archiver
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_reader import open_archive
from dosimeter.monitor.history.strata import Stratum
from tests.monitor.history.score_traffic import EPOCH, Traffic, spooled, traffic

DAY = date(2025, 11, 29)


@pytest.fixture(scope="module")
def made() -> Traffic:
    return traffic(300, seed=4, threshold=500)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, made: Traffic) -> Path:
    """One in 5 of what did not fire and was not near, all of the others."""
    path = tmp_path_factory.mktemp("archive")
    folder = ArchiveFolder(path)
    spooled(folder, made.records, 2)
    archiver = Archiver(folder, 5)
    while archiver.step():
        pass
    archiver.close()
    return path


def weights(archive: Path) -> dict[tuple[int, int], int]:
    """By request, what the archive keeps of those that did not fire."""
    found = {}
    for part in open_archive(archive).parts([]):
        for i in range(part.requests):
            if part.stratum[i] != Stratum.FLAGGED:
                found[int(part.epoch[i]), int(part.key[i])] = int(part.one_in[i])
    return found


def test_the_same_day_and_history_give_the_same_requests(archive: Path) -> None:
    first = queue_sample(archive, DAY, "history 1", 10)
    assert first == queue_sample(archive, DAY, "history 1", 10)
    assert len({one.request for one in first}) == 10
    assert queue_sample(archive, DAY, "history 1", 4) == [
        type(one)(one.epoch, one.key, one.tenant, one.route, one.time_ns, four.one_in)
        for one, four in zip(first, queue_sample(archive, DAY, "history 1", 4), strict=False)
    ]  # fewer are the first of more
    assert first != queue_sample(archive, DAY, "history 2", 10)


def test_none_of_them_raised_an_alert_and_each_says_who_and_when(
    archive: Path, made: Traffic
) -> None:
    drawn = queue_sample(archive, DAY, "s", 1000)
    fired = {key for key, one in made.truth.items() if one.fired}
    assert fired
    assert {(one.epoch, one.key) for one in drawn} == set(weights(archive))
    for one in drawn:
        assert one.key not in fired
        assert (one.epoch, one.tenant, one.route) == (EPOCH, f"tenant-{one.key % 3}", "chat")
        assert one.request == f"{EPOCH:016x}/{one.key:016x}"


def test_each_stands_for_the_days_quiet_requests_over_those_drawn(archive: Path) -> None:
    total = sum(weights(archive).values())
    assert {one.one_in for one in queue_sample(archive, DAY, "s", 8)} == {round(total / 8)}


def test_another_day_has_none(archive: Path) -> None:
    assert queue_sample(archive, date(2025, 11, 28), "s", 10) == []
    assert queue_sample(archive / "none", DAY, "s", 10) == []


def test_a_request_that_stands_for_more_is_drawn_as_often_as_they_would_be(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of 600 draws: its chance is its weight over all weights, within 5 standard errors."""
    weight = weights(archive)
    parts = list(open_archive(archive).parts([]))
    kept = type("Kept", (), {"parts": lambda *_: parts})()
    monkeypatch.setattr(sample, "open_archive", lambda _: kept)
    n, total = 600, sum(weight.values())
    heavy = {request for request, one_in in weight.items() if one_in == 5}
    firsts = [queue_sample(archive, DAY, f"history {i}", 1)[0] for i in range(n)]
    drawn = sum((one.epoch, one.key) in heavy for one in firsts)
    share = 5 * len(heavy) / total
    assert 0 < share < 1
    assert abs(drawn / n - share) < 5 * (share * (1 - share) / n) ** 0.5
