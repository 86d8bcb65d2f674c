"""What was packed becomes the archive it came from, whatever came twice, was lost, or was made up."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import Scope
from dosimeter.monitor.backtest import Wanted, backtest
from dosimeter.monitor.history.archive_fired import fired_in
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_part import Kept
from dosimeter.monitor.history.archive_reader import open_archive
from dosimeter.monitor.history.chunk import Ended, Opened, Piece, Record, Rows, Seal, Totals
from dosimeter.monitor.scores import gather
from dosimeter.monitor.scores.gather import Gatherer
from dosimeter.monitor.scores.outbox import Outbox, Packed, read_packed
from dosimeter.rules.language.schema import load_rules
from tests.monitor.scores.scores_scene import MADE, archived, content
from tests.monitor.scores.test_packed import chunk, kept, records, values

RULES = """
version: 1
rules:
  - rule: seen
    when: {feature: feature_0, in: answer, above: z 2.2}
    status: draft
    severity: low
    summary: seen
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sidecar") / "archive"
    done = archived(folder, Outbox(folder / "outbox"))
    account = Outbox(folder / "outbox").account()
    assert account is not None
    assert account.archived == account.waiting == done["kept_tokens"] < done["tokens"]
    return folder


@pytest.fixture(scope="module")
def sent(archive: Path) -> list[Packed]:
    files = Outbox(archive / "outbox").waiting()
    assert len(files) > 1
    return [one for file in files for one, _ in read_packed(file.path, 0, 10**6)]


def gathered(folder: Path, of: list[bytes]) -> Gatherer:
    gatherer = Gatherer(ArchiveFolder(folder))
    for number, value in enumerate(of):
        gatherer.take(value, f"offset {number}")
    gatherer.finish()
    return gatherer


def test_an_archive_is_made_of_what_was_sent_equal_to_the_bit(
    archive: Path, sent: list[Packed], tmp_path: Path
) -> None:
    gathered(tmp_path / "a", [one.value for one in sent])
    found = content(tmp_path / "a")
    assert found == content(archive)
    assert 20 < len(found) < len(MADE.truth)
    for key, (codes, *_) in found.items():
        assert (MADE.truth[key].codes == np.array(codes).T).all()


def test_rules_find_on_it_what_they_find_on_the_one_it_came_from(
    archive: Path, sent: list[Packed], tmp_path: Path
) -> None:
    gathered(tmp_path / "a", [one.value for one in sent])
    (tmp_path / "rules.yaml").write_text(RULES)
    columns = MADE.bank.columns[0]
    scopes, offsets = np.full(4, Scope.ANSWER, np.uint8), np.array([0, 4])
    calibration = Calibration(
        columns[:1], columns[1:], np.zeros((4, 1), np.int16), offsets, scopes, "made up", "2026-11-29"
    )  # fmt: skip
    wanted = Wanted(load_rules([tmp_path / "rules.yaml"]), (calibration,), date(2026, 1, 1))
    there, here = backtest(archive, wanted), backtest(tmp_path / "a", wanted)
    found = here.found
    hits = {(int(found.requests["key"][h["request"]]), int(h["position"])) for h in found.hits}
    high = {key: MADE.truth[key].codes[:, 0] > 563 for key in content(archive)}  # 2.2 * 256 = 563.2
    for key, one in high.items():
        one[: MADE.truth[key].prompt] = False
    truth = {(key, int(np.argmax(one))) for key, one in high.items() if one.any()}
    assert hits == truth
    assert len(hits) > 20
    assert sorted(map(str, found.requests)) == sorted(map(str, there.found.requests))
    assert here.seen == there.seen


def test_what_fired_when_the_requests_came_comes_along(
    archive: Path, sent: list[Packed], tmp_path: Path
) -> None:
    gathered(tmp_path / "a", [one.value for one in sent])
    for folder in (archive, tmp_path / "a"):
        fired: dict[int, list[int]] = {}
        for file in open_archive(folder).files:
            found = fired_in(file.path)
            for hit in found.hits:
                key = int(found.requests["key"][hit["request"]])
                fired.setdefault(key, []).append(int(hit["position"]))
        assert fired == {k: one.fired for k, one in MADE.truth.items() if one.fired}


