"""The overview and the audit page of a real history: what was watched, what the sidecar says, who looked."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.answers.source import HistorySource
from dosimeter.monitor.audit.history import History
from dosimeter.monitor.config import HttpConfig
from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.history.cursors import CursorStore
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.pages import shown, shown_log, shown_overview
from dosimeter.monitor.pages.source import Reader
from dosimeter.monitor.sinks.config import KafkaConfig
from dosimeter.monitor.status_client import NEEDED, Answer
from tests.monitor.answers.answers_scene import ALL, NOW_NS, Answers, answers
from tests.monitor.audit.audit_scene import HOUR_NS, T0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Answers]:
    with answers(tmp_path / "data") as found:
        yield found


@contextmanager
def sidecar(scene: Answers, body: bytes) -> Iterator[HistorySource]:
    """The source, where something answers at the sidecar's address with this."""

    class Sidecar(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in ("/livez", "/status") else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sidecar)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield HistorySource(asked_at(scene.asked, server.server_address[1]))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def status(**more: Any) -> bytes:
    """A whole one, which says nothing but this."""
    return json.dumps({name: {} for name in NEEDED} | more).encode()


def asked_at(asked: Asked, port: int) -> Asked:
    return replace(asked, config=replace(asked.config, http=HttpConfig(port=port)))


def test_one_thread_at_a_time_asks_history_also_where_a_minute_ends_meanwhile(
    scene: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = itertools.count(NOW_NS, 60 * 10**9)
    asked = replace(scene.asked, now_ns=lambda: next(minutes))
    real: Any = History.watched
    others_may: list[bool] = []

    def watched(*args: Any, **given: Any) -> Any:
        other = threading.Thread(target=lambda: others_may.append(asked.lock.acquire(False)))
        other.start()
        other.join()
        return real(*args, **given)

    monkeypatch.setattr(History, "watched", watched)
    HistorySource(asked).overview(ALL, "UTC")
    assert others_may == [False] * 3


def test_coverage_is_of_the_last_day_by_the_hour(scene: Answers) -> None:
    """Hours of the scene: 1000 of 1000, 900 of 1000, 500 of 500."""
    found = scene.source.overview(ALL, "UTC")
    assert found.coverage == shown.Coverage(2500, 2400, {"dropped": 100}, 0)
    assert len(found.hours) == 24
    known = [(one.start_ns, one.served, one.scored) for one in found.hours if one.known]
    assert known == [
        (T0, 1000, 1000),
        (T0 + HOUR_NS, 1000, 900),
        (T0 + 2 * HOUR_NS, 500, 500),
    ]
    said = "coverage 96 % of 2,500 tokens; 1 hour under 99 % · not known to be watched: 21.0 h of 24.0 h"
    assert found.worth[0].startswith(said)
    assert found.unlabelled == 11
    (day,) = found.days
    assert (day.day, day.counts) == ("2026-03-01", {"high": 11})
    (day,) = scene.source.overview(ALL, "America/New_York").days
    assert day.day == "2026-02-28"


def test_the_log_says_what_no_anchor_has_and_what_never_came(scene: Answers) -> None:
    scene.now_ns = NOW_NS + 30 * 10**9  # the scene was taken in at NOW_NS
    scene.said = {"log": {"anchors": {"file": {"outside": False, "at_ns": NOW_NS, "entries": 5}}}}
    log = scene.source.overview(ALL, "UTC").log
    assert log.anchors == (shown_log.Anchor("file", False, NOW_NS, 5),)
    assert log.unanchored_entries == log.size - 5
    assert log.unanchored_s == 30.0
    positions = [gap for gap in log.gaps if gap.source]
    assert positions == [shown_log.Gap("pod-7", 0, 0, "positions 5 to 5 never came")]
    before = [gap for gap in log.gaps if not gap.source]
    assert before[0].end_ns == T0  # from when on it was counted


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("UTC", {"2026-03-01": 11}),
        ("America/New_York", {"2026-02-28": 11}),
    ],
)
def test_the_first_day_of_the_bars_is_a_whole_one(
    scene: Answers, zone: str, days: dict[str, int]
) -> None:
    """Four weeks to the minute cut a day in two, whose bar was as of a day on which less came."""
    scene.now_ns = T0 + 28 * 24 * HOUR_NS + 5 * 60 * 10**9
    found = scene.source.overview(ALL, zone).days
    assert {one.day: sum(one.counts.values()) for one in found} == days
    rule = scene.source.rule("scam-written", ALL, zone)
    assert rule is not None
    assert [sum(one.counts.values()) for one in rule.days] == [7]


