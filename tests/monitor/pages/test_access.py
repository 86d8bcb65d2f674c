"""Who may see and do what, asked of the running site: one table of answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dosimeter.monitor.pages.access import Role

from .conftest import ORIGIN, Visit
from .fake import alert_id

ACME, GLOBEX = alert_id(0), alert_id(1)
ALL = set(Role)
R, A, AU, AP = Role.REVIEWER, Role.AUTHOR, Role.AUDITOR, Role.APPROVER
FORM = {
    "label": (f"/alerts/{ACME}/label", {"verdict": "true"}),
    "evidence": (f"/alerts/{ACME}/evidence", {"reason": "triage"}),
    "lint": ("/rules/deceptive-answer/try", {"do": "lint", "text": "version: 1"}),
}
PAGES = {
    "/": ALL,
    "/queue": ALL,
    f"/alerts/{ACME}": ALL,
    "/cases/user/" + "5" * 32: ALL,
    "/rules": ALL,
    "/rules/deceptive-answer": ALL,
    "/features/deception": ALL,
    "/audit": {AU},
    "/api/v1/overview": ALL,
    "/api/v1/queries": {AU},
    "/log/checkpoint": ALL,
    "/log/tile/0/000": ALL,
    "/log/tile/entries/000": {AU},
}
FORMS = {"label": {R}, "evidence": {R, AU}, "lint": {A, AP}}


@pytest.mark.parametrize("role", list(Role))
def test_each_role_sees_its_pages_and_no_other(
    visit_as: Callable[[str], Visit], role: Role
) -> None:
    visit = visit_as(f"{role}/acme")
    for path, allowed in PAGES.items():
        wanted = 200 if role in allowed else 403
        assert visit.client.get(path).status_code == wanted, path


@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_do_what_is_its_and_no_other(
    visit_as: Callable[[str], Visit], role: Role
) -> None:
    visit = visit_as(f"{role}/acme")
    for name, allowed in FORMS.items():
        answer = visit.post(*FORM[name])
        assert (answer.status_code in (200, 303)) == (role in allowed), name
        if role not in allowed:
            assert answer.status_code == 403


@pytest.mark.parametrize("role", ["viewer", "author", "approver", "operator"])
def test_who_may_not_read_text_is_shown_none_and_no_form_to_ask_for_it(
    visit_as: Callable[[str], Visit], role: str
) -> None:
    visit = visit_as(f"{role}/*")
    page = visit.client.get(f"/alerts/{ACME}").text
    assert "Sealed." in page
    assert 'id="reason"' not in page
    visit.post(*FORM["evidence"])
    assert not visit.history.evidence_read


def test_a_reviewer_reads_their_own_tenants_alone(visit_as: Callable[[str], Visit]) -> None:
    visit = visit_as("reviewer/acme")
    assert visit.client.get(f"/alerts/{GLOBEX}").status_code == 404
    assert visit.post(f"/alerts/{GLOBEX}/evidence", {"reason": "triage"}).status_code == 404
    assert visit.post(f"/alerts/{GLOBEX}/label", {"verdict": "true"}).status_code == 404
    assert "globex" not in visit.client.get("/queue").text
    assert not visit.history.evidence_read


def test_an_auditors_look_at_text_is_named_for_what_it_is(visit_as: Callable[[str], Visit]) -> None:
    visit = visit_as("auditor/")
    assert "Break glass" in visit.client.get(f"/alerts/{GLOBEX}").text
    answer = visit.post(f"/alerts/{GLOBEX}/evidence", {"reason": "complaint 12"})
    assert answer.status_code == 200
    assert visit.history.accesses[-1] == ("view", "j.doe", f"evidence {GLOBEX}", "complaint 12")


@pytest.mark.parametrize("reason", ["", "  ", "ab", "a" * 301, "x\x00yz"])
def test_text_without_a_reason_stays_sealed(visit_as: Callable[[str], Visit], reason: str) -> None:
    visit = visit_as("reviewer/acme")
    answer = visit.post(f"/alerts/{ACME}/evidence", {"reason": reason})
    assert answer.status_code == 422
    sent = {"Origin": ORIGIN}
    body = {"reason": reason}
    answer = visit.client.post(f"/api/v1/alerts/{ACME}/evidence", json=body, headers=sent)
    assert answer.status_code == 422
    assert not visit.history.evidence_read


def test_roles_add_up(visit_as: Callable[[str], Visit]) -> None:
    visit = visit_as("author,auditor/acme")
    assert visit.client.get("/audit").status_code == 200
    assert visit.post(*FORM["lint"]).status_code == 200
    assert visit.post(*FORM["label"]).status_code == 403
