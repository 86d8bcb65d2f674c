"""The pages: what they show, what they never show, and what is recorded before they show it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from dosimeter.monitor.pages import shown_log
from dosimeter.monitor.pages.source import Reader

from .conftest import Visit
from .fake import HOSTILE, NOW_NS, alert_id

ALERT = alert_id(0)
PATHS = (
    "/",
    "/queue",
    "/queue?limit=60",
    f"/alerts/{ALERT}",
    f"/alerts/{alert_id(5)}",
    "/cases/tenant/" + "6" * 32,
    "/rules",
    "/rules/deceptive-answer",
    "/features",
    "/features/deception",
    "/audit",
)


class Tags(HTMLParser):
    """Every start tag of a page with its attributes, and the texts between."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def having(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]


def evidence_page(visit: Visit, of: str = ALERT) -> str:
    answer = visit.post(f"/alerts/{of}/evidence", {"reason": "triage"})
    assert answer.status_code == 200
    return str(answer.text)


def every_page(visit: Visit) -> list[str]:
    found = [visit.client.get(path).text for path in PATHS]
    return [*found, evidence_page(visit)]


def test_no_page_is_larger_than_150_kb(local: Visit) -> None:
    assert max(len(page.encode()) for page in every_page(local)) < 150_000


@pytest.mark.parametrize("token", ["\u202e" * 40, "<" * 80, '"', "deposit"])
def test_nor_is_the_longest_evidence_whatever_stands_in_it(
    local: Visit, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    seen = local.history.evidence(ALERT, Reader("x"))
    assert seen is not None
    names = tuple(f"feature-{i}" for i in range(16))
    long = replace(
        seen, first=0, columns=names, codes=((-20_000,) * 16,) * 4000, tokens=(token,) * 4000
    )
    found = local.history.alert(ALERT, Reader("x"))
    assert found is not None
    clauses = tuple(replace(found.clauses[0], feature=name) for name in names)
    monkeypatch.setattr(local.history, "evidence", lambda *_: long)
    monkeypatch.setattr(local.history, "alert", lambda *_: replace(found, clauses=clauses[:8]))
    page = evidence_page(local)
    assert "more tokens are not shown" in page
    assert len(page.encode()) < 150_000


def test_every_page_is_plain_html_without_scripts_or_styles_inside(local: Visit) -> None:
    for page in every_page(local):
        found = Tags(page)
        assert found.having("html") == [{"lang": "en"}]
        assert found.having("script") == [{"src": "/static/keys.js", "defer": ""}]
        assert not found.having("style")
        for _, attrs in found.tags:
            assert "style" not in attrs
            assert not [name for name in attrs if name.startswith("on")]
        assert len(found.having("h1")) == len(found.having("main")) == 1
        assert {"class": "skip", "href": "#main"} in found.having("a")


def test_nothing_on_any_page_comes_from_another_host(local: Visit) -> None:
    for page in every_page(local):
        for tag, attrs in Tags(page).tags:
            if tag != "a":
                for name in ("src", "href", "action", "formaction"):
                    assert attrs.get(name, "/").startswith("/"), (tag, attrs)


def test_hostile_text_is_shown_as_text_with_what_hides_in_it(local: Visit) -> None:
    shown = r"""<script>alert(1)</script>"'&\x1b[31m\u202egnp.exe\u200b"""
    seen = 0
    for page in every_page(local):
        assert "<script>alert" not in page
        assert not {"\x1b", "\u202e", "\u200b"} & set(page)
        seen += any(shown in text for text in Tags(page).texts)
    assert seen >= 4  # overview, case, audit, evidence


def test_a_link_that_would_run_is_not_made_a_link(local: Visit) -> None:
    page = local.client.get(f"/alerts/{alert_id(1)}").text
    assert "javascript:alert(1)" in page
    assert not any(a.get("href", "").startswith("javascript") for a in Tags(page).having("a"))


def test_evidence_is_shown_after_its_reason_was_recorded_and_not_before(local: Visit) -> None:
    page = local.client.get(f"/alerts/{ALERT}").text
    assert "escrow" not in page
    assert "4bf92f3577b34da6a3ce929d0e0e4736" not in page
    assert not local.history.evidence_read
    page = evidence_page(local)
    assert "escrow" in page
    assert local.history.accesses[-1] == ("view", "local:me", f"evidence {ALERT}", "triage")
    links = {a.get("href") for a in Tags(page).having("a")}
    assert "https://ops.example/r/req%2F1%3Fx%3D%3Cb%3E" in links
    assert "https://t.example/4bf92f3577b34da6a3ce929d0e0e4736" in links


def test_scores_are_there_without_colour_and_without_sight(local: Visit) -> None:
    found = Tags(evidence_page(local))
    plots = [svg["aria-label"] for svg in found.having("svg") if svg.get("role") == "img"]
    assert any("12 at or over the threshold of 2.88 sd, highest 4.92 sd" in said for said in plots)
    assert sum(text.startswith("over ") for text in found.texts) == 12  # the table says it in words
    assert [text for text in found.texts if text in ("⟦", "⟧")] == ["⟦", "⟧"] * 2


def test_erased_evidence_says_so(local: Visit) -> None:
    assert "was erased" in local.client.get(f"/alerts/{alert_id(3)}").text
    assert "was erased" in evidence_page(local, alert_id(3))


def test_where_no_text_is_kept_there_are_scores_and_the_transcripts_link(local: Visit) -> None:
    page = evidence_page(local, alert_id(2))
    assert "No text is kept here" in page
    assert "Open the transcript" in page
    assert "escrow" not in page


def test_when_an_access_cannot_be_recorded_nothing_is_shown(local: Visit) -> None:
    token = local.token()
    local.history.refuse = True
    for path in ("/queue", f"/alerts/{ALERT}", "/cases/user/" + "5" * 32, "/audit"):
        answer = local.client.get(path)
        assert answer.status_code == 503
        assert "deceptive-answer" not in answer.text
        assert "the disk is full" in answer.text
    data = {"form_token": token, "reason": "triage"}
    sent = {"Origin": "http://127.0.0.1:8000"}
    answer = local.client.post(f"/alerts/{ALERT}/evidence", data=data, headers=sent)
    assert answer.status_code == 503
    assert not local.history.evidence_read
    data = {"form_token": token, "verdict": "true"}
    assert local.client.post(f"/alerts/{ALERT}/label", data=data, headers=sent).status_code == 503


def test_a_verdict_leads_back_to_the_view_it_was_given_in(local: Visit) -> None:
    data = {"verdict": "true", "reason": "quoted", "note": HOSTILE.replace("\x1b", "")}
    data |= {"back": "tenant=acme&from=2026-03-01&tz=Europe%2FBerlin"}
    answer = local.post(f"/alerts/{ALERT}/label", data)
    assert answer.status_code == 303
    assert answer.headers["location"] == (
        f"/queue?tenant=acme&from=2026-03-01&tz=Europe%2FBerlin&saved={ALERT}#a-{ALERT}"
    )
    given = local.history.labels[ALERT]
    assert [(one.verdict, one.reason, one.reviewer) for one in given] == [
        ("true", "quoted", "local:me")
    ]
    page = local.client.get(answer.headers["location"].partition("#")[0]).text
    assert "is saved" in page


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "\r\nX: y", "a=b&tz=x"])
def test_a_verdict_never_leads_away_from_the_queue(local: Visit, back: str) -> None:
    answer = local.post(f"/alerts/{ALERT}/label", {"verdict": "true", "back": back})
    if answer.status_code == 303:
        assert answer.headers["location"].startswith("/queue?")
        assert "evil" not in answer.headers["location"]
    else:
        assert answer.status_code == 422


