"""Forged forms: a token of nobody, of somebody else, or without its cookie."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dosimeter.monitor.pages.forgery import COOKIE, HEADER

from .conftest import ORIGIN, Visit
from .fake import alert_id

LABEL = f"/alerts/{alert_id(0)}/label"
API = f"/api/v1/alerts/{alert_id(0)}/labels"
SENT = {"Origin": ORIGIN}


@pytest.mark.parametrize("token", ["", "0" * 64, "z", "é" * 20, "0" * 200])
def test_a_form_without_its_token_changes_nothing(local: Visit, token: str) -> None:
    local.token()
    data = {"form_token": token, "verdict": "true"}
    assert local.client.post(LABEL, data=data, headers=SENT).status_code in (403, 422)
    assert not local.history.labels


def test_anothers_token_does_not_work_even_with_their_cookie(
    visit_as: Callable[[str], Visit],
) -> None:
    mine, theirs = visit_as("reviewer/*"), visit_as("reviewer/acme")
    token = theirs.token()
    mine.client.cookies.set(COOKIE, theirs.client.cookies[COOKIE])
    data = {"form_token": token, "verdict": "true"}
    assert mine.client.post(LABEL, data=data, headers=SENT).status_code == 403
    assert theirs.client.post(LABEL, data=data, headers=SENT).status_code == 200


def test_a_token_without_its_cookie_does_not_work(local: Visit) -> None:
    data = {"form_token": local.token(), "verdict": "true"}
    local.client.cookies.delete(COOKIE)
    assert local.client.post(LABEL, data=data, headers=SENT).status_code == 403


def test_every_form_of_every_page_has_the_token_or_changes_nothing(local: Visit) -> None:
    paths = ("/", "/queue", f"/alerts/{alert_id(0)}", "/rules/deceptive-answer", "/audit")
    for path in paths:
        page = local.client.get(path).text
        forms = page.split("<form ")[1:]
        assert forms
        for form in forms:
            posts = 'method="post"' in form.split(">", 1)[0]
            assert posts == ('name="form_token"' in form.split("</form>")[0])


def test_every_changing_route_refuses_a_form_without_token(local: Visit) -> None:
    for path, data in (
        ("/zone", {"tz": "UTC"}),
        (LABEL, {"verdict": "true"}),
        (f"/alerts/{alert_id(0)}/evidence", {"reason": "triage"}),
        ("/rules/deceptive-answer/try", {"do": "lint", "text": "x"}),
    ):
        assert local.client.post(path, data=data, headers=SENT).status_code == 403, path
    assert not local.history.evidence_read


def test_a_program_with_a_session_needs_the_token_in_a_header(local: Visit) -> None:
    token = local.token()
    body = {"verdict": "false"}
    assert local.client.post(API, json=body, headers=SENT).status_code == 403
    assert local.client.post(API, json=body, headers=SENT | {HEADER: token}).status_code == 201


def test_a_program_with_a_bearer_token_needs_no_origin_and_no_form(
    visit_as: Callable[[str], Visit],
) -> None:
    visit = visit_as("reviewer/acme")
    body = {"verdict": "false"}
    assert visit.client.post(API, json=body).status_code == 403
    bearer = {"Authorization": "Bearer x"}
    assert visit.client.post(API, json=body, headers=bearer).status_code == 201
    plain = bearer | {"Content-Type": "text/plain"}
    answer = visit.client.post(API, content=b'{"verdict":"true"}', headers=plain)
    assert answer.status_code == 422
