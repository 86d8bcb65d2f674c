"""What feeds tell becomes entries, each once, whatever comes twice, late or broken."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.audit.appending import Appender
from dosimeter.monitor.audit.box import opened as open_box
from dosimeter.monitor.audit.evidence_body import Body, decode_body
from dosimeter.monitor.audit.hot import StoreStalled
from dosimeter.monitor.audit.ingest import FEED, Ingest, reads_of
from dosimeter.monitor.feed.items import (
    Alert,
    Batch,
    Blob,
    Bye,
    Coverage,
    Evidence,
    Hello,
    Item,
    Refused,
)
from dosimeter.monitor.history.evidence import decode_evidence
from tests.monitor.audit.audit_scene import HOUR_NS, SOURCE, T0, alert, evidence, opened

NOW = T0 + HOUR_NS
HELLO = Hello(SOURCE, "pod-1", T0, first_seq=1, exact_after=0, last_seq=0)


def entries(to: Appender) -> list[dict[str, Any]]:
    return [json.loads(leaf) for _, leaf in to.hot.leaves(0, 10_000)]


def kinds(to: Appender) -> list[str]:
    return [one["kind"] for one in entries(to)]


def give(ingest: Ingest, *items: Item, cursor: int = 0, now_ns: int = NOW) -> int:
    return ingest.take(Batch(items, {"at": cursor}), now_ns)


def kept(to: Appender, item: Alert) -> Body:
    about = bytes.fromhex(item.event_id)
    found = to.hot.evidence(about)
    assert found is not None
    key = to.keys.key(found[0], found[1])
    assert key is not None
    committed = [
        one["evidence"] for one in entries(to) if item.event_id in (one["id"], one.get("about"))
    ]
    return decode_body(open_box(found[2], key, about, committed[-1]))


def test_a_source_is_born_before_what_it_brings(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        give(Ingest(to, NOW), HELLO, alert(0), alert(1))
        assert kinds(to) == ["birth", "alert", "alert"]
        birth = entries(to)[0]
        assert (birth["name"], birth["source"], birth["resumed"]) == ("pod-1", SOURCE, False)


def test_what_comes_again_makes_no_second_entry_also_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        assert give(Ingest(to, NOW), HELLO, alert(0), alert(1), cursor=1) == 3
        assert give(Ingest(to, NOW), HELLO, alert(0), alert(1), cursor=1) == 0
        again = Ingest(to, NOW)
        assert give(again, alert(1), alert(2), cursor=2) == 1
        assert again.counts.duplicates == 1
        assert kinds(to) == ["birth", "alert", "alert", "alert"]


def test_the_cursor_is_stored_with_what_was_read_up_to_it(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        ingest = Ingest(to, NOW)
        give(ingest, HELLO, alert(0), cursor=5)
        assert to.hot.cursor(FEED) == {"at": 5}
        ingest.take(Batch((alert(1),), {"other partition": 3}), NOW)
        assert to.hot.cursor(FEED) == {"at": 5, "other partition": 3}


def test_a_gap_is_an_entry_and_so_is_its_end(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        give(Ingest(to, NOW), HELLO, alert(0), alert(4))
        gap = entries(to)[1]
        assert (gap["kind"], gap["first"], gap["last"]) == ("gap", 2, 4)
        give(Ingest(to, NOW), alert(1), alert(2), alert(3))
        assert kinds(to)[-4:] == ["gap-closed", "alert", "alert", "alert"]


def test_what_a_source_said_it_has_and_never_brought_is_named(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        ingest = Ingest(to, NOW)
        give(ingest, HELLO, alert(0), Bye(SOURCE, 3, T0 + 1, "ended"))
        assert kinds(to) == ["birth", "death", "alert"]
        give(ingest, now_ns=NOW + HOUR_NS)
        last = entries(to)[-1]
        assert (last["kind"], last["first"], last["last"]) == ("gap", 2, 3)


def test_evidence_is_kept_as_it_came_for_the_columns_that_the_rule_reads(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        item = alert(5, body=evidence(5))
        give(Ingest(to, NOW), item)
        body, given_ = kept(to, item), decode_evidence(evidence(5))
        assert body.columns == ("scam",)
        assert np.array_equal(body.codes[:, 0], given_.codes[:, 0])
        assert body.vector == dict(zip(given_.columns, given_.codes[7].tolist(), strict=True))
        assert body.labels["user"] == "user-5"
        assert body.summary == "summary 5"


def test_evidence_that_grew_is_committed_to_by_an_entry_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        ingest, item = Ingest(to, NOW), alert(1, body=evidence(1, 9), final=False)
        give(ingest, HELLO, alert(0), item)
        give(ingest, Evidence(SOURCE, item.event_id, evidence(1, 9)))
        assert kinds(to) == ["birth", "alert", "alert"]  # no more than there was
        give(ingest, Evidence(SOURCE, item.event_id, evidence(1, 40)))
        assert kinds(to)[-1] == "evidence"
        assert entries(to)[-1]["about"] == item.event_id
        body = kept(to, item)
        assert len(body.codes) == 40
        assert body.labels["user"] == "user-1"
        assert np.array_equal(body.codes[:, 0], decode_evidence(evidence(1, 40)).codes[:, 0])


def test_evidence_in_the_batch_of_its_alert_needs_no_second_entry(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        item = alert(0, body=evidence(0, 9), final=False)
        give(Ingest(to, NOW), item, Evidence(SOURCE, item.event_id, evidence(0, 40)))
        assert kinds(to) == ["birth", "alert"]
        assert len(kept(to, item).codes) == 40


def test_an_alert_that_comes_again_with_more_evidence_completes_the_first(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        give(Ingest(to, NOW), alert(0, body=evidence(0, 9), final=False))
        give(Ingest(to, NOW), alert(0, body=evidence(0, 40)))
        assert kinds(to) == ["birth", "alert", "evidence"]


def test_evidence_of_somebody_who_was_erased_meanwhile_is_not_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        item = alert(0, body=evidence(0, 9), final=False)
        ingest = Ingest(to, NOW)
        give(ingest, item)
        to.keys.destroy(bytes.fromhex(entries(to)[1]["subject"]))
        give(ingest, Evidence(SOURCE, item.event_id, evidence(0, 40)))
        assert kinds(to) == ["birth", "alert"]


def test_blobs_are_kept_under_their_hash(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        give(Ingest(to, NOW), Blob("11" * 32, b"rule text"), alert(0))
        sha = to.hot.db.execute(
            "SELECT lower(hex(sha256)) FROM blob WHERE body = ?", (b"rule text",)
        )
        assert to.hot.blob(sha.fetchone()[0]) == b"rule text"


def test_an_hour_of_coverage_is_an_entry_once(tmp_path: Path) -> None:
    hour = Coverage(
        SOURCE, "aa" * 8, T0, T0 + HOUR_NS, 1000, {"usage": 1000}, 990, {"dropped": 10}, 0, 5, 5
    )
    with opened(tmp_path) as to:
        give(Ingest(to, NOW), hour, hour)
        give(Ingest(to, NOW), hour)
        (found,) = entries(to)
        assert (found["kind"], found["served"], found["unscored"]) == (
            "coverage",
            1000,
            {"dropped": 10},
        )


def test_what_cannot_be_read_is_an_entry_and_stops_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        broken = Alert(SOURCE, 1, "ab" * 16, b"{}", None, True)
        lying = Alert(SOURCE, 2, "cd" * 16, alert(1).core, None, True)
        torn = alert(2, body=b'{"codes": 3}')
        ingest = Ingest(to, NOW)
        give(ingest, broken, lying, torn, Refused(None, "offset 9", "not JSON"), alert(3))
        assert kinds(to) == ["birth", "refused", "refused", "refused", "refused", "alert"]
        assert ingest.counts.refused == 4
        assert "ab" * 16 in entries(to)[1]["where"]


def test_after_a_stall_the_same_batch_is_taken_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as to:
        append = to.hot.append
        calls = 0

        def stalled(*args: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            raise StoreStalled(to.hot.path, sqlite3.OperationalError("disk full"))

        to.hot.append = stalled  # type: ignore[method-assign]
        with pytest.raises(StoreStalled):
            give(Ingest(to, NOW), HELLO, alert(0), alert(2))
        to.hot.append = append  # type: ignore[method-assign]
        assert calls == 1
        assert to.hot.size == 0
        assert give(Ingest(to, NOW), HELLO, alert(0), alert(2)) == 4
        assert kinds(to) == ["birth", "gap", "alert", "alert"]


def test_features_of_an_expression_are_read_each_once() -> None:
    terms = {"feature": "max(scam, deception) - scam", "also": [{"feature": "sycophancy"}]}
    found = reads_of(json.dumps(terms).encode())
    assert found == ("scam", "deception", "sycophancy")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=30), st.data())
def test_however_alerts_come_each_is_in_once_and_what_is_missing_is_named(
    tmp_path_factory: pytest.TempPathFactory, order: list[tuple[int, bool]], data: st.DataObject
) -> None:
    with opened(tmp_path_factory.mktemp("h")) as to:
        ingest = Ingest(to, NOW)
        for n, restarted in order:
            if restarted:
                ingest = Ingest(to, NOW)
            give(ingest, alert(n))
        came = {n for n, _ in order}
        found = entries(to)
        assert sorted(e["seq"] - 1 for e in found if e["kind"] == "alert") == sorted(came)
        open_: set[int] = set()
        for one in found:
            if one["kind"] == "gap":
                open_ |= set(range(one["first"], one["last"] + 1))
            if one["kind"] == "gap-closed":
                open_ -= set(range(one["first"], one["last"] + 1))
        highest = max(came, default=-1) + 1
        assert open_ == set(range(1, highest + 1)) - {n + 1 for n in came}