def test_two_reviewers_who_differ_are_shown_to_differ(local: Visit) -> None:
    for verdict in ("true", "false"):
        local.post(f"/alerts/{ALERT}/label", {"verdict": verdict})
    assert "reviewers disagree" in local.client.get(f"/alerts/{ALERT}").text
    assert "≠ disagreed" in local.client.get("/queue?limit=1").text


def test_filters_in_the_address_are_those_of_the_form_and_of_every_link(local: Visit) -> None:
    page = local.client.get("/queue?tenant=acme&severity=high&status=live&limit=3").text
    found = Tags(page)
    rows = [tr for tr in found.having("tr") if tr.get("id", "").startswith("a-")]
    assert len(rows) == 3
    assert {"name": "tenant", "value": "acme", "maxlength": "256"}.items() <= next(
        field for field in found.having("input") if field.get("name") == "tenant"
    ).items()
    opens = [a["href"] for a in found.having("a") if a.get("class") == "open"]
    assert all(a.endswith("?q=tenant%3Dacme%26severity%3Dhigh%26status%3Dlive") for a in opens)
    older = next(a["href"] for a in found.having("a") if a.get("rel") == "next")
    assert older == "/queue?tenant=acme&severity=high&status=live&after=3&limit=3"


def test_a_random_sample_is_marked(local: Visit) -> None:
    page = local.client.get("/queue").text
    assert page.count("random sample</span>") == 5  # rows 5, 16, 27, 38, 49
    assert "random sample</span>" not in local.client.get("/queue?samples=false").text


