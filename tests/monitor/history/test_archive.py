"""The archive: every token is kept, sampled away by count, or counted as lost, whatever dies and when."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from score_traffic import EPOCH, NOON_NS, Traffic, bank_of, chunk_bytes, spooled, traffic

from dosimeter.detectors.frames import SEGMENTS
from dosimeter.monitor.history import archive, archive_folder, archive_part
from dosimeter.monitor.history.archive import Archiver, status
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_reader import open_archive
from dosimeter.monitor.history.archive_tidy import DAY_NS, GRACE_NS, MERGE_PARTS, PACE_NS, Tidy
from dosimeter.monitor.history.chunk import Fired, Lost, Opened, ProgramText, Rows, Totals
from dosimeter.monitor.history.chunk_reader import SpoolError, read_chunk
from dosimeter.monitor.history.lock import AlreadyWriting
from dosimeter.monitor.history.strata import Stratum

MADE = traffic(120, seed=5, threshold=650)
KEY = b"\x07" * 32


def begin(path: Path, made: Traffic = MADE, pieces: int = 5) -> ArchiveFolder:
    folder = ArchiveFolder(path)
    spooled(folder, made.records, pieces)
    folder.key.write_bytes(KEY)
    return folder


def drain(folder: ArchiveFolder, one_in: int = 4) -> dict[str, int]:
    archiver = Archiver(folder, one_in)
    try:
        while archiver.step():
            pass
        return status(archiver)
    finally:
        archiver.close()


def kept_bytes(folder: ArchiveFolder) -> dict[str, bytes]:
    return {str(p.path.relative_to(folder.path)): p.path.read_bytes() for p in folder.parts()}


def test_every_token_is_kept_or_sampled_away_by_count(tmp_path: Path) -> None:
    folder = begin(tmp_path / "a")
    done = drain(folder)
    assert done["tokens_read"] == done["tokens"] == MADE.tokens
    assert done["requests"] == len(MADE.truth)
    counts = open_archive(folder.path).counts()
    assert sum(one["requests"] for one in counts.values()) == len(MADE.truth)
    assert sum(one["tokens"] for one in counts.values()) == MADE.tokens
    assert sum(one["kept_tokens"] for one in counts.values()) == done["kept_tokens"]
    flagged = {key for key, truth in MADE.truth.items() if truth.fired}
    assert 5 < len(flagged) < len(MADE.truth) / 2
    assert counts["flagged"]["requests"] == counts["flagged"]["kept_requests"] == len(flagged)
    assert counts["near"]["requests"] == counts["near"]["kept_requests"] > 0
    assert 0 < counts["rest"]["kept_requests"] < counts["rest"]["requests"]
    parts = list(open_archive(folder.path).parts(["feature_0"]))
    assert sum(part.requests for part in parts) == done["kept_requests"]
    assert sum(part.tokens for part in parts) == done["kept_tokens"]
    found = {int(k) for p in parts for k in p.key[p.stratum == Stratum.FLAGGED]}
    assert found == flagged
    assert not folder.sealed()
    assert not folder.taken()


def test_near_is_what_the_codes_say(tmp_path: Path) -> None:
    """Worked out from the scores alone: a token of an answer above 650 - 128."""
    folder = begin(tmp_path / "a")
    drain(folder, one_in=1)
    for part in open_archive(folder.path).parts(["feature_0"]):
        for key, stratum in zip(part.key.tolist(), part.stratum.tolist(), strict=True):
            truth = MADE.truth[key]
            highest = int(truth.codes[truth.prompt :, 0].max(initial=-32_767))
            expected = Stratum.REST if highest <= 522 else Stratum.NEAR
            assert Stratum(stratum) is (Stratum.FLAGGED if truth.fired else expected)


def test_codes_come_back_to_the_bit_with_scopes_labels_and_times(tmp_path: Path) -> None:
    folder = begin(tmp_path / "a")
    drain(folder, one_in=1)
    seen: set[int] = set()
    for part in open_archive(folder.path).parts(["feature_1", "feature_0"]):
        for a, key in enumerate(part.key.tolist()):
            truth = MADE.truth[key]
            mine = slice(part.offsets[a], part.offsets[a + 1])
            assert (part.codes[0][mine] == truth.codes[:, 1]).all()
            assert (part.codes[1][mine] == truth.codes[:, 0]).all()
            assert [tuple(r[1:]) for r in part.runs.tolist() if r[0] == a] == truth.runs
            assert part.epoch[a] == EPOCH
            assert part.tenant.names[part.tenant.of[a]] == f"tenant-{key % 3}"
            assert part.route.names[part.route.of[a]] == "chat"
            assert part.program.names[part.program.of[a]] == MADE.program.digest
            assert NOON_NS < part.first_ns[a] <= part.last_ns[a]
            assert part.whole[a]
            assert part.served[a] == len(truth.codes)
            assert part.one_in[a] == 1
        seen |= set(part.key.tolist())
    assert seen == set(MADE.truth)


@pytest.mark.parametrize("pieces", [1, 3, 17])
def test_what_is_kept_does_not_depend_on_where_the_stream_was_cut(
    tmp_path: Path, pieces: int
) -> None:
    whole, cut = begin(tmp_path / "a", pieces=1), begin(tmp_path / "b", pieces=pieces)
    drain(whole)
    drain(cut)

    def keys(folder: ArchiveFolder) -> dict[int, int]:
        parts = open_archive(folder.path).parts(["feature_0"])
        return {
            k: s for p in parts for k, s in zip(p.key.tolist(), p.stratum.tolist(), strict=True)
        }

    assert keys(whole) == keys(cut)
    assert open_archive(whole.path).counts() == open_archive(cut.path).counts()


def test_two_archives_of_the_same_chunks_are_the_same_files(tmp_path: Path) -> None:
    one, other = begin(tmp_path / "a"), begin(tmp_path / "b")
    drain(one)
    drain(other)
    assert kept_bytes(one) == kept_bytes(other)


class Killed(BaseException):
    pass


def test_killed_between_any_two_changes_of_the_disk_it_makes_the_same_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rename and every removal is a moment to die at, before it and after it."""
    undisturbed = begin(tmp_path / "undisturbed", pieces=3)
    drain(undisturbed)
    expected, counts = kept_bytes(undisturbed), open_archive(undisturbed.path).counts()
    deaths = 0
    fresh = begin(tmp_path / "fresh", pieces=3)
    for moment in range(1000):
        shutil.copytree(fresh.path, tmp_path / "killed")
        folder = ArchiveFolder(tmp_path / "killed")
        left = [moment]

        def dying(change: Callable[..., object], left: list[int] = left) -> Callable[..., object]:
            def call(*args: object, **more: object) -> object:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                found = change(*args, **more)
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                return found

            return call

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", dying(Path.replace))
            patched.setattr(Path, "unlink", dying(Path.unlink))
            try:
                drain(folder)
            except Killed:
                deaths += 1
        done = drain(folder)
        assert kept_bytes(folder) == expected, moment
        assert open_archive(folder.path).counts() == counts
        assert done["tokens"] == MADE.tokens
        shutil.rmtree(folder.path)
        if left[0] > 0:
            break
    assert deaths > 20


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, folder = begin(tmp_path / "a"), begin(tmp_path / "b")
    drain(undisturbed)
    with monkeypatch.context() as patched:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patched.setattr(archive, "write_whole", full)
        with pytest.raises(OSError, match="No space"):
            drain(folder)
    drain(folder)
    assert kept_bytes(folder) == kept_bytes(undisturbed)