def test_out_of_order_and_twice_it_is_the_same(
    archive: Path, sent: list[Packed], tmp_path: Path
) -> None:
    mixed = [one.value for one in sent] * 2
    random.Random(3).shuffle(mixed)
    counts = gathered(tmp_path / "a", mixed).counts
    assert content(tmp_path / "a") == content(archive)
    assert (counts["again"], counts["incomplete"], counts["refused"]) == (len(sent), 0, 0)


def test_a_request_of_which_a_record_is_missing_is_counted_and_left_out(
    archive: Path, sent: list[Packed], tmp_path: Path
) -> None:
    gatherer = gathered(tmp_path / "a", values(kept(500))[:-1] + [one.value for one in sent])
    assert content(tmp_path / "a") == content(archive)
    counts = gatherer.counts
    assert (counts["incomplete"], counts["incomplete_tokens"]) == (1, 448)


def test_what_strangers_write_is_counted_named_and_left_out(
    archive: Path, sent: list[Packed], tmp_path: Path
) -> None:
    strange = [b"", b"{}", sent[0].value[:-1]]
    gatherer = gathered(tmp_path / "a", strange + [one.value for one in sent])
    assert content(tmp_path / "a") == content(archive)
    assert gatherer.counts["refused"] == 3
    assert [one.split(":")[0] for one in gatherer.refusals] == ["offset 0", "offset 1", "offset 2"]


def test_a_refusal_quotes_nothing_that_a_terminal_acts_on(tmp_path: Path) -> None:
    evil = "\x1b]0;x\x07\x1b[2J"
    made = records(kept(10))
    quoted = [replace(one, stratum=evil) if isinstance(one, Piece) else one for one in made]
    strange = [chunk(quoted), chunk([Totals({evil: -1}), *made])]
    refusals = gathered(tmp_path / "a", strange).refusals
    assert len(refusals) == 2
    assert all(r"\x1b]0;x" in one and one.isprintable() for one in refusals)


@pytest.mark.parametrize("one", [kept(2, features=4096), kept(0)], ids=["wide", "without tokens"])
def test_whole_requests_are_written_before_they_are_many_bytes(
    one: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [chunk(of_key(records(one), key)) for key in range(8)]
    monkeypatch.setattr(gather, "WHOLE_BYTES", 3 * len(made[0]))
    gatherer = Gatherer(ArchiveFolder(tmp_path / "a"))
    for value in made:
        gatherer.take(value, "x")
    assert [gatherer.counts[name] for name in ("requests", "refused")] == [8, 0]
    assert len(ArchiveFolder(tmp_path / "a").parts()) == 2


def of_key(made: list[Record], key: int) -> list[Record]:
    """The same of another request, with the seal that belongs there."""
    found: list[Record] = []
    for one in made:
        if isinstance(one, Rows):
            segments = one.segments.copy()
            segments["key"] = key
            found.append(replace(one, segments=segments))
            seal = Seal(len(one.codes))
        elif isinstance(one, Opened | Piece | Ended):
            found.append(replace(one, key=key))
        elif not isinstance(one, Seal):
            found.append(one)
    return [*found, seal]


def test_a_piece_that_does_not_fit_the_others_is_refused(tmp_path: Path) -> None:
    first = values(kept(500))[0]
    other = records(kept(10))
    counts = gathered(tmp_path / "a", [first, chunk(other)]).counts
    assert (counts["refused"], counts["incomplete"]) == (1, 1)


def test_requests_that_never_become_whole_take_no_more_than_so_much(tmp_path: Path) -> None:
    gatherer = Gatherer(ArchiveFolder(tmp_path / "a"), open_bytes=30_000)
    for number in range(20):
        one = kept(200, features=40 + number)  # of another bank, and so another request
        gatherer.take(values(one)[0], "x")
    assert gatherer.counts["incomplete"] > 10
    gatherer.finish()
    assert gatherer.counts["incomplete"] == 20
