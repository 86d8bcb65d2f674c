"""The page of a rule: read it, edit it, and see what the edit would do before it becomes a patch for git.

Nothing here changes a rule in force; the patch goes through the operator's own review. It knows the callables of the
source and nothing of the rule language.
"""

from __future__ import annotations

import threading
from typing import Annotated, Any

from fastapi import APIRouter, Form
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dosimeter.monitor.pages import presenting, shown_rules
from dosimeter.monitor.pages.access import Person
from dosimeter.monitor.pages.asked import Name, TryForm
from dosimeter.monitor.pages.patch import unified
from dosimeter.monitor.pages.site import Here, Site, Visitor
from dosimeter.monitor.pages.source import NotPossible

_one_backtest = threading.Lock()
"""It reads the whole archive; two at once would only make both late."""


def rules(request: Request, site: Here, person: Visitor) -> Response:
    site.need(person, "look")
    return site.renderer.page(request, person, "rules", of=site.source.rules(person.reader))


def rule(request: Request, site: Here, person: Visitor, name: Name) -> Response:
    site.need(person, "look")
    found = _rule(request, site, person, name)
    return _page(request, site, person, found, found.text)


def try_out(
    request: Request, site: Here, person: Visitor, name: Name, form: Annotated[TryForm, Form()]
) -> Response:
    site.need(person, "edit")
    site.posted(request, person, form.form_token)
    found = _rule(request, site, person, name)
    text = form.text.replace("\r\n", "\n")
    findings = site.source.lint(name, text)
    tried: dict[str, Any] = {"did": form.do, "findings": findings}
    if not any(one.severity == "error" for one in findings):
        try:
            if form.do == "patch":
                patch = unified(found.path, found.text, text)
                if patch:
                    return _download(f"{name}.patch", patch)
                tried["refused"] = "the text is as it was, so there is nothing to patch"
            elif form.do == "test":
                tried["tests"] = site.source.try_tests(name, text)
            elif form.do == "backtest":
                tried["backtest"] = _backtest(
                    site, name, text, site.renderer.zone(request).key, person
                )
        except NotPossible as error:
            tried["refused"] = str(error)
    return _page(request, site, person, found, text, **tried)


def _rule(request: Request, site: Site, person: Person, name: str) -> shown_rules.RuleView:
    found = site.source.rule(name, person.reader, site.renderer.zone(request).key)
    if found is None:
        raise HTTPException(404, "no rule of that name is in force, or was")
    return found


def _backtest(site: Site, name: str, text: str, zone: str, person: Person) -> shown_rules.Backtest:
    if not _one_backtest.acquire(blocking=False):
        raise NotPossible("another backtest is running; repeat this when it has ended")
    try:
        return site.source.backtest(name, text, zone, person.reader)
    finally:
        _one_backtest.release()


def _download(name: str, text: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type="text/x-diff; charset=utf-8", headers=headers)


def _page(
    request: Request,
    site: Site,
    person: Person,
    found: shown_rules.RuleView,
    text: str,
    **tried: Any,
) -> Response:
    shown_as: dict[str, Any] = {
        "did": "",
        "findings": (),
        "tests": (),
        "backtest": None,
        "refused": "",
        "may_edit": person.may("edit"),
        "invisible": presenting.invisible(text),
    }
    return site.renderer.page(request, person, "rule", of=found, text=text, **shown_as | tried)


router = APIRouter(include_in_schema=False)
router.add_api_route("/rules", rules, methods=["GET"], response_class=Response)
router.add_api_route("/rules/{name}", rule, methods=["GET"], response_class=Response)
router.add_api_route("/rules/{name}/try", try_out, methods=["POST"], response_class=Response)