def test_weights_make_totals_right_in_expectation(tmp_path: Path) -> None:
    """Over many secrets: the estimate of all tokens is unbiased, and those that count fully are exact."""
    made = traffic(60, seed=9, threshold=650)
    fixed, estimates = set(), []
    fresh = begin(tmp_path / "fresh", made, pieces=1)
    for secret in range(40):
        shutil.copytree(fresh.path, tmp_path / "a")
        folder = ArchiveFolder(tmp_path / "a")
        folder.key.write_bytes(secret.to_bytes(32, "little"))
        drain(folder, one_in=5)
        (part,) = open_archive(folder.path).parts(["feature_0"])
        lengths = np.diff(part.offsets)
        estimates.append(int((lengths * part.one_in).sum()))
        fixed.add(int(lengths[part.stratum != Stratum.REST].sum()))
        shutil.rmtree(folder.path)
    assert len(fixed) == 1
    # Each request of the rest of length n comes with probability 1/5 and weight 5: variance 4 n^2.
    counted = fixed.pop()
    variance = 4 * sum(len(t.codes) ** 2 for t in made.truth.values())
    error = abs(Fraction(sum(estimates), len(estimates)) - made.tokens)
    assert float(error) < 4 * (variance / len(estimates)) ** 0.5
    assert 0 < counted < made.tokens