def test_sinks_are_as_the_sidecar_reports_them(scene: Answers, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    with (
        LedgerReader(tmp_path / "ledger.db") as reader,
        CursorStore(tmp_path / "deliver.db", ledger_id=reader.ledger_id) as store,
    ):
        store.register(["kafka"])
    said: dict[str, Any] = {
        "delivery": delivery_status(tmp_path / "ledger.db", tmp_path / "deliver.db", now_ns=0),
        "taps": [
            {"state": "live", "reason": None, "model": {"name": "lab"}},
            {"state": "silent", "reason": "connected, and says nothing", "model": {}},
        ],
    }
    ledger.close()
    with sidecar(scene, status(**said)) as source:
        found = source.overview(ALL, "UTC")
    assert found.sinks == (shown_overview.Sink("kafka", "ok", 0, 0.0, 0),)
    assert found.taps == (
        shown_overview.Tap("lab", "ok", "live"),
        shown_overview.Tap("model server", "bad", "connected, and says nothing"),
    )
    assert found.unasked == ""


def test_a_sink_that_no_canary_has_reached_for_two_hours_is_bad(
    scene: Answers, tmp_path: Path
) -> None:
    Ledger(tmp_path / "ledger.db").close()
    with (
        LedgerReader(tmp_path / "ledger.db") as reader,
        CursorStore(tmp_path / "deliver.db", ledger_id=reader.ledger_id) as store,
    ):
        store.register(["kafka", "otlp"])
    delivery = delivery_status(tmp_path / "ledger.db", tmp_path / "deliver.db", now_ns=0)
    delivery["sinks"]["kafka"] |= {"canary_s": 7801.0}
    delivery["sinks"]["otlp"] |= {"canary_s": 3599.0}
    with sidecar(scene, status(delivery=delivery)) as source:
        kafka, otlp = source.overview(ALL, "UTC").sinks
    said = "canaries do not arrive: alerts may not either"
    assert (kafka.state, kafka.said, kafka.canary_s) == ("bad", said, 7801.0)
    assert (otlp.state, otlp.said, otlp.canary_s) == ("ok", "", 3599.0)


def test_the_error_of_a_sink_which_may_name_others_is_told_to_no_reader_of_some_tenants(
    scene: Answers, tmp_path: Path
) -> None:
    """A receiver's refusal may quote the alert it was sent, which is anybody's."""
    Ledger(tmp_path / "ledger.db").close()
    with (
        LedgerReader(tmp_path / "ledger.db") as ledger,
        CursorStore(tmp_path / "deliver.db", ledger_id=ledger.ledger_id) as store,
    ):
        store.register(["webhook", "kafka"])
        store.fail("webhook", "`https://hooks.acme-clinic.example` answered 500", now_ns=1)
    delivery = delivery_status(tmp_path / "ledger.db", tmp_path / "deliver.db", now_ns=0)
    own = Reader("a", frozenset({"north-bank"}), ALL.roles)
    with sidecar(scene, status(delivery=delivery)) as source:
        for reader, said in ((ALL, "acme-clinic"), (own, "failing: its error")):
            kafka, webhook = sorted(source.overview(reader, "UTC").sinks, key=lambda one: one.name)
            assert (webhook.state, kafka.state, kafka.said) == ("warn", "ok", "")
            assert said in webhook.said
        assert "acme" not in repr(source.overview(own, "UTC"))


def test_why_a_tap_is_blind_is_told_to_no_reader_of_some_tenants(scene: Answers) -> None:
    """It may be the text of any error in the server, and those quote what they met."""
    why = "start-up canary: no adapter `acme-clinic`"
    taps = [
        {"state": "blind", "reason": why, "model": {"name": "lab"}},
        {"state": "live", "reason": None, "model": {"name": "lab"}},
    ]
    own = Reader("a", frozenset({"north-bank"}), ALL.roles)
    with sidecar(scene, status(taps=taps)) as source:
        for reader, said in ((ALL, why), (own, "blind: why is told to those who see every tenant")):
            assert source.overview(reader, "UTC").taps == (
                shown_overview.Tap("lab", "bad", said),
                shown_overview.Tap("lab", "ok", "live"),
            )


def test_a_sidecar_is_asked_through_no_proxy(
    scene: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with sidecar(scene, status()) as source:
        assert source.overview(ALL, "UTC").unasked == ""


def test_a_sidecar_that_listens_at_any_address_is_asked_at_its_own(
    scene: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask(url: str, timeout_s: float) -> Answer:
        asked.append(url)
        return Answer(url, True, {})

    monkeypatch.setattr("dosimeter.monitor.answers.summaries.ask", ask)
    http = replace(scene.asked.config, http=HttpConfig("::", 9464))
    HistorySource(replace(scene.asked, config=http)).overview(ALL, "UTC")
    assert asked == ["http://[::1]:9464"]


def test_a_sidecar_that_migrates_is_not_one_that_does_not_answer(scene: Answers) -> None:
    with sidecar(scene, b'{"migrating": "copying"}') as source:
        said = source.overview(ALL, "UTC").unasked
    assert said == "not known: it brings the ledger of an earlier release up to date"


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[1]", b"\xff\xfe", b'{"status": "up"}'])
def test_what_does_not_answer_as_a_sidecar_is_not_known(scene: Answers, body: bytes) -> None:
    with sidecar(scene, body) as source:
        found = source.overview(ALL, "UTC")
    assert (found.sinks, found.taps) == ((), ())
    assert found.unasked.startswith("not known: no sidecar answers at 127.0.0.1:")


def test_a_fleets_sidecars_are_not_asked(scene: Answers) -> None:
    settings = replace(scene.asked.settings, kafka=KafkaConfig())
    found = HistorySource(replace(scene.asked, settings=settings)).overview(ALL, "UTC")
    assert found.unasked == "not known here: each sidecar of the fleet says it of itself"


def test_who_looked_is_said_with_what_and_why_and_without_names_of_persons(scene: Answers) -> None:
    row = scene.alert(1)
    scene.source.record_access("query", ALL, "queue?tenant=tenant-1&rule=scam-written", "")
    scene.source.record_access("view", ALL, f"evidence {row['id']}", "ticket 12")
    view, query = scene.source.audit(ALL).access[:2]
    assert (view.who, view.kind, view.reason) == ("rita (reviewer)", "view", "ticket 12")
    whose = f"subject {row['subject']}, tenant {row['tenant']}"
    assert view.what == f"evidence {row['id']}, {whose}"
    assert (query.who, query.kind) == ("rita (viewer)", "query")
    assert query.what == f"queue, rule scam-written, tenant {row['tenant']}"


def test_the_last_verification_is_shown_in_its_own_words(scene: Answers) -> None:
    assert scene.source.audit(ALL).verified is None
    said = ["NOT VERIFIED", "  entry 3: another"]
    scene.said = {"verified": {"ok": False, "said": said, "at_ns": 7, "entries": 3, "took_s": 0.5}}
    found = scene.source.audit(ALL).verified
    assert found == shown_log.Verified("bad", "NOT VERIFIED\n  entry 3: another", 7, 3, 0.5)
