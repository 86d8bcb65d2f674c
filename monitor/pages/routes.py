"""The pages: overview, queue, alert, case, feature, audit.

Each route settles who may see it, records the access and hands data to a template. What rules are edited with is in
`rule_routes.py`; the same data for programs is in `api.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Path, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dosimeter.monitor.pages import presenting, shown_alerts
from dosimeter.monitor.pages.access import Person
from dosimeter.monitor.pages.asked import (
    REASONS,
    AlertId,
    EvidenceForm,
    LabelForm,
    Name,
    QueueVisit,
    SubjectId,
    ZoneForm,
)
from dosimeter.monitor.pages.filters import Filters, back_to
from dosimeter.monitor.pages.forgery import set_cookie
from dosimeter.monitor.pages.local import COOKIE, LASTS_S, LocalLink
from dosimeter.monitor.pages.render import ZONE_COOKIE
from dosimeter.monitor.pages.site import Here, Site, Visitor
from dosimeter.monitor.pages.times import zone_named

YEAR_S = 365 * 86_400


def enter(request: Request, site: Here, token: Annotated[str, Query(max_length=100)]) -> Response:
    """The link that was printed at the start becomes a session."""
    if not isinstance(site.who, LocalLink):
        raise HTTPException(404, "people come here through their identity provider")
    session = site.who.enter(request, token)
    answer = RedirectResponse("/", 303)
    set_cookie(answer, COOKIE, session, secure=site.renderer.secure, lasts_s=int(LASTS_S))
    return answer


def choose_zone(
    request: Request, site: Here, person: Visitor, form: Annotated[ZoneForm, Form()]
) -> Response:
    site.posted(request, person, form.form_token)
    zone_named(form.tz)
    answer = RedirectResponse("/", 303)
    set_cookie(answer, ZONE_COOKIE, form.tz, secure=site.renderer.secure, lasts_s=YEAR_S)
    return answer


def overview(request: Request, site: Here, person: Visitor) -> Response:
    site.need(person, "look")
    zone = site.renderer.zone(request)
    found = site.source.overview(person.reader, zone.key)
    return site.renderer.page(request, person, "overview", of=found)


def queue(
    request: Request, site: Here, person: Visitor, asked: Annotated[QueueVisit, Query()]
) -> Response:
    site.need(person, "look")
    zone = site.renderer.zone(request)
    filters = Filters(**asked.model_dump(include=set(Filters.model_fields)))
    resolved = filters.resolved(zone.key)
    site.record("query", person, f"queue?{filters.written()}")
    found = site.source.queue(resolved, person.reader, asked.after, asked.limit)
    return site.renderer.page(
        request,
        person,
        "queue",
        zone=zone_named(asked.tz) if asked.tz else None,
        of=found,
        filters=filters,
        back=filters.written(),
        link=filters.written(tz=filters.tz or zone.key),
        saved=asked.saved,
        older=filters.written(after=found.next, limit=str(asked.limit)) if found.next else "",
    )


def alert(
    request: Request,
    site: Here,
    person: Visitor,
    alert_id: AlertId,
    q: Annotated[str | None, Query(max_length=4096)] = None,
) -> Response:
    site.need(person, "look")
    return _alert_page(request, site, person, site.alert(alert_id, person), back=q)


def evidence(
    request: Request,
    site: Here,
    person: Visitor,
    alert_id: AlertId,
    form: Annotated[EvidenceForm, Form()],
) -> Response:
    """The page again, with what was said: never behind an address that could be shared or reloaded unseen."""
    site.need(person, "text")
    site.posted(request, person, form.form_token)
    found = site.alert(alert_id, person)
    seen = site.evidence(found, person, form.reason)
    return _alert_page(request, site, person, found, back=form.back, seen=seen, reason=form.reason)


def label(
    request: Request,
    site: Here,
    person: Visitor,
    alert_id: AlertId,
    form: Annotated[LabelForm, Form()],
) -> Response:
    site.need(person, "label")
    site.posted(request, person, form.form_token)
    entry = site.source.label(alert_id, form.verdict, form.reason, form.note, person.reader)
    if entry is None:
        raise HTTPException(404, "no such alert, or not one of yours")
    if form.back is None:
        return RedirectResponse(f"/alerts/{alert_id}", 303)
    to = back_to(form.back)
    return RedirectResponse(f"{to}{'&' if '?' in to else '?'}saved={alert_id}#a-{alert_id}", 303)


def case(
    request: Request,
    site: Here,
    person: Visitor,
    by: Annotated[Literal["user", "tenant", "conversation"], Path()],
    subject_id: SubjectId,
) -> Response:
    site.need(person, "look")
    site.record("query", person, f"case {by} {subject_id}")
    found = site.source.case(by, subject_id, person.reader, site.renderer.zone(request).key)
    if found is None:
        raise HTTPException(404, f"nothing is known of this {by}, or it is not one of yours")
    return site.renderer.page(request, person, "case", of=found, back="", label=False)


def features(request: Request, site: Here, person: Visitor) -> Response:
    site.need(person, "look")
    return site.renderer.page(request, person, "features", names=site.source.features())


def feature(request: Request, site: Here, person: Visitor, name: Name) -> Response:
    site.need(person, "look")
    found = site.source.feature(name)
    if found is None:
        raise HTTPException(404, "no such feature is defined here")
    return site.renderer.page(request, person, "feature", card=found)


def audit(request: Request, site: Here, person: Visitor) -> Response:
    site.need(person, "audit")
    site.record("query", person, "audit page")
    return site.renderer.page(request, person, "audit", of=site.source.audit(person.reader))


def _alert_page(
    request: Request,
    site: Site,
    person: Person,
    found: shown_alerts.AlertView,
    *,
    back: str | None,
    seen: shown_alerts.Evidence | None = None,
    reason: str = "",
) -> Response:
    labels = seen.labels if seen else {}
    zone: ZoneInfo = site.renderer.zone(request)
    more: dict[str, Any] = {
        "strips": presenting.strips(found, seen) if seen else [],
        "transcript": presenting.transcript_link(site.config.transcript_url, labels),
        "trace": presenting.trace_link(site.config.trace_url, labels),
        "may_read": person.may_read_text_of(found.tenant),
        "back": None if back is None else back_to(back).removeprefix("/queue").lstrip("?"),
        "reasons": REASONS,
    }
    return site.renderer.page(
        request, person, "alert", zone=zone, of=found, seen=seen, reason=reason, **more
    )


_GET, _POST = ["GET"], ["POST"]
router = APIRouter(include_in_schema=False)
for path, route, methods in (
    ("/enter", enter, _GET),
    ("/zone", choose_zone, _POST),
    ("/", overview, _GET),
    ("/queue", queue, _GET),
    ("/alerts/{alert_id}", alert, _GET),
    ("/alerts/{alert_id}/evidence", evidence, _POST),
    ("/alerts/{alert_id}/label", label, _POST),
    ("/cases/{by}/{subject_id}", case, _GET),
    ("/features", features, _GET),
    ("/features/{name}", feature, _GET),
    ("/audit", audit, _GET),
):
    router.add_api_route(path, route, methods=methods, response_class=Response)
