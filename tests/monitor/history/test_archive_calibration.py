"""A calibration out of the score archive: the plain sample, request by request, with what was lost left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from score_traffic import EPOCH, Traffic, spooled, traffic

from dosimeter.detectors.findings import InputError
from dosimeter.detectors.frames import CODE_UNSCORED, Scope
from dosimeter.monitor.history.archive import Archiver
from dosimeter.monitor.history.archive_calibration import from_archive
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.chunk import Opened, Rows


def archived(path: Path, made: Traffic, one_in: int) -> Path:
    folder = ArchiveFolder(path)
    spooled(folder, made.records, 2)
    archiver = Archiver(folder, one_in)
    while archiver.step():
        pass
    archiver.close()
    return path


def test_every_request_that_is_kept_stands_in_it_as_it_was(tmp_path: Path) -> None:
    made = traffic(40, seed=3)
    taken = from_archive(archived(tmp_path, made, 1), date="2026-11-29")
    c = taken.calibration
    assert (c.requests, c.labelled, c.routes, taken.broken) == (40, False, ("chat",), 0)
    assert list(zip(c.features, c.packs, strict=True)) == list(made.bank.columns)
    for i, name in enumerate(taken.requests):
        epoch, key = (int(part, 16) for part in name.split("/"))
        truth = made.truth[key]
        assert epoch == EPOCH
        low, high = c.offsets[i], c.offsets[i + 1]
        assert (c.codes[low:high] == truth.codes).all()
        assert (c.scopes[low:high] == Scope.ANSWER).sum() == len(truth.codes) - truth.prompt


def test_of_a_sample_only_the_plain_one_is_taken_and_it_says_for_how_many_it_stands(
    tmp_path: Path,
) -> None:
    """What fired is kept too, but calibrating on it would make the loud ones ten times too many."""
    made = traffic(400, seed=4, threshold=200)
    taken = from_archive(archived(tmp_path, made, 10), date="2026-11-29")
    n = taken.calibration.requests
    assert 15 <= n <= 70  # one in ten of 400
    assert f"{n} requests of about {10 * n}" in taken.calibration.corpus
    loud = sum(bool(made.truth[int(r.split("/")[1], 16)].fired) for r in taken.requests)
    share = sum(bool(t.fired) for t in made.truth.values()) / 400
    assert abs(loud / n - share) < 3 * (share * (1 - share) / n) ** 0.5 + 0.01


def test_a_position_that_never_came_is_one_without_a_score(tmp_path: Path) -> None:
    made = traffic(1, seed=5)
    (key,) = made.truth
    rows = [i for i, record in enumerate(made.records) if isinstance(record, Rows)]
    del made.records[rows[3]]  # one token of the answer
    taken = from_archive(archived(tmp_path, made, 1), date="2026-11-29")
    codes = made.truth[key].codes.copy()
    gone = made.truth[key].prompt + 2
    codes[gone] = CODE_UNSCORED
    assert (taken.calibration.codes == codes).all()
    assert np.count_nonzero(taken.calibration.codes[:, 0] == CODE_UNSCORED) == 1


def test_requests_that_somebody_said_are_risky_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = archived(tmp_path, traffic(40, seed=3), 1)
    whole = from_archive(folder, date="2026-11-29")
    risky = {(EPOCH, 3), (EPOCH, 17), (EPOCH + 1, 4), (EPOCH, 999)}  # the last two are not in it
    taken = from_archive(folder, date="2026-11-29", risky=risky)
    gone = {f"{EPOCH:016x}/{3:016x}", f"{EPOCH:016x}/{17:016x}"}
    assert (whole.risky, taken.risky, taken.calibration.requests) == (0, 2, 38)
    assert set(whole.requests) - set(taken.requests) == gone
    kept = [i for i, name in enumerate(whole.requests) if name not in gone]
    before, after = whole.calibration, taken.calibration
    for new, old in enumerate(kept):
        assert (
            after.codes[after.offsets[new] : after.offsets[new + 1]]
            == before.codes[before.offsets[old] : before.offsets[old + 1]]
        ).all()


def test_an_archive_without_scores_of_that_time_is_refused(tmp_path: Path) -> None:
    folder = archived(tmp_path, traffic(3), 1)
    with pytest.raises(InputError, match="no scores of that time"):
        from_archive(folder, date="2026-11-29", since_ns=2 * 10**18)
    with pytest.raises(InputError, match="no scores of that time"):
        from_archive(tmp_path / "none", date="2026-11-29")


@pytest.mark.parametrize("odd", ["\x1b[2J\x1b]0;x\x07", "../../etc/cron.d/x", "Scam", ""])
def test_scores_of_what_is_no_feature_make_no_calibration(tmp_path: Path, odd: str) -> None:
    """A stranger's, out of a topic: the name had been printed as it was, and was part of a file's."""
    made = traffic(40, seed=3)
    bank = replace(made.bank, columns=((odd, "cd" * 32), *made.bank.columns[1:]))
    records = [
        bank if one == made.bank else replace(one, bank=bank.digest) if isinstance(one, Opened) else one
        for one in made.records
    ]  # fmt: skip
    folder = archived(tmp_path, replace(made, bank=bank, records=records), 1)
    with pytest.raises(InputError, match="no feature") as caught:
        from_archive(folder, date="2026-11-29")
    assert str(caught.value).replace("\n", "").isprintable()