def test_none_is_not_the_same_as_no_data(local: Visit) -> None:
    page = local.client.get("/queue?tenant=nobody").text
    said = "Nothing matches. In the last 24 hours: coverage 99.58 % of 984,000 tokens; 1 hour"
    assert said in page
    assert "none found, but 4,096 of 984,000 tokens not scored" in page
    assert "weak evidence" in page
    local.history.empty = True
    assert (
        "no data in that time; nothing follows: nobody is known" in local.client.get("/queue").text
    )


def test_times_are_in_the_chosen_zone_with_utc_beside_them(local: Visit) -> None:
    assert local.post("/zone", {"tz": "Asia/Kolkata"}).status_code == 303
    found = Tags(local.client.get(f"/alerts/{ALERT}").text)
    assert {
        "datetime": "2026-03-04T12:00:00Z",
        "title": "2026-03-04 12:00:00 UTC",
    } in found.having("time")
    assert any("2026-03-04 17:30:00 IST" in text for text in found.texts)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", "UTC\x00"])
def test_a_zone_that_is_none_is_refused(local: Visit, zone: str) -> None:
    assert local.post("/zone", {"tz": zone}).status_code == 422
    assert local.client.get("/queue", params={"from": "2026-03-01", "tz": "x"}).status_code == 422


@pytest.mark.parametrize(
    "query",
    ["severity=worst", "limit=0", "limit=61", "from=yesterday", "from=2026-03-02&to=2026-03-01",
     "after=%00", "after=x", "tenant=" + "a" * 257, "tenant=%00", "from=0001-01-01"],
)  # fmt: skip
def test_values_that_are_none_are_named_and_refused(local: Visit, query: str) -> None:
    answer = local.client.get(f"/queue?{query}")
    assert answer.status_code == 422
    assert "deceptive-answer" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["/alerts/zz", "/alerts/" + "0" * 33, f"/alerts/{'f' * 32}", "/alerts/..%2f..%2fetc",
     "/cases/user/x", "/cases/model/" + "5" * 32, "/rules/nope", "/rules/..%2f", "/features/nope"],
)  # fmt: skip
def test_what_does_not_exist_is_not_there(local: Visit, path: str) -> None:
    assert local.client.get(path).status_code in (404, 422)


def test_a_short_id_is_enough_where_it_is_unique(local: Visit) -> None:
    assert local.client.get(f"/alerts/{ALERT[:12]}").status_code == 200
    assert (
        local.client.get(f"/alerts/{ALERT[:6]}").status_code == 422
    )  # shorter than any that history takes


