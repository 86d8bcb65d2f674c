"""What every request passes and every answer carries."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from dosimeter.monitor.config_pages import OidcConfig, PagesConfig
from dosimeter.monitor.pages.app import make_app

from .conftest import ORIGIN, Named, Visit
from .fake import FakeHistory, alert_id

LABEL = f"/alerts/{alert_id(0)}/label"


def test_every_answer_carries_the_security_headers(local: Visit) -> None:
    for path in ("/", "/queue", "/nope", "/static/pages.css", "/api/v1/alerts", "/log/checkpoint"):
        headers = local.client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
    assert local.client.get("/queue").headers["cache-control"] == "no-store"


def test_a_failure_on_our_side_carries_them_too_and_tells_nothing(
    history: FakeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "overview", lambda *_: 1 / 0)
    client = TestClient(make_app(history, Named()), base_url=ORIGIN, raise_server_exceptions=False)
    answer = client.get("/", headers={"X-As": "viewer/*"})
    assert answer.status_code == 500
    assert "content-security-policy" in answer.headers
    assert "division" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.", "", "a b"]
)
def test_another_name_for_this_site_is_refused_before_anything_is_shown(
    local: Visit, host: str
) -> None:
    answer = local.client.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert "Alerts by day" not in answer.text


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:7788"])
def test_every_loopback_name_is_ours_where_no_public_name_is_set(local: Visit, host: str) -> None:
    assert local.client.get("/api/v1/healthz", headers={"Host": host}).status_code == 200


def test_a_public_site_answers_to_its_own_name_alone(history: FakeHistory) -> None:
    oidc = OidcConfig("https://id.example", "dosimeter", "https://id.example/keys")
    config = PagesConfig(oidc=oidc, public_url="https://history.example/")
    client = TestClient(make_app(history, Named(), config), base_url="https://history.example")
    assert client.get("/api/v1/healthz").status_code == 200
    assert "max-age" in client.get("/api/v1/healthz").headers["strict-transport-security"]
    assert client.get("/api/v1/healthz", headers={"Host": "localhost"}).status_code == 421
    sent = {"X-As": "reviewer/*"}
    page = client.get("/queue", headers=sent)
    assert "Secure" in page.headers["set-cookie"]
    answer = client.post(LABEL, headers=sent | {"Origin": "http://history.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8001"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_change_that_comes_from_elsewhere_is_refused_even_with_the_forms_token(
    local: Visit, headers: dict[str, str]
) -> None:
    data = {"form_token": local.token(), "verdict": "true"}
    assert local.client.post(LABEL, data=data, headers=headers).status_code == 403
    assert not local.history.labels


def test_a_body_over_the_limit_is_refused_with_and_without_its_length(local: Visit) -> None:
    sent = {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}
    large = b"note=" + b"a" * (256 << 10)
    assert local.client.post(LABEL, content=large, headers=sent).status_code == 413
    pieces = (large[i : i + 4096] for i in range(0, len(large), 4096))
    assert local.client.post(LABEL, content=pieces, headers=sent).status_code == 413


def test_a_long_address_is_refused(local: Visit) -> None:
    assert local.client.get("/queue?tenant=" + "a" * 9000).status_code == 414


def test_refusals_under_the_api_are_problems_of_rfc_9457(local: Visit) -> None:
    answer = local.client.get("/api/v1/alerts", headers={"Host": "evil.example"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code == 421
    assert answer.json()["title"] == "Misdirected Request"
