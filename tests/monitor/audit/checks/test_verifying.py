"""Log against store: what is changed in either is found where it is, and the verdict says no more than is shown."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dosimeter.monitor.audit.checks.anchored import Anchored
from dosimeter.monitor.audit.checks.differences import row_hash
from dosimeter.monitor.audit.checks.store_check import StoreCheck
from dosimeter.monitor.audit.checks.verdict import as_json, verdict_lines
from dosimeter.monitor.audit.checks.verifying import Verified, verify_history
from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.people.access import Actor
from dosimeter.monitor.audit.people.labels import About, label
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.columns import NAMES, row_of
from dosimeter.monitor.audit.store.entries import Entry, own_id
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, Segment
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.audit.store.retention import Going, Retention
from dosimeter.monitor.audit.store.sealed_file import CORE, about_of, hash_of, written
from dosimeter.monitor.audit.store.sealing import Sealer
from dosimeter.monitor.feed.items import Batch
from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.merkle import leaf_hash
from dosimeter.monitor.tlog.note import Checkpoint, Signer, Verifier
from dosimeter.monitor.tlog.writer import LogWriter
from tests.monitor.audit.audit_scene import HOUR_NS, T0, alert, opened
from tests.monitor.audit.whole_scene import Whole, whole

NOW = T0 + 3 * HOUR_NS + 40 * 10**9


@pytest.fixture
def scene(tmp_path: Path) -> Whole:
    return whole(tmp_path / "data")


def key(folder: HistoryFolder) -> Verifier:
    return Verifier.parse((folder.log / "key").read_text())


def newest(folder: HistoryFolder) -> Checkpoint:
    return Checkpoint.open((folder.log / "checkpoint").read_text(), key(folder))


def verified(
    scene: Whole,
    *,
    since: Checkpoint | None = None,
    anchors: list[Anchored] | None = None,
    verifier: Verifier | None = None,
) -> Verified:
    with HotStore(scene.folder.hot, read_only=True) as hot:
        return verify_history(
            scene.folder, hot, verifier or key(scene.folder), now_ns=NOW, since=since, anchors=anchors
        )  # fmt: skip


def changed(scene: Whole, *statements: str) -> None:
    """As somebody with the file in their hands does it."""
    db = sqlite3.connect(scene.folder.hot)
    db.execute("DROP TRIGGER IF EXISTS entry_is_immutable")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def said(found: Verified) -> str:
    return "\n".join(verdict_lines(found, UTC))


def test_an_untouched_history_has_no_findings_and_the_verdict_says_what_it_rests_on(
    scene: Whole,
) -> None:
    found = verified(scene)
    assert found.ok
    assert found.store is not None
    assert (found.store.compared, found.store.blobs) == (16, 4)
    text = said(found)
    assert text.startswith("CONSISTENT\n")
    assert "store and log compared: 16 of 16 entries; 4 blobs, 0 sealed files" in text
    assert "gaps: pod-7 seq 5" in text
    assert "consistent; deletion of the newest entries cannot be excluded" in text
    assert "VERIFIED" not in text


def leaf_at(scene: Whole, idx: int) -> bytes:
    with History.open(scene.folder.root) as history:
        return history.leaf(idx)


def test_a_changed_column_is_named_with_the_entry_and_both_hashes(scene: Whole) -> None:
    changed(scene, "UPDATE entry SET severity = 'low' WHERE idx = 3")
    found = verified(scene)
    assert not found.ok
    assert found.store is not None
    (one,) = found.store.differences
    assert (one.index, one.what) == (3, "stored columns are not what the log says: severity")
    with History.open(scene.folder.root) as history:
        whole_ = history.whole(history.rows("neighbours", first=3, past=4)[0])
        expected = row_of(whole_.entry, whole_.terms)
    assert one.log == row_hash(expected)
    assert one.store not in ("", one.log)
    assert f"store: entry 3: {one.what}" in said(found)
    assert f"    log   {one.log}" in said(found)


def test_a_changed_leaf_in_the_store_is_named_with_the_hashes_of_both(scene: Whole) -> None:
    before = leaf_at(scene, 4)
    changed(scene, "UPDATE entry SET leaf = leaf || x'20' WHERE idx = 4")
    found = verified(scene)
    assert found.store is not None
    (one,) = found.store.differences
    assert one.index == 4
    assert one.log == leaf_hash(before).hex()
    assert one.store == leaf_hash(before + b" ").hex()


@pytest.mark.parametrize(
    ("statement", "index", "what"),
    [
        ("DELETE FROM entry WHERE idx = 6", 6, "is not in the store"),
        ("DELETE FROM entry WHERE idx = 15", 15, "is not in the store"),
        ("UPDATE blob SET body = body || x'20'", None, "a blob is not what its hash names"),
        ("DELETE FROM blob", None, "the rule's terms are not in the store"),
        ("UPDATE meta SET value = '99' WHERE name = 'size'", None, "the store says it has 99 entries"),
        ("UPDATE entry SET rule = CAST(x'ff80' AS TEXT) WHERE idx = 3", 3, "log says: rule"),
        ("UPDATE entry SET seq = 'x' WHERE idx = 3", 3, "log says: seq"),
        ("UPDATE entry SET more = 'none' WHERE idx = 0", 0, "are not what the log says: more"),
        ("UPDATE entry SET tenant = zeroblob(16) WHERE idx = 5", 5, "are not what the log says: tenant"),
        ("INSERT INTO entry SELECT 16, leaf, {} FROM entry WHERE idx = 15", None, "entries, and 17 are here"),
    ],
)  # fmt: skip
def test_what_is_done_to_the_store_is_found(
    scene: Whole, statement: str, index: int | None, what: str
) -> None:
    columns = ", ".join(["zeroblob(16)", *NAMES[1:]])
    changed(scene, statement.replace("{}", columns))
    found = verified(scene)
    assert not found.ok
    assert found.store is not None
    assert any(d.index == index and what in d.what for d in found.store.differences)


def test_two_entries_that_change_places_are_both_named(scene: Whole) -> None:
    changed(
        scene,
        "UPDATE entry SET idx = -1 WHERE idx = 3",
        "UPDATE entry SET idx = 3 WHERE idx = 5",
        "UPDATE entry SET idx = 5 WHERE idx = -1",
    )
    found = verified(scene)
    assert found.store is not None
    assert [d.index for d in found.store.differences] == [3, 5]


def test_a_flipped_bit_in_the_log_is_named_by_its_entry(scene: Whole) -> None:
    path = scene.folder.log / tiles.name("entries", 0, 16)
    data = bytearray(path.read_bytes())
    leaves = tiles.unpack(bytes(data))
    at = 2 * 8 + sum(map(len, leaves[:7])) + leaves[7].index(b"decision")
    data[at] ^= 1
    path.write_bytes(bytes(data))
    found = verified(scene)
    assert not found.ok
    assert any(f.first is not None and f.first <= 7 <= (f.last or f.first) for f in found.log.findings)  # fmt: skip
    assert found.store is not None
    assert any(d.index == 7 for d in found.store.differences)
    assert said(found).startswith("NOT VERIFIED")
    assert "consistent" not in said(found)


def test_without_a_checkpoint_there_is_nothing_to_check_by(scene: Whole) -> None:
    verifier = key(scene.folder)
    for name in ("checkpoint", "checkpoints"):
        (scene.folder.log / name).unlink()
    found = verified(scene, verifier=verifier)
    assert not found.ok
    assert "no checkpoint with a good signature" in said(found)


def grown(scene: Whole) -> None:
    with History.open(scene.folder.root) as history:
        history.appender.append([Entry("config", own_id(NOW), NOW)])
        history.settle()


def test_growth_since_a_kept_checkpoint_is_shown(scene: Whole) -> None:
    kept = newest(scene.folder)
    grown(scene)
    found = verified(scene, since=kept)
    assert found.ok
    assert "append-only since the checkpoint you gave: entry 16 (" in said(found)
    assert "complete up to entry 17 (" in said(found)
    assert "of what came after the checkpoint you gave (16 entries)" in said(found)


def test_a_log_begun_anew_is_not_the_one_of_the_kept_checkpoint(
    scene: Whole, tmp_path: Path
) -> None:
    kept = newest(scene.folder)
    other = whole(tmp_path / "other", count=13)
    found = verified(other, since=kept)
    assert not found.ok
    assert any(f.kind == "key" for f in found.log.findings)


def test_entries_that_are_not_signed_yet_are_counted(scene: Whole) -> None:
    with History.open(scene.folder.root) as history:
        history.appender.append([Entry("config", own_id(NOW), NOW)])
    found = verified(scene)
    assert found.ok
    assert "not signed yet: 1 entries at the end of the store" in said(found)


def test_what_no_anchor_has_yet_is_said_in_entries_and_time(scene: Whole) -> None:
    kept = newest(scene.folder)
    with History.open(scene.folder.root) as history:
        history.appender = type(history.appender)(
            history.hot, history.keys, now_ns=lambda: NOW - 40 * 10**9
        )
        history.appender.append([Entry("config", own_id(NOW), NOW)])
        history.settle()
    found = verified(scene, anchors=[Anchored("file", False, (kept,))])
    assert found.ok
    text = said(found)
    assert text.startswith("VERIFIED\n")
    assert "unanchored: 40 s (1 entries)" in text
    assert "no anchor is outside this operator's control: a rewrite by whoever" in text
    assert "anchor file: holds entry 16 (" in text
    outside = said(verified(scene, anchors=[Anchored("tsa", True, (kept,))]))
    assert "outside this operator's control" in outside
    assert "that what came after entry 16 (" in outside
    assert "was cut off, or rewritten by whoever holds the signing key" in outside
    assert "no anchor is outside" not in outside


def test_where_all_is_anchored_nothing_is_unanchored(scene: Whole) -> None:
    found = verified(scene, anchors=[Anchored("tsa", True, (newest(scene.folder),))])
    assert "unanchored: nothing" in said(found)


def test_anchors_that_do_not_answer_leave_it_consistent(scene: Whole) -> None:
    found = verified(scene, anchors=[Anchored("kafka", False, error="cannot be read: no route")])
    assert found.ok
    text = said(found)
    assert text.startswith("CONSISTENT")
    assert "anchor kafka: cannot be read: no route" in text
    assert "cannot be excluded: no anchor answered" in text


def test_an_anchor_with_another_history_or_another_key_is_a_finding(scene: Whole) -> None:
    signer = Signer.load(scene.folder.signing_key)
    forked = Checkpoint.open(
        signer.sign(str(Checkpoint(signer.name, 9, bytes(32)))), signer.verifier
    )
    assert not verified(scene, anchors=[Anchored("file", False, (forked,))]).ok
    swapped = verified(scene, anchors=[Anchored("file", False, (), wrong=2)])
    assert not swapped.ok
    assert "anchor file: 2 of its notes are not signed by this key" in said(swapped)


def test_a_cut_tail_is_found_by_the_anchor_that_saw_more(scene: Whole) -> None:
    anchored = newest(scene.folder)
    bigger = Checkpoint(anchored.origin, anchored.size + 5, bytes(32), anchored.extensions)
    found = verified(scene, anchors=[Anchored("file", False, (bigger,))])
    assert not found.ok
    assert any(f.kind == "rolled-back" for f in found.log.findings)


def test_the_log_alone_can_be_verified(scene: Whole) -> None:
    found = verify_history(scene.folder, None, key(scene.folder), now_ns=NOW)
    assert found.ok
    assert "store and log compared" not in said(found)


def sealed(scene: Whole, *, said: bool = True) -> Segment:
    """All but what says so, with a label in it. said: whether the log does."""
    with History.open(scene.folder.root) as history:
        label(
            history.appender, About(scene.ids()[0]), "true",
            actor=Actor("rita", "reviewer"), reason_code="seen", now_ns=NOW,
        )  # fmt: skip
        history.settle()
        sealer = Sealer(history.hot, scene.folder, grace_ns=0, max_rows=10)
        signed = history.log.size
        segments = []
        while (segment := sealer.seal(signed, signed)) is not None:
            segments.append(segment)
            if said:
                history.appender.append([sealer.entry_of(segment)])
        history.settle()
    return segments[0]


def test_a_sealed_file_that_the_log_vouches_for_is_not_read_row_by_row(scene: Whole) -> None:
    sealed(scene)
    found = verified(scene)
    assert found.ok, said(found)
    assert found.store is not None
    assert (found.store.compared + found.store.vouched, found.store.files) == (19, 2)
    # All but entries of rare kinds, which stand beside the files too.
    assert found.store.vouched >= 10
    assert "19 of 19 entries, " in said(found)


def test_a_sealed_file_of_which_the_log_does_not_say_so_yet_is_compared_entry_by_entry(
    scene: Whole,
) -> None:
    """As a crash between sealing and saying so leaves it."""
    sealed(scene, said=False)
    found = verified(scene)
    assert found.ok, said(found)
    assert found.store is not None
    assert (found.store.compared, found.store.vouched, found.store.files) == (17, 0, 2)


def test_a_file_made_anew_with_its_hash_in_the_store_is_found_by_entry(scene: Whole) -> None:
    """Whoever can write the store can write the hash beside the file, but not into the log."""
    segment = sealed(scene)
    path = scene.folder.core / segment.core
    table = pq.read_table(path)
    severities = ["low" if n == 4 else v for n, v in enumerate(table["severity"].to_pylist())]
    at = table.column_names.index("severity")
    pq.write_table(table.set_column(at, table.schema.field(at), [severities]), path)
    with HotStore(scene.folder.hot) as hot, hot.writing() as db:
        db.execute("UPDATE segment SET sha256 = ? WHERE first = 0", (hash_of(path),))
    found = verified(scene)
    assert found.store is not None
    assert 4 in [d.index for d in found.store.differences]
    assert any("severity" in d.what for d in found.store.differences)


def test_a_sealed_file_that_was_made_anew_is_found_by_hash_and_by_entry(scene: Whole) -> None:
    segment = sealed(scene)
    path = scene.folder.core / segment.core
    table = pq.read_table(path)
    severities = ["low" if n == 4 else v for n, v in enumerate(table["severity"].to_pylist())]
    at = table.column_names.index("severity")
    pq.write_table(table.set_column(at, table.schema.field(at), [severities]), path)
    found = verified(scene)
    assert found.store is not None
    assert [d.index for d in found.store.differences] == [4, 0]
    by_entry, by_hash = found.store.differences
    assert by_entry.what == "stored columns are not what the log says: severity"
    assert by_hash.what == f"core/{segment.core} is not the file that was sealed"
    assert by_hash.log == segment.sha256


def test_a_sealed_file_that_is_gone_is_a_finding_unless_the_log_says_why(scene: Whole) -> None:
    segment = sealed(scene)
    (scene.folder.core / segment.core).unlink()
    found = verified(scene)
    assert found.store is not None
    (one,) = found.store.differences
    assert (one.index, "is gone, and no entry says" in one.what) == (0, True)
    with History.open(scene.folder.root) as history:
        history.appender.append([Retention.entry_of(Going((), (segment,), 202601), NOW)])
        history.settle()
    assert verified(scene).ok


@pytest.mark.parametrize("meanwhile", [False, True])
def test_what_went_with_its_time_is_no_finding_before_that_is_signed(
    scene: Whole, monkeypatch: pytest.MonkeyPatch, *, meanwhile: bool
) -> None:
    """For up to a minute, whenever something had gone, history did not verify; meanwhile: while the log is read."""
    segment = sealed(scene)
    with History.open(scene.folder.root) as history:
        retention = Retention(
            history.hot, history.keys, scene.folder, core_months=24, evidence_days=30
        )
        at_ns = NOW + 1000 * 24 * HOUR_NS
        going = retention.due(at_ns)
        assert going is not None
        assert segment in going.core
        close = StoreCheck.close

        def let_go() -> None:
            history.appender.append([retention.entry_of(going, at_ns)])
            retention.carry_out(going)

        def closed(check: StoreCheck) -> None:
            if meanwhile:
                let_go()
            close(check)

        monkeypatch.setattr(StoreCheck, "close", closed)
        with LogWriter(scene.folder.log, Signer.load(scene.folder.signing_key)):  # history runs
            if not meanwhile:
                let_go()
            found = verified(scene)
    assert found.store is not None
    assert found.store.differences == []
    assert found.stored == newest(scene.folder).size + (not meanwhile)


def test_a_sealed_file_that_is_cut_is_named_and_the_rest_is_compared(scene: Whole) -> None:
    segment = sealed(scene)
    path = scene.folder.core / segment.core
    path.write_bytes(path.read_bytes()[:-9])
    found = verified(scene)
    assert found.store is not None
    assert [d.index for d in found.store.differences] == [0, 0]
    assert f"core/{segment.core} cannot be read" in found.store.differences[0].what
    # The other file, what is not sealed, and of this one the two entries of rare kinds, which stand beside it too.
    assert found.store.compared + found.store.vouched == 11


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE sealed_few SET verdict = 'false'", "not what the log says: verdict"),
        ("DELETE FROM sealed_few", "the entry beside the sealed file is missing"),
        ("UPDATE segment SET few = 0; DELETE FROM sealed_few", "the entry beside the sealed file is missing"),
        ("INSERT INTO sealed_few SELECT idx - 1000, {} FROM sealed_few", "stands beside the sealed files and in none"),
        ("INSERT INTO sealed_few SELECT idx + 1000, {} FROM sealed_few", "stands beside the sealed files and in none"),
        ("INSERT INTO entry SELECT idx - 1000, x'7b7d', {} FROM sealed_few", "is not in the log"),
        ("INSERT INTO entry SELECT idx, x'7b7d', {} FROM sealed_few", "is sealed and not sealed at once"),
        ("UPDATE segment SET sha256 = 'ab' WHERE first = 0", "is not the file that was sealed"),
        ("UPDATE segment SET first = 3 WHERE first = 0", "no sealed file has entries 0 to 2"),
        ("DELETE FROM segment WHERE first = 10", "is not in the store"),
        ("UPDATE segment SET from_ns = 0, to_ns = 1 WHERE first = 0", "the store says other times of"),
        ("UPDATE segment SET gone = 1 WHERE first = 0", "is called over, and no entry says"),
        ("UPDATE segment SET evidence = NULL WHERE first = 0", "is not named, and no entry says"),
    ],
)  # fmt: skip
def test_what_is_done_beside_the_sealed_files_is_found(
    scene: Whole, statement: str, what: str
) -> None:
    sealed(scene)
    changed(scene, *statement.replace("{}", ", ".join(NAMES)).split("; "))
    found = verified(scene)
    assert found.store is not None
    assert any(what in d.what for d in found.store.differences), said(found)


def test_as_json_it_is_the_same_verdict(scene: Whole) -> None:
    changed(scene, "UPDATE entry SET severity = 'low' WHERE idx = 3")
    body = json.loads(json.dumps(as_json(verified(scene))))
    assert (body["ok"], body["checkpoint"]["size"], body["stored"]) == (False, 16, 16)
    (finding,) = body["findings"]
    assert (finding["where"], finding["first"]) == ("store", 3)
    assert finding["log"] != finding["store"]


def test_what_is_taken_in_and_signed_meanwhile_is_no_finding(scene: Whole) -> None:
    def meanwhile(done: int, of: int) -> None:
        grown(scene)

    with HotStore(scene.folder.hot, read_only=True) as hot:
        found = verify_history(scene.folder, hot, key(scene.folder), now_ns=NOW, progress=meanwhile)
    assert found.ok, said(found)
    assert found.stored == 16


def test_progress_goes_to_the_end(scene: Whole) -> None:
    seen: list[tuple[int, int]] = []
    look: Callable[[int, int], None] = lambda done, of: seen.append((done, of))  # noqa: E731
    verify_history(scene.folder, None, key(scene.folder), now_ns=NOW, progress=look)
    assert seen[-1] == (16, 16)


def sealed_alerts(to: Appender, folder: HistoryFolder) -> tuple[Keeper, Segment]:
    """Five alerts, signed and sealed, and the log says so."""
    Ingest(to, NOW).take(Batch(tuple(alert(n) for n in range(5)), {}), NOW)
    keeper = Keeper(folder, to.hot)
    keeper.turn(now=True)
    sealer = Sealer(to.hot, folder, grace_ns=0, now_ns=lambda: NOW + HOUR_NS)
    segment = sealer.seal(keeper.signed, keeper.signed)
    assert segment is not None
    to.append([sealer.entry_of(segment)])
    return keeper, segment


def verdict_on(folder: HistoryFolder) -> Verified:
    with HotStore(folder.hot, read_only=True) as hot:
        return verify_history(folder, hot, key(folder), now_ns=NOW)


def test_a_second_seal_entry_makes_no_other_file_believed(tmp_path: Path) -> None:
    folder = HistoryFolder(tmp_path)
    with opened(tmp_path) as to:
        keeper, segment = sealed_alerts(to, folder)
        path = folder.core / segment.core
        table, about = pq.read_table(path), about_of(path)
        place = table.schema.get_field_index("decision")
        silenced = pa.array(["silenced"] * len(table), pa.string())
        with written(path, CORE, about) as file:
            file.write_table(
                table.set_column(place, table.schema.field(place), silenced).cast(CORE)
            )
        to.hot.db.execute("UPDATE segment SET sha256 = ?", (hash_of(path),))
        said = {"first": 0, "past": segment.past, "core": segment.core}
        said |= {"core_sha256": hash_of(path), "leaves_sha256": about["leaves_sha256"]}
        to.append([Entry("seal", own_id(NOW), NOW, fields=said)])
        keeper.close()
    found = verdict_on(folder)
    assert not found.ok
    assert found.store is not None
    assert any("says anew what was sealed" in one.what for one in found.store.differences)
    assert any("stored columns" in one.what for one in found.store.differences)


def test_a_file_made_of_other_leaves_than_the_log_has_is_not_believed(tmp_path: Path) -> None:
    folder = HistoryFolder(tmp_path)
    with opened(tmp_path) as to:
        Ingest(to, NOW).take(Batch(tuple(alert(n) for n in range(5)), {}), NOW)
        keeper = Keeper(folder, to.hot)
        keeper.turn(now=True)
        to.hot.db.execute("DROP TRIGGER entry_is_immutable")
        leaf = "CAST(replace(CAST(leaf AS TEXT), 'notified', 'silenced') AS BLOB)"
        change = f"UPDATE entry SET leaf = {leaf}, decision = 'silenced'"
        to.hot.db.execute(f"{change} WHERE kind = 'alert' AND idx < 5")
        sealer = Sealer(to.hot, folder, grace_ns=0, now_ns=lambda: NOW + HOUR_NS)
        segment = sealer.seal(5, 5)
        assert segment is not None
        to.append([sealer.entry_of(segment)])
        keeper.close()
    found = verdict_on(folder)
    assert not found.ok
    assert found.store is not None
    assert found.store.vouched == 0
    assert any("stored columns" in one.what for one in found.store.differences)