def test_overview_says_what_was_not_seen(visit_as: Callable[[str], Visit]) -> None:
    page = visit_as("viewer/*").client.get("/").text
    for said in (
        "99.58 %",
        "prefix cache",
        "blind: it has",
        "unaccounted for",
        "31 min",
        "40 s",
    ):
        assert said in page, said


def test_overview_says_who_had_it_look_away_and_when_a_canary_last_arrived(local: Visit) -> None:
    page = " ".join(Tags(local.client.get("/").text).texts)
    for said in (
        "gpu-node-2 is paused",
        "uid 1000",
        "INC-441",
        "over: resumed; 41,200 tokens were not looked at",
        "21 min ago",
        "none yet",
    ):
        assert said in page, said
    assert "gpu-node-1 is paused" not in page


def test_overview_says_to_who_sees_some_tenants_that_it_looked_away(
    visit_as: Callable[[str], Visit],
) -> None:
    """And that more is known: a blank would read as if nobody had said why."""
    page = " ".join(Tags(visit_as("reviewer/acme").client.get("/").text).texts)
    assert "gpu-node-2 is paused" in page
    assert "paused now: what arrives is counted, and not looked at" in page
    assert "shown to who sees all tenants" in page
    assert "uid" not in page


def test_overview_says_that_activations_have_left_and_who_asked_to_whom_it_may_concern(
    local: Visit, visit_as: Callable[[str], Visit]
) -> None:
    page = " ".join(Tags(local.client.get("/").text).texts)
    for said in (
        "Captures of activations",
        "gpu-node-3",
        "uid 1001",
        "INC-442",
        "of 31 requests have left",
    ):
        assert said in page, said
    page = " ".join(Tags(visit_as("reviewer/acme").client.get("/").text).texts)
    assert "of 31 requests have left" in page
    assert "INC-442" not in page
    assert "uid" not in page


@pytest.mark.parametrize("path", ["/", "/audit"])
def test_that_nothing_can_be_written_is_said_first(local: Visit, path: str) -> None:
    assert "nothing can be written" not in local.client.get(path).text
    local.history.stalled = "/data/hot.db: cannot commit: <disk full>"
    text = local.client.get(path).text
    assert "nothing can be written" in text
    assert "cannot commit: &lt;disk full&gt;" in text


def test_every_looking_is_recorded_with_who_and_what(local: Visit) -> None:
    local.client.get("/queue?tenant=acme")
    local.client.get(f"/alerts/{ALERT}")
    local.client.get("/cases/user/" + "5" * 32)
    local.client.get("/audit")
    assert local.history.accesses == [
        ("query", "local:me", "queue?tenant=acme", ""),
        ("view", "local:me", f"alert {ALERT}", ""),
        ("query", "local:me", "case user " + "5" * 32, ""),
        ("query", "local:me", "audit page", ""),
    ]


def test_now_of_the_site_is_the_one_it_was_given(local: Visit) -> None:
    assert NOW_NS == 1_772_625_600_000_000_000
    assert "2026-03-04 12:00:00 UTC" in local.client.get("/").text


def test_a_gap_of_positions_has_no_time_and_one_of_all_no_source(
    local: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = local.history.overview(Reader("me"), "UTC")
    gaps = (
        shown_log.Gap("pod-7", 0, 0, "positions 5 to 9 never came"),
        shown_log.Gap("", NOW_NS - 7200 * 10**9, NOW_NS, "not known to be watched"),
    )
    changed = replace(found, log=replace(found.log, gaps=gaps), taps=(), unasked="not known: why")
    monkeypatch.setattr(local.history, "overview", lambda *_: changed)
    page = local.client.get("/").text.replace("</li>", "\n")
    text = re.sub(r"<[^>]+>", "", page)
    assert "! pod-7: positions 5 to 9 never came\n" in text
    assert "! not known to be watched for 2 h, from 2026-03-04 10:00:00 UTC" in text
    assert "1970" not in text
    assert "No tap has reported" not in text
