"""What goes when its time is over, what a hold keeps, and that it is said in the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dosimeter.monitor.audit.evidence.evidence_files import read_evidence
from dosimeter.monitor.audit.queries.query import Queries
from dosimeter.monitor.audit.store.columns import NAMES, row_of
from dosimeter.monitor.audit.store.entries import encoded, leaf_of
from dosimeter.monitor.audit.store.hot import Segment
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.audit.store.retention import Going, Gone, Retention, _back
from tests.monitor.audit.store_scene import (
    BEGIN,
    DAY,
    LATER,
    SECOND,
    Made,
    Store,
    id_of,
    made,
    store_in,
)

KEEP_DAYS = 30


@dataclass
class Scene:
    store: Store
    keys: KeyStore
    entries: list[Made]
    now_ns: int = BEGIN + 75 * DAY  # 2026-03-17

    @property
    def retention(self) -> Retention:
        return Retention(
            self.store.hot, self.keys, self.store.folder, core_months=24, evidence_days=KEEP_DAYS
        )

    def hold(self, about: bytes) -> None:
        self.store.hot.db.execute("INSERT INTO hold VALUES (?, ?)", (about, id_of(99)))

    def say(self, going: Going) -> None:
        """The entry that is durable before anything goes."""
        fields = Retention.entry_of(going, self.now_ns).fields
        n = 90 + self.store.hot.size
        self.store.put([made(n, "retention", more=json.dumps(dict(fields)))])

    def run(self) -> Gone | None:
        going = self.retention.due(self.now_ns)
        return None if going is None else self.retention.carry_out(going)

    def evidence(self) -> list[int]:
        """Of which entries there is a ciphertext, sealed or not."""
        hot, folder = self.store.hot, self.store.folder
        segments = hot.segments()
        return [
            n
            for n, one in enumerate(self.entries)
            if hot.evidence(one.id) or read_evidence(folder, segments, one.id)
        ]

    def keyed(self) -> set[tuple[int, int]]:
        rows = self.keys._db.execute("SELECT subject, month FROM subject_key").fetchall()
        return {(int.from_bytes(subject, "big"), month) for subject, month in rows}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Entries 0..5 on days 0, 1, 40, 41, 70, 71 of subjects 10, 11, 10, 11, 10, 11; 0..3 sealed two by two."""
    months = (202601, 202601, 202602, 202602, 202603, 202603)
    entries = [
        made(n, time_ns=BEGIN + day * DAY, ingested_ns=BEGIN + day * DAY, subject=id_of(10 + n % 2),
             tenant=id_of(1 + n % 2), evidence_body=b"%d" % n, month=months[n])
        for n, day in enumerate((0, 1, 40, 41, 70, 71))
    ]  # fmt: skip
    with store_in(tmp_path) as store, KeyStore(store.folder.keys) as keys:
        keys.keys((id_of(10 + n % 2), month) for n, month in enumerate(months))
        store.put(entries)
        store.seal_to(4, max_rows=2, now_ns=BEGIN + 43 * DAY)
        yield Scene(store, keys, entries)


def test_evidence_goes_with_its_file_and_the_keys_of_its_month(scene: Scene) -> None:
    going = scene.retention.due(scene.now_ns)
    assert going is not None
    assert [s.first for s in going.evidence] == [0, 2]  # days 1 and 41: more than 30 before day 75
    assert (going.core, going.keys_before) == ((), 202602)
    assert scene.retention.carry_out(going) == Gone(2, 0, 0, 2, 0)
    assert scene.evidence() == [4, 5]
    assert list(scene.store.folder.evidence.iterdir()) == []
    assert scene.keyed() == {(10, 202602), (11, 202602), (10, 202603), (11, 202603)}
    assert scene.run() is None


def test_the_last_day_still_counts(scene: Scene) -> None:
    scene.now_ns = BEGIN + (KEEP_DAYS + 1) * DAY
    assert scene.retention.due(scene.now_ns) == Going((), (), 202601)
    scene.now_ns += 1
    going = scene.retention.due(scene.now_ns)
    assert going is not None
    assert [s.first for s in going.evidence] == [0]


def test_what_goes_is_said_before_it_goes(scene: Scene) -> None:
    going = scene.retention.due(scene.now_ns)
    assert going is not None
    entry = Retention.entry_of(going, scene.now_ns)
    names = [
        "evidence/000000000000-000000000002.parquet",
        "evidence/000000000002-000000000004.parquet",
    ]
    assert entry.kind == "retention"
    assert entry.fields == {"core": [], "evidence_files": names, "keys_before": 202602}
    assert row_of(leaf_of(entry, scene.now_ns, {}), {})[NAMES.index("kind")] == "retention"