def test_uniform_requests_are_a_plain_sample_of_all_whatever_their_stratum(tmp_path: Path) -> None:
    made = traffic(400, seed=11, threshold=550)
    folder = begin(tmp_path / "a", made, pieces=1)
    drain(folder, one_in=2)
    (part,) = open_archive(folder.path).parts(["feature_0"])
    flagged = sum(bool(truth.fired) for truth in made.truth.values())
    sampled = int((part.uniform & (part.stratum == Stratum.FLAGGED)).sum())
    assert abs(sampled - flagged / 2) < 4 * (flagged / 4) ** 0.5
    assert (part.uniform | (part.stratum != Stratum.REST)).all()
    assert (part.one_in[part.stratum == Stratum.REST] == 2).all()


def test_tokens_that_the_line_could_not_hand_over_are_counted_and_mark_their_request(
    tmp_path: Path,
) -> None:
    records = list(MADE.records)
    at = next(i for i, one in enumerate(records) if isinstance(one, Rows) and i > 40)
    dropped = records[at]
    assert isinstance(dropped, Rows)
    keys = tuple(dropped.segments["key"].tolist())
    records[at] = Lost(EPOCH, keys, len(dropped.codes))
    folder = ArchiveFolder(tmp_path / "a")
    spooled(folder, records, 3)
    done = drain(folder, one_in=1)
    assert done["tokens_lost"] == len(dropped.codes)
    assert done["tokens"] + done["tokens_lost"] == MADE.tokens
    for part in open_archive(folder.path).parts(["feature_0"]):
        assert set(part.key[~part.whole].tolist()) <= set(keys)
    marked = sum(int((~p.whole).sum()) for p in open_archive(folder.path).parts(["feature_0"]))
    assert marked == len(keys)


def test_a_chunk_that_gave_way_leaves_marked_requests_and_counted_tokens(tmp_path: Path) -> None:
    folder = begin(tmp_path / "a", pieces=6)
    gone = folder.sealed()[2]
    lost = gone.rows
    gone.path.unlink()
    done = drain(folder, one_in=1)
    assert done["chunks_missing"] == 1
    open_tokens = MADE.tokens - lost - done["tokens"] - done["tokens_unknown"]
    archiver = Archiver(folder, 1)
    try:
        waiting = sum(len(r.codes) for r in archiver._assembly.open.values())
    finally:
        archiver.close()
    assert open_tokens == waiting  # of requests whose end was in it
    for part in open_archive(folder.path).parts(["feature_0"]):
        for a, key in enumerate(part.key.tolist()):
            complete = part.offsets[a + 1] - part.offsets[a] == len(MADE.truth[key].codes)
            assert complete or not part.whole[a]


def test_a_torn_chunk_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    folder = begin(tmp_path / "a", pieces=1)
    path = folder.sealed()[0].path
    path.write_bytes(path.read_bytes()[:-400])
    done = drain(folder, one_in=1)
    assert done["chunks_torn"] == 1
    assert 0 < done["bytes_torn"] < 400
    assert done["tokens"] <= done["tokens_read"] <= MADE.tokens


def test_a_chunk_that_makes_no_sense_is_set_aside_and_the_others_are_read(tmp_path: Path) -> None:
    folder = begin(tmp_path / "a", pieces=40)
    bad = folder.sealed()[11]
    bad.path.write_bytes(b"not one of ours" * 10)
    done = drain(folder, one_in=1)
    assert (done["chunks_refused"], done["chunks_missing"]) == (1, 0)
    assert [p.name for p in folder.refused.iterdir()] == [bad.path.name]
    assert not all(p.whole.all() for p in open_archive(folder.path).parts(["feature_0"]))


def test_a_request_without_a_scored_token_is_counted_and_no_row(tmp_path: Path) -> None:
    """Its times would be those of nothing, and whoever reads rows would have to expect empty ones."""
    records = [one for one in MADE.records if not isinstance(one, Rows)]
    folder = ArchiveFolder(tmp_path / "a")
    spooled(folder, [one for one in records if not isinstance(one, Fired)])
    done = drain(folder, one_in=1)
    assert (done["requests_empty"], done["requests"]) == (len(MADE.truth), 0)
    assert not open_archive(folder.path).files


