"""The API: the same data as the pages, refusals as RFC 9457 says, and the log's files."""

from __future__ import annotations

from collections.abc import Callable

import jsonschema
import pytest

from .conftest import Visit
from .fake import NOW_NS, alert_id

ALERT = alert_id(0)
BEARER = {"Authorization": "Bearer x"}


@pytest.fixture
def reviewer(visit_as: Callable[[str], Visit]) -> Visit:
    return visit_as("reviewer/acme")


@pytest.fixture
def auditor(visit_as: Callable[[str], Visit]) -> Visit:
    return visit_as("auditor/")


def test_pages_of_the_queue_follow_each_other_and_leave_nothing_out(auditor: Visit) -> None:
    seen, after = [], None
    while True:
        asked = {"limit": "50"} | ({"after": after} if after else {})
        page = auditor.client.get("/api/v1/alerts", params=asked).json()
        seen += [row["id"] for row in page["rows"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [alert_id(n) for n in range(120)]


def test_filters_mean_the_same_as_on_the_page(auditor: Visit) -> None:
    asked = "tenant=acme&from=2026-03-04T11:00&to=2026-03-04T13:00&tz=Europe/Berlin&samples=false"
    rows = auditor.client.get(f"/api/v1/alerts?{asked}").json()["rows"]
    ids = [row["id"] for row in rows]
    # from 10:00 to 12:00 UTC, every 7 minutes back from 12:00 (n = 0, not in it), acme each third
    assert ids == [alert_id(n) for n in range(1, 18) if n % 3 == 0 and n % 11 != 5]
    page = auditor.client.get(f"/queue?{asked}").text
    assert [n for n in range(120) if f'id="a-{alert_id(n)}"' in page] == [
        n for n in range(1, 18) if n % 3 == 0 and n % 11 != 5
    ]


def test_an_alert_has_its_conditions_and_its_place_in_the_log(reviewer: Visit) -> None:
    found = reviewer.client.get(f"/api/v1/alerts/{ALERT}").json()
    assert found["clauses"][0]["rarity"] == "1 in 12,400"
    assert found["proof"]["index"] == 41_000
    assert found["time_ns"] == NOW_NS
    assert "summary" not in found
    assert not reviewer.history.evidence_read


def test_evidence_for_a_reason_which_is_recorded_first(reviewer: Visit) -> None:
    body = {"reason": "second  review"}
    path = f"/api/v1/alerts/{ALERT}/evidence"
    found = reviewer.client.post(path, json=body, headers=BEARER).json()
    assert found["columns"] == ["deception", "scam"]
    assert found["codes"][6] == [None, 118]
    assert reviewer.history.accesses[-1] == ("view", "j.doe", f"evidence {ALERT}", "second review")
    erased = f"/api/v1/alerts/{alert_id(3)}/evidence"
    assert reviewer.client.post(erased, json=body, headers=BEARER).status_code == 404


def test_a_label_is_created_and_found_again(reviewer: Visit) -> None:
    body = {"verdict": "false", "reason": "fiction", "note": "a play"}
    path = f"/api/v1/alerts/{ALERT}"
    answer = reviewer.client.post(f"{path}/labels", json=body, headers=BEARER)
    assert answer.status_code == 201
    assert answer.json() == {"time_ns": NOW_NS, "reviewer": "j.doe"} | body
    (label,) = reviewer.client.get(path).json()["labels"]
    assert (label["verdict"], label["note"]) == ("false", None)


@pytest.mark.parametrize(
    "body",
    [{}, {"verdict": "maybe"}, {"verdict": "true", "reason": "because"}, {"verdict": "true", "x": 1},
     {"verdict": "true", "note": "a" * 2001}, {"verdict": "true", "note": "\x00"}, [], "true", None],
)  # fmt: skip
def test_a_label_that_is_none_is_a_problem_that_names_the_field(
    reviewer: Visit, body: object
) -> None:
    path = f"/api/v1/alerts/{ALERT}/labels"
    answer = reviewer.client.post(path, json=body, headers=BEARER)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422
    assert problem["errors"][0]["field"].startswith("body")


def test_queries_by_name(auditor: Visit) -> None:
    (known,) = auditor.client.get("/api/v1/queries").json()
    assert known["parameters"] == ["rule"]
    body = {"parameters": {"rule": "deceptive-answer"}, "limit": 1, "reason": "case 12"}
    found = auditor.client.post("/api/v1/queries/by-day", json=body, headers=BEARER).json()
    assert found == {
        "columns": ["day", "alerts"],
        "rows": [["2026-03-01", 12]],
        "said": "coverage 99.98 %",
    }
    assert auditor.history.accesses[-1] == (
        "query",
        "j.doe",
        "query by-day?rule=deceptive-answer",
        "case 12",
    )
    wrong = {"parameters": {"sql": "DROP TABLE entry"}}
    answer = auditor.client.post("/api/v1/queries/by-day", json=wrong, headers=BEARER)
    assert answer.status_code == 422
    for asked, said in (("0" * 31, "or several begin so"), ("0" * 32, "not one of yours")):
        answer = auditor.client.get(f"/api/v1/alerts/{asked}", headers=BEARER)
        assert answer.status_code == 404
        assert answer.json()["detail"].endswith(said)
    assert auditor.client.post("/api/v1/queries/x", json={}, headers=BEARER).status_code == 404


def test_nothing_is_answered_that_cannot_be_recorded(auditor: Visit) -> None:
    auditor.history.refuse = True
    for path in ("/api/v1/alerts", f"/api/v1/alerts/{ALERT}"):
        answer = auditor.client.get(path)
        assert answer.status_code == 503
        assert set(answer.json()) == {"type", "title", "status", "detail", "errors"}
    answer = auditor.client.post("/api/v1/queries/by-day", json={}, headers=BEARER)
    assert answer.status_code == 503


def test_health_is_for_everybody_and_says_nothing(auditor: Visit) -> None:
    auditor.client.headers.pop("X-As")
    assert auditor.client.get("/api/v1/healthz").json() == {"status": "ok"}
    auditor.history.stalled = "/data/hot.db: cannot commit: disk full"
    answer = auditor.client.get("/api/v1/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "stalled"})
    answer = auditor.client.get("/api/v1/overview")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_logs_files_are_there_for_a_tlog_client(auditor: Visit) -> None:
    head = auditor.client.get("/log/checkpoint")
    assert head.content == b"history.example/dosimeter\n41208\nCsUYapGG...\n"
    assert head.headers["cache-control"] == "no-store"
    full = auditor.client.get("/log/tile/0/000")
    assert len(full.content) == 8192
    assert "immutable" in full.headers["cache-control"]
    assert auditor.client.get("/log/tile/entries/000").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    ["0/000", "63/x001/x234/067", "entries/x001/067.p/255", "0/000.p/1"],
)
def test_paths_of_tiles_reach_the_log(
    auditor: Visit, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(auditor.history, "log_file", lambda p: asked.append(p) or b"")
    assert auditor.client.get(f"/log/tile/{path}").status_code == 200
    assert asked == [f"tile/{path}"]


@pytest.mark.parametrize(
    "path",
    ["..%2f..%2fkeys.db", "0/..", "0/000/..%2f..%2fcheckpoint", "%2fetc%2fpasswd", "64/000", "00/000",
     "0/0", "0/0000", "0/x000", "0/000.p/0", "0/000.p/256", "0/000.p/01", "0/000%00", "0/000%0a",
     "entries", "data/000", "0/x00a/000", "0/" + "x001/" * 30 + "000", "-1/000", "٣/000"],
)  # fmt: skip
def test_no_other_path_reaches_it(
    auditor: Visit, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(auditor.history, "log_file", lambda p: asked.append(p) or b"")
    answer = auditor.client.get(f"/log/tile/{path}")
    assert answer.status_code in (400, 404, 422)
    assert not asked


def test_the_description_names_every_refusal_and_bounds_every_text(auditor: Visit) -> None:
    schema = auditor.client.get("/api/v1/openapi.json").json()
    assert set(schema["paths"]) == {
        "/api/v1/overview",
        "/api/v1/alerts",
        "/api/v1/alerts/{alert_id}",
        "/api/v1/alerts/{alert_id}/evidence",
        "/api/v1/alerts/{alert_id}/labels",
        "/api/v1/queries",
        "/api/v1/queries/{name}",
        "/api/v1/healthz",
        "/log/checkpoint",
        "/log/tile/{path}",
    }
    for path, routes in schema["paths"].items():
        for route in routes.values():
            for status, answer in route["responses"].items():
                if status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"], path
            for parameter in route.get("parameters", []):
                for one in parameter["schema"].get("anyOf", [parameter["schema"]]):
                    if one.get("type") == "string":
                        assert {"maxLength", "pattern", "enum"} & set(one), parameter
    assert "HTTPValidationError" not in schema["components"]["schemas"]


def test_answers_are_as_described(auditor: Visit) -> None:
    schema = auditor.client.get("/api/v1/openapi.json").json()
    for path, name in (
        ("/api/v1/overview", "Overview"),
        ("/api/v1/alerts", "QueuePage"),
        (f"/api/v1/alerts/{ALERT}", "AlertView"),
        ("/api/v1/alerts?limit=0", "Problem"),
    ):
        found = auditor.client.get(path).json()
        known = {"$ref": f"#/components/schemas/{name}", "components": schema["components"]}
        jsonschema.validate(found, known)
