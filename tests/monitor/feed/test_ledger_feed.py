"""A real ledger as a stream of items: what comes, in which order, and the same again from an older cursor."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from dosimeter.monitor.feed import life
from dosimeter.monitor.feed.items import (
    Alert,
    Alive,
    Blob,
    Bye,
    Coverage,
    Evidence,
    FeedAway,
    Hello,
    Item,
    Rolled,
)
from dosimeter.monitor.feed.ledger_feed import LedgerFeed
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import Account, LedgerRecord, StoredAlert

from .conftest import START_NS, Clock, body_of, drain

HitOf = Callable[..., LedgerRecord]
RULE, PROGRAM = b'{"rule":"x"}', b'{"atoms":[]}'
SHA = {name: hashlib.sha256(body).hexdigest() for name, body in [("r", RULE), ("p", PROGRAM)]}
E = "e" * 16


def alerts(items: list[Item]) -> list[Alert]:
    return [one for one in items if isinstance(one, Alert)]


def kinds(items: list[Item]) -> list[str]:
    return [one.kind for one in items]


def account(served: int) -> Account:
    return Account(E, served, served, 0, 1, 1, served_by={"usage": served})


def test_a_ledger_that_is_not_there_yet_is_an_empty_one(
    path: Path, feed: LedgerFeed, clock: Clock
) -> None:
    assert drain(feed, clock.now_ns) == []
    with Ledger(path, now_ns=clock):
        assert kinds(drain(feed, clock.now_ns)) == ["hello", "alive"]


def test_alerts_come_in_order_with_their_evidence_after_the_greeting(
    ledger: Ledger, feed: LedgerFeed, clock: Clock, hit_of: HitOf, record_of: HitOf
) -> None:
    hits = [hit_of(n) for n in (1, 2, 3)]
    digest = record_of(4, kind="digest")
    ledger.append([*hits, digest])
    hello, *found = drain(feed, clock.now_ns, limit=2)
    source = alerts(found)[0].source
    assert isinstance(hello, Hello)
    assert (hello.source, hello.name, hello.first_seq, hello.last_seq) == (source, "pod-1", 1, 4)
    assert hello.started_ns == Path(f"{feed.ledger}.lock").stat().st_mtime_ns
    assert alerts(found) == [
        *[
            Alert(source, n, hit.event_id, hit.core, hit.evidence, final=False)
            for n, hit in enumerate(hits, 1)
        ],
        Alert(source, 4, digest.event_id, digest.core, None, final=True),
    ]


def test_shadow_hits_come_too(
    ledger: Ledger, feed: LedgerFeed, clock: Clock, hit_of: HitOf
) -> None:
    ledger.append([hit_of(1, deliverable=False)])
    assert len(alerts(drain(feed, clock.now_ns))) == 1


def test_blobs_come_once_before_the_first_alert_that_names_them(
    ledger: Ledger, feed: LedgerFeed, clock: Clock, hit_of: HitOf
) -> None:
    also = [{"feature": "scam", "program_sha256": SHA["p"], "pack_sha256": "0" * 64}]
    ledger.append(
        [hit_of(1), hit_of(2, rule_sha256=SHA["r"]), hit_of(3, rule_sha256=SHA["r"], also=also)],
        blobs={SHA["r"]: RULE, SHA["p"]: PROGRAM},
    )
    found = [one for one in drain(feed, clock.now_ns) if isinstance(one, Alert | Blob)]
    assert kinds(found) == ["blob", "blob", "alert", "alert", "alert"]
    assert {one.body for one in found if isinstance(one, Blob)} == {RULE, PROGRAM}
    # Of what was stored since the last look, just before the first that names it.
    body = b'{"rule":"y"}'
    new = hashlib.sha256(body).hexdigest()
    hits = [hit_of(4, rule_sha256=SHA["r"]), hit_of(5, rule_sha256=new), hit_of(6, rule_sha256=new)]
    ledger.append(hits, blobs={new: body})
    assert kinds(drain(feed, clock.now_ns)) == ["alert", "blob", "alert", "alert"]
    ledger.append([hit_of(7, rule_sha256=SHA["r"])])
    with LedgerFeed(feed.ledger, "pod-1", json.loads(json.dumps(feed.cursor))) as again:
        assert kinds(drain(again, clock.now_ns)) == ["alert", "alive"]


def test_what_a_sidecar_looks_for_is_told_before_anything_was_found(
    ledger: Ledger, feed: LedgerFeed, clock: Clock
) -> None:
    """2026-11-30: `audit query --rule` of a rule in force was a usage error until the first alert of any."""
    ledger.append([], blobs={SHA["r"]: RULE, SHA["p"]: PROGRAM})
    found = [one for one in drain(feed, clock.now_ns, limit=1) if isinstance(one, Blob)]
    clock.forward(2)
    found += [one for one in drain(feed, clock.now_ns, limit=1) if isinstance(one, Blob)]
    assert sorted(one.sha256 for one in found) == sorted(SHA.values())
    clock.forward(2)
    assert "blob" not in kinds(drain(feed, clock.now_ns))


def test_evidence_that_has_grown_comes_once(
    ledger: Ledger, feed: LedgerFeed, clock: Clock, hit_of: HitOf
) -> None:
    hit = hit_of(1)
    ledger.append([hit])
    drain(feed, clock.now_ns)
    clock.forward(2)
    ledger.append(evidence={hit.event_id: body_of(67)})
    [grown] = drain(feed, clock.now_ns)
    assert isinstance(grown, Evidence)
    assert (grown.event_id, grown.body) == (hit.event_id, body_of(67))
    clock.forward(1200)
    assert kinds(drain(feed, clock.now_ns)) == ["alive"]


def test_evidence_that_never_grows_is_final_after_ten_minutes(
    ledger: Ledger, feed: LedgerFeed, clock: Clock, hit_of: HitOf
) -> None:
    ledger.append([hit_of(1)])
    drain(feed, clock.now_ns)
    clock.forward(599)
    assert kinds(drain(feed, clock.now_ns)) == ["alive"]
    clock.forward(1)
    assert [one for one in drain(feed, clock.now_ns) if isinstance(one, Evidence)] != []


def test_evidence_of_an_old_alert_is_final_at_once(
    ledger: Ledger, feed: LedgerFeed, clock: Clock, hit_of: HitOf
) -> None:
    ledger.append([hit_of(1)])
    clock.forward(600)
    assert [one.final for one in alerts(drain(feed, clock.now_ns))] == [True]


def test_coverage_comes_by_the_hour_and_with_the_last_word(
    ledger: Ledger, feed: LedgerFeed, clock: Clock
) -> None:
    drain(feed, clock.now_ns)
    ledger.append(accounts=[account(100)])
    clock.forward(60)
    assert kinds(drain(feed, clock.now_ns)) == ["alive"]
    clock.forward(3540)
    [hour] = [one for one in drain(feed, clock.now_ns) if isinstance(one, Coverage)]
    assert (hour.epoch, hour.from_ns, hour.to_ns) == (E, START_NS, START_NS + 3600 * 10**9)
    assert (hour.served, hour.scored, hour.served_by) == (100, 100, {"usage": 100})
    ledger.append(accounts=[account(130)])
    clock.forward(5)
    feed.end(clock.now_ns, "ended")
    rest, bye = feed.read(clock.now_ns).items
    assert isinstance(rest, Coverage)
    assert (rest.from_ns, rest.to_ns, rest.served) == (hour.to_ns, clock.now_ns, 30)
    assert bye == Bye(hour.source, 0, clock.now_ns, "ended")


def test_a_sign_of_life_comes_every_half_minute_while_the_writer_lives(
    path: Path, feed: LedgerFeed, clock: Clock, hit_of: HitOf
) -> None:
    with Ledger(path, now_ns=clock) as ledger:
        ledger.append([hit_of(1)])
        found = drain(feed, clock.now_ns)
        source = alerts(found)[0].source
        assert found[-1] == Alive(source, 1, START_NS)
        clock.forward(29)
        assert drain(feed, clock.now_ns) == []
        clock.forward(1)
        assert drain(feed, clock.now_ns) == [Alive(source, 1, clock.now_ns)]
    clock.forward(60)
    assert drain(feed, clock.now_ns) == []


def test_where_the_lock_cannot_be_asked_only_a_ledger_that_goes_on_is_a_sign_of_life(
    ledger: Ledger,
    feed: LedgerFeed,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(life, "written", lambda _: None)
    assert kinds(drain(feed, clock.now_ns)) == ["hello"]
    clock.forward(30)
    assert drain(feed, clock.now_ns) == []
    ledger.append(accounts=[account(7)])
    clock.forward(30)
    assert kinds(drain(feed, clock.now_ns)) == ["alive"]
    clock.forward(30)
    assert drain(feed, clock.now_ns) == []


def test_another_life_of_the_sidecar_greets_again(
    path: Path, feed: LedgerFeed, clock: Clock, hit_of: HitOf
) -> None:
    with Ledger(path, now_ns=clock) as ledger:
        ledger.append([hit_of(1)])
    os.utime(f"{path}.lock", ns=(5, 5))
    assert [one.started_ns for one in drain(feed, clock.now_ns) if isinstance(one, Hello)] == [5]
    with Ledger(path, now_ns=clock) as ledger:
        ledger.append([hit_of(2)])
        hello, alert = drain(feed, clock.now_ns)
        assert isinstance(hello, Hello)
        assert (hello.first_seq, hello.last_seq) == (1, 2)
        assert isinstance(alert, Alert)


def test_what_was_read_comes_again_from_an_older_cursor(
    ledger: Ledger, feed: LedgerFeed, clock: Clock, hit_of: HitOf
) -> None:
    """At every step: the items that follow it are those that followed it before."""
    cursors, found = [feed.cursor], list[tuple[Item, ...]]()
    for n in range(1, 9):
        hit = hit_of(n, rule_sha256=SHA["r"])
        ledger.append([hit], accounts=[account(100 * n)], blobs={SHA["r"]: RULE})
        batch = feed.read(clock.now_ns, 3)
        cursors.append(json.loads(json.dumps(batch.cursor)))
        found.append(batch.items)
        clock.forward(1200)
    for n in range(1, len(found)):
        with LedgerFeed(feed.ledger, "pod-1", cursors[n]) as again:
            said = again.read(clock.now_ns, 3).items
        first = [one for one in found[n] if isinstance(one, Hello | Coverage | Alive)]
        assert [one for one in said if isinstance(one, Hello | Coverage | Alive)] == first
        once = {one.event_id for one in found[n] if isinstance(one, Alert)}
        assert once <= {one.event_id for one in said if isinstance(one, Alert)}
    served = [one.served for part in found for one in part if isinstance(one, Coverage)]
    assert served == sorted(served)


def test_positions_that_retention_took_are_told_in_the_greeting(
    ledger: Ledger, feed: LedgerFeed, clock: Clock, hit_of: HitOf
) -> None:
    ledger.append([hit_of(n) for n in range(1, 6)])
    assert ledger.upkeep.prune(3, clock.now_ns + 1) == 3
    hello, *rest = drain(feed, clock.now_ns)
    assert isinstance(hello, Hello)
    assert (hello.first_seq, hello.last_seq) == (4, 5)
    assert [one.seq for one in alerts(rest)] == [4, 5]


def test_a_ledger_of_which_all_was_pruned_did_not_go_back(
    ledger: Ledger, feed: LedgerFeed, clock: Clock, hit_of: HitOf
) -> None:
    ledger.append([hit_of(n) for n in range(1, 4)])
    drain(feed, clock.now_ns)
    ledger.upkeep.prune(3, clock.now_ns + 1)
    assert drain(feed, clock.now_ns) == []
    ledger.append([hit_of(4)])
    assert [one.seq for one in alerts(drain(feed, clock.now_ns))] == [4]


def backup(path: Path, to: Path) -> None:
    source, copy = sqlite3.connect(path), sqlite3.connect(to)
    source.backup(copy)
    source.close()
    copy.close()


def restore(backup: Path, path: Path) -> None:
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    shutil.copy(backup, f"{path}.new")
    Path(f"{path}.new").replace(path)


def test_a_restored_backup_is_said_and_its_new_alerts_come(
    path: Path, feed: LedgerFeed, clock: Clock, hit_of: HitOf, tmp_path: Path
) -> None:
    with Ledger(path, now_ns=clock) as ledger:
        ledger.append([hit_of(1), hit_of(2)])
        backup(path, tmp_path / "backup.db")
        ledger.append([hit_of(3), hit_of(4)])
    source = alerts(drain(feed, clock.now_ns))[0].source
    restore(tmp_path / "backup.db", path)
    assert drain(feed, clock.now_ns) == [Rolled(source, 4, 2, clock.now_ns)]
    with Ledger(path, now_ns=clock) as ledger:
        ledger.append([hit_of(5)])
        found = drain(feed, clock.now_ns)
        assert [(one.seq, one.event_id) for one in alerts(found)] == [(3, f"{5:032x}")]


def test_a_backup_that_has_grown_past_the_cursor_is_read_from_the_start(
    path: Path, feed: LedgerFeed, clock: Clock, hit_of: HitOf, tmp_path: Path
) -> None:
    with Ledger(path, now_ns=clock) as ledger:
        ledger.append([hit_of(1)])
        backup(path, tmp_path / "backup.db")
        ledger.append([hit_of(2)])
    source = alerts(drain(feed, clock.now_ns))[0].source
    restore(tmp_path / "backup.db", path)
    with Ledger(path, now_ns=clock) as ledger:
        ledger.append([hit_of(8), hit_of(9)])
        found = drain(feed, clock.now_ns)
        assert found[0] == Rolled(source, 2, 0, clock.now_ns)
        assert [int(one.event_id, 16) for one in alerts(found)] == [1, 8, 9]


def test_a_ledger_in_the_place_of_another_ends_the_one_and_begins_the_other(
    path: Path, feed: LedgerFeed, clock: Clock, hit_of: HitOf, tmp_path: Path
) -> None:
    with Ledger(path, now_ns=clock) as ledger:
        drain(feed, clock.now_ns)
        ledger.append([hit_of(1)], accounts=[account(70)])
        clock.forward(5)
        old = alerts(drain(feed, clock.now_ns))[0].source
    with Ledger(tmp_path / "other.db", now_ns=clock) as ledger:
        ledger.append([hit_of(2)])
    restore(tmp_path / "other.db", path)
    clock.forward(5)
    coverage, bye, hello, alert, *_ = drain(feed, clock.now_ns)
    assert isinstance(coverage, Coverage)
    assert (coverage.source, coverage.served) == (old, 70)
    assert bye == Bye(old, 1, clock.now_ns, "replaced by another ledger")
    assert isinstance(hello, Hello)
    assert isinstance(alert, Alert)
    assert hello.source == alert.source != old
    assert alert.seq == 1


def test_a_ledger_that_cannot_be_read_now_gives_the_same_later(
    ledger: Ledger, feed: LedgerFeed, clock: Clock, hit_of: HitOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.append([hit_of(1)])
    feed.read(clock.now_ns)
    before = feed.cursor
    with monkeypatch.context() as patched:
        patched.setattr(
            "dosimeter.monitor.history.reader.LedgerReader.accounts",
            lambda _: (_ for _ in ()).throw(sqlite3.OperationalError("disk I/O error")),
        )
        with pytest.raises(FeedAway, match="cannot be read now: disk I/O error"):
            feed.read(clock.now_ns)
    assert feed.cursor == before
    assert kinds(drain(feed, clock.now_ns)) == ["hello", "alert", "alive"]


def test_the_cursor_of_a_later_release_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="cursor of version `2`"):
        LedgerFeed(path, "pod-1", {"v": 2})


@pytest.mark.parametrize("core", [b"not JSON", b"[1]", b'{"also":[5],"rule_sha256":7}', b"\xff"])
def test_a_row_that_is_no_record_is_given_as_it_is(tmp_path: Path, core: bytes) -> None:
    class Nothing:
        def blob(self, sha256: str) -> bytes | None:
            raise AssertionError(sha256)

    feed = LedgerFeed(tmp_path / "ledger.db", "box")
    row = StoredAlert(1, "0a" * 16, core, True, 0)
    (item,) = feed._alert(row, cast(LedgerReader, Nothing()), 1)
    assert isinstance(item, Alert)
    assert (item.core, feed.cursor["seq"]) == (core, 1)