def test_requests_of_another_bank_stand_in_files_of_their_own(tmp_path: Path) -> None:
    wide = traffic(10, seed=2, features=3)
    shift = 1000
    records = [
        replace(one, key=one.key + shift) if hasattr(one, "key") else one for one in wide.records
    ]
    for at, one in enumerate(records):
        if isinstance(one, Rows):
            segments = one.segments.copy()
            segments["key"] += shift
            records[at] = Rows(one.epoch, one.time_ns, segments, one.codes)
    folder = ArchiveFolder(tmp_path / "a")
    folder.make()
    folder.sealed_chunk(0, 0).write_bytes(chunk_bytes([*MADE.records, *records], 0))
    drain(folder, one_in=1)
    found = open_archive(folder.path)
    assert sorted(len(file.about.bank.columns) for file in found.files) == [2, 3]
    assert sum(part.requests for part in found.parts(["feature_2"])) == 10
    assert sum(part.requests for part in found.parts(["feature_0"])) == 130
    assert list(found.parts(["nobody_scores_this"])) == []


def test_a_file_states_its_bank_its_strata_and_its_version(tmp_path: Path) -> None:
    folder = begin(tmp_path / "a", pieces=1)
    drain(folder, one_in=4)
    import pyarrow.parquet as pq

    (part,) = folder.parts()
    assert part.path.parent.name == "day=2025-11-29"
    said = json.loads(pq.read_metadata(part.path).metadata[archive_part.META])
    assert said["version"] == 1
    assert said["columns"] == [["feature_0", f"{0:064x}"], ["feature_1", f"{1:064x}"]]
    assert (said["model"], said["model_digest"]) == ("lab", "ab" * 32)
    assert said["strata"]["rest"] == "1 in 4 kept"
    assert (said["near_codes"], said["one_in"]) == (128, 4)


def test_small_parts_become_one_with_the_same_requests_and_counts(tmp_path: Path) -> None:
    folder = begin(tmp_path / "a", pieces=6)
    drain(folder)
    before = open_archive(folder.path)
    rows = list(before.parts(["feature_0", "feature_1"]))
    Tidy(folder, 30).merge(NOON_NS, everything=True)
    after = open_archive(folder.path)
    assert (len(before.files), len(after.files)) == (6, 1)
    assert before.counts() == after.counts()
    (part,) = after.parts(["feature_0", "feature_1"])
    assert part.key.tolist() == [k for p in rows for k in p.key.tolist()]
    for index in range(2):
        assert (part.codes[index] == np.concatenate([p.codes[index] for p in rows])).all()
    # Whoever listed the small ones can still read them, and they do not count twice.
    assert len(folder.parts()) == 7
    assert sum(p.requests for p in before.parts(["feature_0"])) == part.requests


def test_parts_of_a_day_that_goes_on_are_merged_when_they_are_many(tmp_path: Path) -> None:
    made = traffic(150, seed=4)
    folder = begin(tmp_path / "a", made, pieces=MERGE_PARTS + 4)
    drain(folder, one_in=1)
    Tidy(folder, 30).merge(NOON_NS)
    assert len(open_archive(folder.path).files) == 5
    Tidy(folder, 30).merge(NOON_NS + DAY_NS)
    assert len(open_archive(folder.path).files) == 1


def test_merged_parts_go_after_an_hour_and_days_when_they_are_too_old(tmp_path: Path) -> None:
    folder = begin(tmp_path / "a", pieces=4)
    drain(folder)
    tidy = Tidy(folder, 30)
    tidy.merge(NOON_NS, everything=True)
    merged = open_archive(folder.path).files[0].path
    for part in folder.parts():  # what was merged is hours old already
        at = NOON_NS if part.path == merged else NOON_NS - 5 * GRACE_NS
        os.utime(part.path, ns=(at, at))
    tidy.remove(NOON_NS + GRACE_NS, 0)
    assert len(folder.parts()) == 5
    tidy.remove(NOON_NS + GRACE_NS + 1, 0)
    assert len(folder.parts()) == 1
    tidy.remove(NOON_NS + 30 * DAY_NS, 0)
    assert len(folder.parts()) == 1
    tidy.remove(NOON_NS + 31 * DAY_NS, 0)
    assert not folder.parts()
    assert not list(folder.path.glob("day=*"))


def days_of_parts(folder: ArchiveFolder, days: int) -> None:
    """An empty part a day, the last one on the day of NOON_NS."""
    folder.make()
    for back in range(days):
        day = archive_folder.day_of(NOON_NS - back * DAY_NS)
        about = archive_part.About(bank_of(), 4, archive_part.no_counts())
        archive_part.write_part(folder.part(day, back, back, bank_of().digest).path, [], about)


