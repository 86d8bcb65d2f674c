"""What was packed becomes the archive it came from, whatever came twice, was lost, or was made up."""

from __future__ import annotations

import os
import random
import stat
import tracemalloc
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import SEGMENTS, Scope
from dosimeter.monitor.backtest import Wanted, backtest
from dosimeter.monitor.history.archive import Archiver
from dosimeter.monitor.history.archive_fired import fired_in
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_part import Kept
from dosimeter.monitor.history.archive_reader import open_archive
from dosimeter.monitor.history.chunk import (
    Bank,
    Ended,
    Opened,
    Piece,
    ProgramText,
    Record,
    Rows,
    Seal,
    Totals,
)
from dosimeter.monitor.scores import gather
from dosimeter.monitor.scores.gather import Gatherer, held_bytes, read_topic
from dosimeter.monitor.scores.outbox import Outbox, Packed, read_packed
from dosimeter.monitor.scores.packed import hand_on, unpack
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.rules.language.schema import load_rules
from tests.monitor.history.score_traffic import spooled
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
    monkeypatch.setattr(gather, "WHOLE_BYTES", 3 * held_bytes(unpack(made[0], "x"), made[0]))
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
    one = kept(500)
    first = values(one)[0]
    began = {"first_ns": one.request.first_ns}
    other = [replace(r, **began) if isinstance(r, Piece) else r for r in records(kept(10))]
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


def test_names_of_columns_count_for_what_they_take(tmp_path: Path) -> None:
    """A stranger's records of one token and 4096 names each had taken ten times what was counted."""
    gatherer = Gatherer(ArchiveFolder(tmp_path / "a"), open_bytes=4 << 20)
    tracemalloc.start()
    for key in range(20):
        columns = tuple((f"{key}{i % 10}", "") for i in range(4096))
        bank = Bank(columns, "", "")
        rows = Rows(1, 1, np.array([(key, 0, 1, 3)], SEGMENTS), np.zeros((1, 4096), np.int16))
        opened = Opened(1, key, bank.digest, "p", 1)
        piece = Piece(1, key, 0, 2, 1, 2, "rest", 1, uniform=True)
        gatherer.take(chunk([bank, opened, piece, rows, Seal(1)]), "x")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert gatherer.counts["refused"] == 0
    assert most < 2 * (4 << 20)


def test_a_request_that_goes_back_to_rules_it_had_before_keeps_all_of_its_tokens(
    tmp_path: Path,
) -> None:
    """Rules that were taken back within an answer: what came after was taken for what had come before."""
    bank, rules, other = Bank((("f", "cd" * 32),), "lab", "ab" * 32), b"[1]", b"[2]"
    made: list[Record] = [bank, ProgramText(rules), ProgramText(other)]
    for at, text in enumerate((rules, other, rules)):
        made.append(Opened(1, 7, bank.digest, ProgramText(text).digest, at + 1))
        segments = np.array([(7, 4 * at, 4, Scope.ANSWER)], SEGMENTS)
        made.append(Rows(1, at + 1, segments, np.full((4, 1), at, np.int16)))
    made.append(Ended(1, 7, finished=True, time_ns=9, served=12))
    folder = ArchiveFolder(tmp_path / "archive")
    outbox = Outbox(folder.outbox)
    spooled(folder, made)
    archiver = Archiver(folder, 1, partial(hand_on, outbox))
    assert archiver.step()
    archiver.close()
    (file,) = outbox.waiting()
    sent = [one.value for one, _ in read_packed(file.path, 0, 9)]
    assert gathered(tmp_path / "a", sent + sent).counts["again"] == 3
    for path in (folder.path, tmp_path / "a"):
        codes = [part.codes[0] for part in open_archive(path).parts(["f"])]
        assert sorted(np.concatenate(codes).tolist()) == [0] * 4 + [1] * 4 + [2] * 4


def test_what_is_read_back_is_its_owners_alone_as_the_archive_is(
    sent: list[Packed], tmp_path: Path
) -> None:
    before = os.umask(0o022)
    try:
        gathered(tmp_path / "a", [one.value for one in sent])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_a_topic_in_use_is_read_up_to_where_it_ended_and_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a topic that takes more than is read meanwhile the end was never reached."""

    class Growing:
        at, end = 0, 5

        def partitions_for_topic(self, _: str) -> set[int]:
            return {0}

        def highwater(self, _: Any) -> int | None:
            return self.end if self.at else None

        def position(self, _: Any) -> int:
            return self.at

        def poll(self, timeout_ms: int) -> dict[str, list[Any]]:
            self.at, self.end = self.at + 1, self.end + 2
            assert self.at < 100
            return {"p": [SimpleNamespace(topic="s", partition=0, offset=self.at, value=b"")]}

        def assign(self, _: Any) -> None: ...

        def seek_to_beginning(self, *_: Any) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(gather, "connected_consumer", lambda *_, **__: Growing())
    assert len(list(read_topic(KafkaConfig(topic="s"), quiet_s=1))) == 7