@pytest.mark.parametrize("held", ["subject", "entry", "tenant"])
def test_what_is_held_stays_readable_and_the_rest_goes(scene: Scene, held: str) -> None:
    about = {"subject": id_of(10), "entry": scene.entries[0].id, "tenant": id_of(1)}
    scene.hold(about[held])
    done = scene.run()
    stays = [0, 4, 5] if held == "entry" else [0, 2, 4, 5]
    assert done is not None
    assert scene.evidence() == stays
    assert done.kept == len(stays) - 2
    assert (10, 202601) in scene.keyed()
    assert (11, 202601) not in scene.keyed()
    assert scene.run() is None  # what is left is held, and not due again
    scene.store.hot.db.execute("DELETE FROM hold")
    assert scene.run() is not None
    assert scene.evidence() == [4, 5]  # fmt: skip


def test_what_was_said_of_a_held_alert_stays_with_it(scene: Scene, tmp_path: Path) -> None:
    """A reviewer's note on it was gone after thirty days, and the label with the file that it lay in."""
    alert = scene.entries[2]
    note = made(6, "label", BEGIN + 42 * DAY, about=alert.id, subject=id_of(10), evidence_body=b"n")
    with store_in(tmp_path / "noted") as store:
        store.put([*scene.entries[:4], note])
        store.seal_to(5, max_rows=4, now_ns=BEGIN + 43 * DAY)
        scene.store = store
        scene.hold(alert.id)
        scene.run()
        assert read_evidence(store.folder, store.hot.segments(), note.id) is not None
        scene.now_ns = BEGIN + 1000 * DAY
        scene.run()
        assert [(s.first, s.gone) for s in store.hot.segments()] == [(0, False), (4, False)]


def test_a_hold_put_after_the_plan_is_kept(scene: Scene) -> None:
    going = scene.retention.due(scene.now_ns)
    assert going is not None
    scene.hold(id_of(10))
    scene.retention.carry_out(going)
    assert scene.evidence() == [0, 2, 4, 5]


def test_evidence_that_was_never_sealed_goes_by_its_month(scene: Scene) -> None:
    scene.now_ns = BEGIN + 130 * DAY  # 2026-05-11: thirty days before is in April
    done = scene.run()
    assert done is not None
    assert done.ciphertexts == 2
    assert scene.evidence() == []
    assert scene.keyed() == set()


def test_an_event_of_a_clock_that_ran_ahead_goes_by_when_it_was_sealed(tmp_path: Path) -> None:
    with store_in(tmp_path) as store, KeyStore(store.folder.keys) as keys:
        entries = [made(0, time_ns=BEGIN + 3000 * DAY, subject=id_of(1), evidence_body=b"e")]
        store.put(entries)
        store.seal_to(1, now_ns=BEGIN + 2 * DAY)
        scene = Scene(store, keys, entries)
        assert scene.run() is not None
        assert scene.evidence() == []


@pytest.mark.parametrize("how", ["lost", "cut", "another"])
def test_what_somebody_took_away_or_changed_is_not_called_over(scene: Scene, how: str) -> None:
    """A file that was deleted had been said to be over on the day it was sealed, and verification believed it."""
    core, (first, second) = scene.store.folder.core, scene.store.hot.segments()
    path = core / first.core
    if how == "lost":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:  # whose events are a thousand days older
        old = [made(0, time_ns=BEGIN - 1000 * DAY), made(1, time_ns=BEGIN - 999 * DAY)]
        with store_in(core.parent / "other") as other:
            other.put(old)
            (there,) = other.seal_to(2, now_ns=BEGIN - 990 * DAY)
            path.write_bytes((other.folder.core / there.core).read_bytes())
    assert scene.retention.due(BEGIN + 44 * DAY) == Going((), (), 202601)
    going = scene.retention.due(BEGIN + 1000 * DAY)
    assert going is not None
    assert going.core == (second,)
    scene.retention.carry_out(going)
    assert [s.gone for s in scene.store.hot.segments()] == [False, True]


def test_what_is_held_keeps_its_key_while_its_core_file_is_away(scene: Scene) -> None:
    """Only that file says whose it is: put back, it had evidence that nobody could open any more."""
    scene.hold(scene.entries[0].id)
    (first, _), core = scene.store.hot.segments(), scene.store.folder.core
    (core / first.core).rename(core / "away")
    scene.run()
    assert scene.evidence() == [0, 1, 4, 5]
    assert scene.keyed() >= {(10, 202601), (11, 202601)}
    (core / "away").rename(core / first.core)
    scene.run()
    assert scene.evidence() == [0, 4, 5]