def test_a_clock_that_is_far_ahead_for_a_while_costs_a_day_an_hour(tmp_path: Path) -> None:
    """It would have been the whole archive at once, also with new parts in the day that it shows."""
    folder = ArchiveFolder(tmp_path / "a")
    days_of_parts(folder, 10)
    tidy = Tidy(folder, 30)
    for second in range(0, 3600, 60):
        tidy.remove(NOON_NS + 40 * DAY_NS, second * 10**9)
    assert len(folder.parts()) == 9
    tidy.remove(NOON_NS, 3600 * 10**9)
    assert len(folder.parts()) == 9
    for hour in range(2, 11):  # one that is right removes all of an archive that nothing comes to
        tidy.remove(NOON_NS + 40 * DAY_NS, hour * PACE_NS)
    assert not folder.parts()


def test_a_part_is_on_disk_with_its_name_before_its_chunk_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, done = begin(tmp_path / "a", pieces=1), []
    (file,) = folder.sealed()
    fsync, unlink = os.fsync, Path.unlink

    def syncing(fd: int) -> None:
        done.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        fsync(fd)

    def unlinking(path: Path, missing_ok: bool = False) -> None:
        done.append(f"without {path.name}")
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "unlink", unlinking)
    drain(folder)
    (part,) = folder.parts()
    before = done[: done.index(f"without {file.path.name}")]
    assert part.path.name + ".part" in before
    assert part.path.parent.name in before[before.index(part.path.name + ".part") :]
    assert "a" in before  # the name of the day, too


@pytest.mark.parametrize("left", [0, 4, 400])
def test_a_part_that_cannot_be_read_is_set_aside_and_the_others_are_merged(
    tmp_path: Path, left: int
) -> None:
    folder = begin(tmp_path / "a", pieces=4)
    drain(folder, one_in=1)
    bad = folder.parts()[1]
    bad.path.write_bytes(bad.path.read_bytes()[:left])
    tidy = Tidy(folder, 30)
    tidy.merge(NOON_NS, everything=True)
    assert [path.name for path in folder.refused.iterdir()] == [f"{bad.day}-{bad.path.name}"]
    tidy.merge(NOON_NS, everything=True)
    assert len(open_archive(folder.path).files) == 1


