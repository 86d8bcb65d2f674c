"""A request is found in the archive by its identity, with the tokens it had."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dosimeter.monitor.audit.evidence.archived import ArchivedRequests
from dosimeter.monitor.history.archive import Archiver
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_part import NotAPart
from tests.monitor.history.score_traffic import EPOCH, NOON_NS, SECOND_NS, spooled, traffic

MADE = traffic(300, seed=6, threshold=500)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = ArchiveFolder(tmp_path_factory.mktemp("archive"))
    spooled(found, MADE.records, 4)
    archiver = Archiver(found, 1)
    while archiver.step():
        pass
    archiver.close()
    return found.path


def test_every_request_on_which_a_rule_fired_is_found_as_it_was(folder: Path) -> None:
    requests = ArchivedRequests(folder)
    fired = {key: truth for key, truth in MADE.truth.items() if truth.fired}
    assert len(fired) > 20
    for key, truth in fired.items():
        for time_ns in (NOON_NS, NOON_NS - 3600 * SECOND_NS, NOON_NS + 3600 * SECOND_NS):
            one = requests.find(EPOCH, key, f"{key:032x}", time_ns)
            assert one is not None
            assert one.features == tuple(name for name, _ in MADE.bank.columns)
            assert np.array_equal(one.codes, truth.codes)
            assert [tuple(run) for run in one.runs.tolist()] == truth.runs
            assert (one.whole, one.program) == (True, MADE.program.digest)
            assert one.vouched == {"tenant": f"tenant-{key % 3}", "route": "chat"}


def test_a_request_that_is_not_there_is_none(folder: Path) -> None:
    requests = ArchivedRequests(folder)
    quiet = next(key for key, truth in MADE.truth.items() if not truth.fired)
    fired = next(key for key, truth in MADE.truth.items() if truth.fired)
    assert requests.find(EPOCH, 10**9, "0" * 32, NOON_NS) is None
    assert requests.find(EPOCH, fired, f"{fired:032x}", NOON_NS + 10**6 * SECOND_NS) is None
    assert requests.find(EPOCH + 1, 1, "0" * 32, NOON_NS) is None
    assert requests.find(EPOCH, quiet, f"{quiet:032x}", NOON_NS) is None
    assert ArchivedRequests(folder / "none").find(EPOCH, 1, "0" * 32, NOON_NS) is None


def test_a_file_that_is_broken_is_named_and_one_that_was_pruned_is_not_there(
    tmp_path: Path,
) -> None:
    folder = ArchiveFolder(tmp_path)
    spooled(folder, MADE.records, 1)
    archiver = Archiver(folder, 1)
    while archiver.step():
        pass
    archiver.close()
    key = next(key for key, truth in MADE.truth.items() if truth.fired)
    (part,) = tmp_path.glob("day=*/part-*.parquet")
    whole = part.read_bytes()
    part.write_bytes(whole[:400] + bytes(len(whole) - 800) + whole[-400:])
    with pytest.raises(NotAPart, match=part.name):
        ArchivedRequests(tmp_path).find(EPOCH, key, f"{key:032x}", NOON_NS)
    part.write_bytes(whole)
    requests = ArchivedRequests(tmp_path)
    part.unlink()
    assert requests.find(EPOCH, key, f"{key:032x}", NOON_NS) is None


def test_a_broken_file_hides_no_request_of_another(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "archive"
    shutil.copytree(folder, copy)
    first, *_ = sorted(copy.glob("day=*/part-*.parquet"))
    (first.parent / "part-000000000100-000000000100-0123456789ab.parquet").write_bytes(b"no" * 500)
    requests = ArchivedRequests(copy)
    key = next(key for key, truth in MADE.truth.items() if truth.fired)
    assert requests.find(EPOCH, key, f"{key:032x}", NOON_NS) is not None
    with pytest.raises(NotAPart, match="part-000000000100"):
        requests.find(EPOCH, 10**9, "", NOON_NS)
