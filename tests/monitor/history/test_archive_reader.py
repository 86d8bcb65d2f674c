"""Reading the archive: only what was asked for, of the time that was asked for, as arrays that fit together."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from score_traffic import NOON_NS, spooled, traffic

from dosimeter.monitor.history import archive_part
from dosimeter.monitor.history.archive import Archiver
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_part import NotAPart
from dosimeter.monitor.history.archive_reader import Archive, Part, open_archive

MADE = traffic(80, seed=6, features=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ArchiveFolder:
    found = ArchiveFolder(tmp_path_factory.mktemp("archive"))
    spooled(found, MADE.records, 4)
    archiver = Archiver(found, 1)
    while archiver.step():
        pass
    archiver.close()
    return found


def check(part: Part) -> None:
    """Its arrays belong together, and say what the requests were."""
    assert len(part.offsets) == part.requests + 1
    assert part.tokens == len(part.codes[0])
    assert int(part.runs[:, 2].sum()) == part.tokens
    assert (np.diff(part.runs[:, 0]) >= 0).all()
    for a, key in enumerate(part.key.tolist()):
        truth = MADE.truth[key]
        codes = part.codes[0][part.offsets[a] : part.offsets[a + 1]]
        assert (codes == truth.codes[:, 2]).all()
        assert [tuple(r[1:]) for r in part.runs.tolist() if r[0] == a] == truth.runs
        assert part.tenant.names[part.tenant.of[a]] == f"tenant-{key % 3}"


def test_every_time_span_finds_the_requests_that_ended_in_it(folder: ArchiveFolder) -> None:
    archive = open_archive(folder.path)
    ends = {}
    for part in archive.parts(["feature_2"]):
        check(part)
        ends |= dict(zip(part.key.tolist(), part.last_ns.tolist(), strict=True))
    assert set(ends) == set(MADE.truth)
    times = sorted(ends.values())
    for since, until in [(times[10], times[50]), (times[0], times[0]), (None, times[30])]:
        parts = list(archive.parts(["feature_2"], since, until))
        for part in parts:
            check(part)
        found = {key for part in parts for key in part.key.tolist()}
        assert found == {k for k, t in ends.items() if (since or 0) <= t < until}
    assert not list(archive.parts(["feature_2"], NOON_NS * 2))


def test_some_requests_of_a_part_are_a_part_again(folder: ArchiveFolder) -> None:
    part = next(iter(open_archive(folder.path).parts(["feature_2"])))
    mask = part.key % 2 == 0
    half = part.only(mask)
    check(half)
    assert half.key.tolist() == part.key[mask].tolist()
    none = part.only(np.zeros(part.requests, bool))
    check(none)
    assert (none.requests, none.tokens) == (0, 0)


def test_long_archives_are_read_a_row_group_at_a_time(
    folder: ArchiveFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_part, "ROW_GROUP_TOKENS", 300)
    target = ArchiveFolder(tmp_path).part("2025-11-29", 0, 3, folder.parts()[0].bank + "0" * 52)
    archive_part.merge_parts(target.path, [part.path for part in folder.parts()])
    parts = list(open_archive(tmp_path).parts(["feature_2"]))
    assert len(parts) > 3
    for part in parts:
        check(part)
        assert part.tokens < 300 + max(len(t.codes) for t in MADE.truth.values())
    assert sum(part.requests for part in parts) == len(MADE.truth)


def test_an_archive_without_files_has_nothing_to_say(tmp_path: Path) -> None:
    archive = open_archive(tmp_path / "nowhere")
    assert archive == Archive(())
    assert not list(archive.parts(["x"]))
    assert archive.counts()["rest"]["requests"] == 0


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (None, "says nothing of itself"),
        (b"{}", "says nothing of itself"),
        (b'{"version": 2}', "archive version 2, this build reads 1"),
        (b"\xff", "says nothing of itself"),
    ],
)
def test_a_file_of_someone_else_is_refused_by_name(
    tmp_path: Path, meta: bytes | None, message: str
) -> None:
    path = ArchiveFolder(tmp_path).part("2025-11-29", 0, 0, "ab" * 32).path
    path.parent.mkdir()
    table = pa.table({"a": [1]})
    if meta is not None:
        table = table.replace_schema_metadata({archive_part.META: meta})
    pq.write_table(table, path)
    with pytest.raises(NotAPart, match=message):
        open_archive(tmp_path).counts()


def test_whatever_bit_is_wrong_a_file_is_read_or_refused_by_name(
    folder: ArchiveFolder, tmp_path: Path
) -> None:
    """Some of it had been said in words of the decoder, without the file."""
    part = folder.parts()[0]
    path = ArchiveFolder(tmp_path).part(part.day, part.first, part.last, part.bank).path
    path.parent.mkdir()
    data, rng, refused = part.path.read_bytes(), random.Random(5), []
    for _ in range(300):
        wrong = bytearray(data)
        wrong[rng.randrange(len(wrong))] ^= 1 << rng.randrange(8)
        path.write_bytes(wrong)
        try:
            for one in open_archive(tmp_path).parts(["feature_0"]):
                assert one.tokens == len(one.codes[0])
        except NotAPart as error:
            refused.append(error.path)
    assert set(refused) == {path}


def test_a_file_that_is_no_parquet_is_refused_by_name(tmp_path: Path) -> None:
    path = ArchiveFolder(tmp_path).part("2025-11-29", 0, 0, "ab" * 32).path
    path.parent.mkdir()
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(NotAPart, match="no Parquet file"):
        open_archive(tmp_path).counts()