def test_a_part_whose_codes_do_not_decompress_is_set_aside_too(tmp_path: Path) -> None:
    folder = begin(tmp_path / "a", pieces=2)
    drain(folder, one_in=1)
    bad = folder.parts()[0]
    data = bytearray(bad.path.read_bytes())
    data[4 : len(data) // 2] = b"\xff" * (len(data) // 2 - 4)  # all that stands before its footer
    bad.path.write_bytes(data)
    Tidy(folder, 30).merge(NOON_NS, everything=True)
    assert [path.name for path in folder.refused.iterdir()] == [f"{bad.day}-{bad.path.name}"]
    assert len(folder.parts()) == 1


def test_parts_of_different_samples_are_not_merged(tmp_path: Path) -> None:
    """A file states one `one_in`: of the rest of the other sample it would be wrong."""
    folder = begin(tmp_path / "a", pieces=4)
    for one_in in (4, 4, 8, 8):
        archiver = Archiver(folder, one_in)
        assert archiver.step()
        archiver.close()
    Tidy(folder, 30).merge(NOON_NS, everything=True)
    assert [file.about.one_in for file in open_archive(folder.path).files] == [4, 8]


def test_requests_open_under_a_wide_bank_survive_a_restart(tmp_path: Path) -> None:
    """A carry in records larger than a reader takes would never be read again."""
    bank, text = bank_of(4096), ProgramText(MADE.program.canonical)
    rows = [
        Rows(EPOCH, NOON_NS, np.array([(7, at, 1100, 3)], SEGMENTS), np.zeros((1100, 4096), "<i2"))
        for at in range(0, 8800, 1100)
    ]
    opened = Opened(EPOCH, 7, bank.digest, text.digest, NOON_NS)
    folder = ArchiveFolder(tmp_path / "a")
    spooled(folder, [bank, text, opened, *rows])
    drain(folder)
    archiver = Archiver(folder, 4)
    (request,) = archiver._assembly.open.values()
    archiver.close()
    assert request.codes.shape == (8800, 4096)


def test_a_line_that_is_gone_has_its_last_chunk_read_and_a_living_one_has_not(
    tmp_path: Path,
) -> None:
    from dosimeter.monitor.history.spool import Spool

    folder = ArchiveFolder(tmp_path / "a")
    spool = Spool(folder)
    archiver = Archiver(folder, 1)
    assert not archiver.end_spool()
    spool.stop(0)
    folder.open_chunk(0).write_bytes(chunk_bytes(MADE.records, 0, sealed=False))
    assert archiver.end_spool()
    assert archiver.step()
    archiver.close()
    assert status(archiver)["tokens"] == MADE.tokens


def test_one_archive_has_one_writer(tmp_path: Path) -> None:
    folder = begin(tmp_path / "a")
    archiver = Archiver(folder, 1)
    with pytest.raises(AlreadyWriting):
        Archiver(folder, 1)
    archiver.close()
    Archiver(folder, 1).close()


def test_totals_go_on_over_restarts_and_the_key_of_the_sample_stays(tmp_path: Path) -> None:
    folder = ArchiveFolder(tmp_path / "a")
    spooled(folder, MADE.records, 4)
    archiver = Archiver(folder, 4)
    assert archiver.step()
    archiver.close()
    key = folder.key.read_bytes()
    assert len(key) == 32
    assert folder.key.stat().st_mode & 0o077 == 0
    done = drain(folder)
    assert (done["chunks"], done["tokens"]) == (4, MADE.tokens)
    assert folder.key.read_bytes() == key
    ((_, carry),) = folder.carries()
    totals = [one for one in read_chunk(carry).records if isinstance(one, Totals)]
    assert totals[0].counts["tokens"] == MADE.tokens


def test_a_carry_that_is_not_whole_stops_it_with_its_place(tmp_path: Path) -> None:
    folder = begin(tmp_path / "a")
    drain(folder)
    ((_, carry),) = folder.carries()
    carry.write_bytes(carry.read_bytes()[:-1])
    with pytest.raises(SpoolError, match="carry-"):
        Archiver(folder, 4)


def test_a_clock_that_was_set_back_hides_no_part() -> None:
    """Chunk 6 fell into an earlier day: merging 5 and 7 does not stand for it."""
    folder = ArchiveFolder(Path("x"))
    bank = "a" * 64
    earlier = folder.part("2025-11-28", 6, 6, bank)
    merged = folder.part("2025-11-29", 5, 7, bank)
    small = [folder.part("2025-11-29", 5, 5, bank), folder.part("2025-11-29", 7, 7, bank)]
    assert archive_folder.uncovered([*small, earlier, merged]) == [earlier, merged]


@pytest.mark.parametrize("seed", range(24))
def test_whatever_is_lost_the_sums_hold_and_whole_means_whole(tmp_path: Path, seed: int) -> None:
    """Chunks that are gone, torn, damaged or of a stranger, in any mixture."""
    random = np.random.default_rng(seed)
    folder = begin(tmp_path / "a", pieces=12)
    for file in folder.sealed():
        data = bytearray(file.path.read_bytes())
        fate = random.integers(0, 10)
        if fate == 0:
            file.path.unlink()
        elif fate == 1:
            file.path.write_bytes(data[: random.integers(0, len(data))])
        elif fate == 2:
            data[random.integers(40, len(data))] ^= 1 << random.integers(0, 8)
            file.path.write_bytes(data)
        elif fate == 3:
            file.path.write_bytes(random.bytes(500))
    drain(folder, one_in=1)
    archiver = Archiver(folder, 1)
    done, waiting = status(archiver), list(archiver._assembly.open.values())
    archiver.close()
    still_open = sum(len(request.codes) for request in waiting)
    assert done["tokens_read"] == done["tokens"] + done["tokens_unknown"] + still_open
    assert done["kept_tokens"] == done["tokens"]
    faults = ("chunks_missing", "chunks_torn", "chunks_refused")
    faultless = not any(done[name] for name in faults)
    assert (done["tokens"] == MADE.tokens) is faultless
    for part in open_archive(folder.path).parts(["feature_0", "feature_1"]):
        for a, key in enumerate(part.key.tolist()):
            truth = MADE.truth[key]
            codes = np.column_stack([c[part.offsets[a] : part.offsets[a + 1]] for c in part.codes])
            if part.whole[a]:
                assert (codes == truth.codes).all()
            runs = [tuple(run[1:]) for run in part.runs.tolist() if run[0] == a]
            places = np.concatenate([np.arange(start, start + n) for start, n, _ in runs])
            assert (codes == truth.codes[places]).all()  # what is there is at its place
    assert not faultless or not any(not request.whole for request in waiting)