def test_evidence_of_which_nobody_can_say_whether_it_is_held_stays(scene: Scene) -> None:
    scene.hold(id_of(10))
    first, second = scene.store.hot.segments()
    path = scene.store.folder.evidence / str(first.evidence)
    path.write_bytes(path.read_bytes()[:-9])
    going = scene.retention.due(scene.now_ns)
    assert going is not None
    assert going.evidence == (second,)
    scene.retention.carry_out(going)
    assert path.exists()


def test_a_core_file_goes_whole_with_its_labels_unless_an_entry_in_it_is_held(scene: Scene) -> None:
    store = scene.store
    store.put(
        [made(6, "label", BEGIN + 72 * DAY, about=scene.entries[0].id, actor="r:1", verdict="true")]
    )
    store.seal_to(7, max_rows=3)
    scene.hold(scene.entries[2].id)
    scene.now_ns = BEGIN + 1000 * DAY
    with Queries(store.folder) as ask:
        assert ask.run("count_by_verdict").rows == [("true", 1)]
        going = scene.retention.due(scene.now_ns)
        assert going is not None
        assert [s.first for s in going.core] == [0, 4]
        assert Retention.entry_of(going, scene.now_ns).fields["core"] == [
            s.core for s in going.core
        ]
        scene.retention.carry_out(going)
        assert [s.gone for s in store.hot.segments()] == [True, False, True]
        assert [p.name[:12] for p in store.folder.core.iterdir()] == ["000000000002"]
        assert [row["idx"] for row in ask.run("alerts").dicts()] == [3, 2]
        assert ask.run("labels_of", about=scene.entries[0].id).rows == []
    assert scene.run() is None
    store.put([made(7)])
    assert store.hot.size == 8
    assert [s.first for s in store.seal_to(8)] == [7]  # fmt: skip


def test_a_run_that_was_cut_off_is_made_good_by_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(path: Path) -> None:
        raise Killed

    for step in range(2):
        going = scene.retention.due(scene.now_ns)
        assert going is not None
        scene.say(going)
        with monkeypatch.context() as patch:
            patch.setattr(Retention, "_remove", staticmethod(die))
            with pytest.raises(Killed):
                scene.retention.carry_out(going)
        assert sum(s.evidence is None for s in scene.store.hot.segments()) == step + 1
    scene.store.sealer()  # as at a start: removes what nobody names
    assert list(scene.store.folder.evidence.iterdir()) == []
    assert scene.run() == Gone(0, 0, 0, 2, 0)
    assert scene.run() is None


def test_a_rewritten_file_says_what_the_old_one_said(scene: Scene) -> None:
    scene.hold(scene.entries[0].id)
    scene.run()
    (path,) = scene.store.folder.evidence.iterdir()
    assert pq.read_table(path)["id"].to_pylist() == [scene.entries[0].id]
    assert pq.read_schema(path).metadata[b"dosimeter.first"] == b"0"


def test_months_back_is_the_same_day_or_the_last_of_a_shorter_month() -> None:
    march_31 = BEGIN + 89 * DAY + 5 * SECOND
    assert _back(march_31, 1) == BEGIN + 58 * DAY + 5 * SECOND  # February the 28th
    assert _back(march_31, 3) == BEGIN - DAY + 5 * SECOND  # December the 31st
    assert _back(march_31, 15) == BEGIN - 366 * DAY + 5 * SECOND


def test_what_goes_at_once_fits_into_one_entry_and_the_rest_goes_after(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "000000000000-000000032768.parquet"
    each = [Segment(n, n + 1, 0, 1, name, "", name) for n in range(9_000)]
    monkeypatch.setattr(Retention, "_over", lambda _self, _segments, _before_ns: each)
    going = scene.retention.due(LATER)
    assert going is not None
    assert len(encoded(Retention.entry_of(going, LATER).fields)) < 60_000


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (Gone(0, 0, 0, 0, 0), ""),
        (Gone(2, 0, 0, 3, 1), "2 files of evidence, 3 keys"),
        (Gone(0, 1, 4, 0, 0), "1 files of entries, 4 pieces of evidence not in a file yet"),
    ],
)
def test_only_what_went_is_told(gone: Gone, said: str) -> None:
    assert str(gone) == said
