"""What of a question becomes part of the log, whatever somebody writes into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dosimeter.monitor.config_pages import PagesConfig
from dosimeter.monitor.pages.app import make_app
from tests.monitor.answers.answers_scene import NOW_NS, Answers, answers
from tests.monitor.pages.conftest import ORIGIN, Named


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    data: Path = tmp_path_factory.mktemp("source")
    with answers(data) as found:
        yield found


@pytest.fixture(scope="module")
def client(scene: Answers) -> TestClient:
    app = make_app(scene.source, Named(), PagesConfig(), now_ns=lambda: NOW_NS)
    headers = {"X-As": "auditor/*", "Authorization": "Bearer x"}
    return TestClient(app, base_url=ORIGIN, headers=headers, raise_server_exceptions=False)


def ask(client: TestClient, name: str, limit: int = 1000, **given: str) -> tuple[int, Any]:
    body = {"parameters": given, "limit": limit}
    answer = client.post(f"/api/v1/queries/{name}", json=body)
    return answer.status_code, answer.json()


@pytest.mark.parametrize(
    "rule", ["x?page=harmless", "x?subject=abc", "x&page=harmless", "?" + "&".join("abcdefgh" * 6)]
)
def test_no_text_of_a_question_passes_for_another_question(
    scene: Answers, client: TestClient, rule: str
) -> None:
    assert ask(client, "alerts", rule=rule)[0] == 200
    assert scene.accesses()[-1]["what"] == {"page": "query alerts", "rule": rule}


def test_ids_of_a_question_are_ids_and_names_are_withheld(
    scene: Answers, client: TestClient
) -> None:
    row = scene.alert(1)
    assert ask(client, "alerts", subject=row["subject"].upper(), limit=5)[0] == 200
    said = {"page": "query alerts", "subject": row["subject"]}
    assert scene.accesses()[-1]["what"] == said
    assert ask(client, "alerts", rule="user-1", severity="")[0] == 200
    said = {"page": "query alerts", "rule": "withheld", "severity": ""}
    assert scene.accesses()[-1]["what"] == said


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("alerts", {"subject": "user-1"}),
        ("alerts", {"tenant": "tenant-1"}),
        ("alerts", {"user": "user-1"}),
        ("alerts", {"page": "user-1"}),
        ("alerts", {"before_ns": "9"}),
        ("alerts", {"before_ns": "9" * 20, "before_idx": "1"}),
        ("values_per_day", {"width": "0"}),
    ],
)
def test_what_a_query_does_not_take_is_refused_and_is_no_part_of_the_log(
    scene: Answers, client: TestClient, name: str, given: dict[str, str]
) -> None:
    before = len(scene.accesses())
    status, said = ask(client, name, **given)
    assert (status, len(scene.accesses())) == (422, before), said


def test_a_query_that_is_none_is_recorded_by_its_name_alone(
    scene: Answers, client: TestClient
) -> None:
    assert ask(client, "nothing", subject="user-1")[0] == 404
    assert scene.accesses()[-1]["what"] == {"page": "query nothing"}


@pytest.mark.parametrize("after", [f"{2**63}-1", f"1-{'9' * 20}", "1-", "-1", "1.2-3"])
def test_a_page_that_is_none_is_refused(client: TestClient, after: str) -> None:
    answer = client.get("/api/v1/alerts", params={"after": after})
    assert answer.status_code == 422
    assert "this page of the queue is none" in answer.json()["detail"]


@pytest.mark.parametrize(("name", "rows"), [("alerts", 11), ("entries", 11), ("count_by_rule", 2)])
def test_an_answer_says_that_there_are_more_rows(client: TestClient, name: str, rows: int) -> None:
    """An answer cut without a word is taken for all that there is."""
    whole = ask(client, name, limit=rows)[1]
    assert (len(whole["rows"]), whole["said"]) == (rows, "")
    part = ask(client, name, limit=rows - 1)[1]
    assert part["rows"] == whole["rows"][:-1]
    assert part["said"] == f"the first {rows - 1} rows, and there are more"


def test_a_beginning_of_an_id_that_is_too_short_is_not_called_unknown(
    scene: Answers, client: TestClient
) -> None:
    """Of seven characters of an alert that is there it was said that there is no such alert."""
    id_ = scene.alert(11)["id"]
    assert client.get(f"/api/v1/alerts/{id_[:12]}").json()["id"] == id_
    assert client.get(f"/api/v1/alerts/{id_[:7]}").status_code == 422
