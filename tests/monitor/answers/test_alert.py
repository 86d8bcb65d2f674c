"""One alert of a real history: its evidence behind an entry, labels and notes, and what is left of it once erased."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dosimeter.monitor.answers.days import weeks_of
from dosimeter.monitor.audit.erasure.erase import Eraser
from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.people.access import Actor
from dosimeter.monitor.audit.store.hot import StoreStalled
from dosimeter.monitor.audit.store.keeper import Keeper
from dosimeter.monitor.audit.store.sealing import SQL, Sealer
from dosimeter.monitor.config_pages import PagesConfig
from dosimeter.monitor.pages import shown
from dosimeter.monitor.pages.app import make_app
from dosimeter.monitor.pages.source import AccessRefused, NotPossible, QueueFilter, Reader
from tests.monitor.answers.answers_scene import (
    ALL,
    NOW_NS,
    ONE,
    Answers,
    answers,
    failing,
)
from tests.monitor.audit.audit_scene import evidence
from tests.monitor.pages.conftest import ORIGIN, Named


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Answers]:
    with answers(tmp_path / "data") as found:
        yield found


def visit(scene: Answers, who: str) -> TestClient:
    app = make_app(scene.source, Named(), PagesConfig(), now_ns=lambda: NOW_NS)
    return TestClient(app, base_url=ORIGIN, headers={"X-As": who, "Authorization": "Bearer x"})


def test_an_alert_says_what_was_recorded_and_where_it_stands(scene: Answers) -> None:
    row = scene.alert(1)
    found = scene.source.alert(row["id"][:20], ALL)
    assert found is not None
    assert (found.id, found.kind, found.tenant) == (row["id"], "alert", "tenant-1")
    assert (found.subject, found.conversation) == (row["subject"], row["conversation"])
    assert found.request == f"{0xAA:016x}/{1:016x}"
    assert (found.rule, found.severity, found.status) == ("scam-written", "high", "live")
    (clause,) = found.clauses
    assert (clause.feature, clause.start, clause.end, clause.tokens_scored) == ("scam", 4, 8, 8)
    assert clause.value_sd == 901 / 4 / 256
    assert clause.threshold_sd == 2.0
    assert (found.proof.index, found.evidence) == (row["idx"], "sealed")
    assert found.proof.size > row["idx"]
    assert "user-1" not in repr(found)
    assert "summary 1" not in repr(found)


def test_evidence_is_what_the_ledger_had(scene: Answers) -> None:
    from dosimeter.monitor.history.evidence import decode_evidence

    found = scene.source.evidence(scene.alert(1)["id"], ALL)
    assert found is not None
    there = decode_evidence(evidence(1))
    assert (found.columns, found.first) == (("scam",), there.first)  # those that the rule reads
    assert found.codes == tuple((int(code),) for code in there.codes[:, 0])
    assert (found.summary, found.labels["user"], found.tokens) == ("summary 1", "user-1", None)


def test_evidence_is_read_after_its_entry_and_not_without(
    scene: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = scene.alert(1)["id"]
    read: list[int] = []
    plaintext = History.plaintext

    def counted(self: History, *args: object, **kwargs: object) -> object:
        read.append(sum(one["kind"] == "view" for one in scene.accesses()))
        return plaintext(self, *args, **kwargs)  # type: ignore[arg-type]

    with visit(scene, "reviewer/tenant-1") as client:
        assert client.get(f"/api/v1/alerts/{id_}").status_code == 200
        monkeypatch.setattr(History, "plaintext", counted)
        url = f"/api/v1/alerts/{id_}/evidence"
        assert client.post(url, json={"reason": "x"}).status_code == 422
        assert client.post(url, json={"reason": "ticket 12"}).json()["summary"] == "summary 1"
        assert read.pop() == 1  # the entry was there before the bytes were opened
        (entry,) = [one for one in scene.accesses() if one["kind"] == "view"]
        assert (entry["about"], entry["reason"]) == (id_, "ticket 12")
        assert entry["actor"].startswith("reviewer:")
        for error in (
            StoreStalled(Path("hot.db"), sqlite3.OperationalError("full")),
            sqlite3.OperationalError("disk full"),
            OSError(28),
        ):
            real = scene.history.appender.append
            refuses = failing(error)
            monkeypatch.setattr(scene.history.appender, "append", refuses)
            read.clear()
            answer = client.post(url, json={"reason": "ticket 13"})
            assert answer.status_code == 503
            assert "summary 1" not in answer.text
            assert client.get(f"/api/v1/alerts/{id_}").status_code == 503
            assert client.get("/api/v1/alerts").status_code == 503
            assert not read
            monkeypatch.setattr(scene.history.appender, "append", real)
        assert len([one for one in scene.accesses() if one["kind"] == "view"]) == 1


def test_a_reason_that_names_the_person_is_refused(scene: Answers) -> None:
    id_ = scene.alert(1)["id"]
    with pytest.raises(NotPossible, match="names whom it is about"):
        scene.source.record_access("view", ALL, f"evidence {id_}", "user-1 complained")
    reason = {"reason": "user-1 complained"}
    answer = visit(scene, "reviewer/tenant-1").post(f"/api/v1/alerts/{id_}/evidence", json=reason)
    assert answer.status_code == 422  # another reason helps; it is not that nothing can be written
    assert answer.json()["detail"].startswith("the reason names whom it is about")


def test_an_auditors_look_at_text_is_marked_as_breaking_the_glass(scene: Answers) -> None:
    auditor = Reader("aldo", None, frozenset({"auditor"}))
    scene.source.record_access("view", auditor, f"evidence {scene.alert(1)['id']}", "case 12")
    assert '"break_glass":true' in scene.accesses()[-1]["more"]


def test_evidence_that_was_changed_is_not_called_erased(scene: Answers) -> None:
    """What somebody had tampered with had looked like what a person had asked to be forgotten."""
    id_ = scene.alert(1)["id"]
    db = sqlite3.connect(scene.whole.folder.hot)
    with db:
        changed = "UPDATE evidence SET sealed = zeroblob(length(sealed)) WHERE id = ?"
        assert db.execute(changed, (bytes.fromhex(id_),)).rowcount == 1
    db.close()
    found = scene.source.alert(id_, ALL)
    assert found is not None
    assert found.evidence == "damaged"
    who = "reviewer/tenant-1"
    page = visit(scene, who).get(f"/alerts/{id_}").text
    assert "cannot be opened, and was not erased" in page
    assert "was erased, or" not in page
    reason = {"reason": "ticket 12"}
    answer = visit(scene, who).post(f"/api/v1/alerts/{id_}/evidence", json=reason)
    assert (answer.status_code, "cannot be opened" in answer.json()["detail"]) == (422, True)


def test_a_label_stands_with_its_reason_and_its_note_is_evidence(scene: Answers) -> None:
    id_ = scene.alert(1)["id"]
    scene.source.label(id_, "true", "as-defined", "said it twice", ONE)
    scene.source.label(id_, "unsure", "", "", ALL)
    found = scene.source.alert(id_, ALL)
    assert found is not None
    said = [(one.reviewer, one.verdict, one.reason, one.note) for one in found.labels]
    assert said == [("otto", "true", "as-defined", None), ("rita", "unsure", "", None)]
    seen = scene.source.evidence(id_, ALL)
    assert seen is not None
    assert [(one.reviewer, one.note) for one in seen.notes if one.note] == [
        ("otto", "said it twice")
    ]


def test_who_may_not_label_is_refused(scene: Answers) -> None:
    viewer = Reader("vera", None, frozenset({"viewer"}))
    with pytest.raises(AccessRefused, match="may label"):
        scene.source.label(scene.alert(1)["id"], "true", "", "", viewer)


def test_an_erased_person_is_gone_and_the_alert_says_so(scene: Answers) -> None:
    row = scene.alert(1)
    scene.source.label(row["id"], "true", "", "said it twice", ALL)
    eraser = Eraser(scene.history.folder, scene.history.appender)
    eraser.erase("user", "tenant-1", "user-1", actor=Actor("omar", "operator"), reason="ticket 4")
    found = scene.source.alert(row["id"], ALL)
    assert found is not None
    assert (found.evidence, found.subject, found.tenant) == ("erased", row["subject"], "tenant-1")
    assert scene.source.evidence(row["id"], ALL) is None
    case = scene.source.case("user", row["subject"], ALL, "UTC")
    assert case is not None
    assert (case.name, case.alerts) == ("", 1)
    assert scene.source.queue(QueueFilter(tenant="tenant-1"), ALL, None, 9).total == 3
    audit = scene.source.audit(ALL)
    (stone,) = audit.tombstones
    assert (stone.subject, stone.reason) == (row["subject"], "ticket 4")
    for shown_ in (found, case, audit):
        assert "user-1'" not in repr(shown_)
        assert "said it twice" not in repr(shown_)
    other = scene.source.alert(scene.alert(7)["id"], ALL)
    assert other is not None
    assert other.evidence == "sealed"


def test_an_alert_whose_time_is_over_is_gone_also_for_who_has_its_page_open(scene: Answers) -> None:
    id_ = scene.alert(1)["id"]
    assert scene.source.alert(id_, ALL) is not None
    hot, folder = scene.history.hot, scene.whole.folder
    with closing(Keeper(folder, hot)) as keeper:
        keeper.turn(now=True)
        while Sealer(hot, folder, grace_ns=0).seal(keeper.signed, keeper.signed):
            pass
    assert scene.source.alert(id_, ALL) is not None
    for segment in hot.segments():
        with hot.writing() as db:
            db.execute(SQL["core_gone"], (segment.first,))
    assert scene.source.alert(id_, ALL) is None


def test_an_entry_that_is_no_alert_is_not_shown_as_one(scene: Answers) -> None:
    scene.source.record_access("query", ALL, "audit page", "")
    entry = scene.accesses()[-1]
    assert scene.source.alert(entry["id"], ALL) is None
    assert scene.source.label(entry["id"], "true", "", "", ALL) is None


def test_many_days_are_shown_by_week_and_few_are_not() -> None:
    """Monday 5 January 2026 is day 20,458 since 1970; the Sunday before belongs to the week of 29 December."""
    few = [{"day": 20_457 + n, "severity": "high", "n": 1} for n in range(62)]
    assert weeks_of(few) == ()
    weeks = weeks_of(
        [
            *few,
            {"day": 20_457, "severity": "low", "n": 4},
            {"day": 20_600, "severity": "low", "n": 2},
        ]
    )
    assert weeks[0] == shown.Day("2025-12-29", {"high": 1, "low": 4})
    assert weeks[1] == shown.Day("2026-01-05", {"high": 7})
    assert weeks[-1] == shown.Day("2026-05-25", {"low": 2})
    assert sum(sum(week.counts.values()) for week in weeks) == 62 + 6
