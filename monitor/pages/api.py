"""The same data for programs, under `/api/v1`, described by OpenAPI; and the log's files for any tlog client.

Owns the routes and the schema. What may be seen, and that it is recorded first, is settled as for the pages.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Path, Query
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dosimeter.monitor.pages import shown, shown_alerts, shown_overview
from dosimeter.monitor.pages.asked import AlertId, EvidenceIn, LabelIn, Name, QueryIn, QueueAsk
from dosimeter.monitor.pages.filters import Filters
from dosimeter.monitor.pages.problems import FieldProblem, Problem, responses
from dosimeter.monitor.pages.site import Here, Visitor

BASE = "/api/v1"
VERSION = "1"


class Health(BaseModel):
    """Of the process, for a probe; it says nothing of what is stored.

    stalled: nothing can be written now. A new start would not help, and the pages can be read: still 200.
    """

    status: Literal["ok", "stalled"]


def healthz(site: Here) -> Health:
    return Health(status="stalled" if site.source.is_stalled() else "ok")


def overview(request: Request, site: Here, person: Visitor) -> shown_overview.Overview:
    """Coverage of the last 24 hours, alerts by day, sinks, taps, drift and the log."""
    site.need(person, "look")
    return site.source.overview(person.reader, site.renderer.zone(request).key)


def alerts(
    request: Request, site: Here, person: Visitor, asked: Annotated[QueueAsk, Query()]
) -> shown_alerts.QueuePage:
    """The queue, newest first; `next` is the `after` of the following page."""
    site.need(person, "look")
    filters = Filters(**asked.model_dump(include=set(Filters.model_fields)))
    resolved = filters.resolved(site.renderer.zone(request).key)
    site.record("query", person, f"queue?{filters.written()}")
    return site.source.queue(resolved, person.reader, asked.after, asked.limit)


def alert(site: Here, person: Visitor, alert_id: AlertId) -> shown_alerts.AlertView:
    """One alert or sample, without anything personal."""
    site.need(person, "look")
    return site.alert(alert_id, person)


def evidence(
    request: Request, site: Here, person: Visitor, alert_id: AlertId, asked: EvidenceIn
) -> shown_alerts.Evidence:
    """Scores, texts where they are kept, and labels; the reason is recorded first."""
    site.need(person, "text")
    site.sent(request, person)
    found = site.evidence(site.alert(alert_id, person), person, asked.reason)
    if found is None:
        raise HTTPException(404, "there is no evidence of it, or it was erased")
    return found


def label(
    request: Request, site: Here, person: Visitor, alert_id: AlertId, asked: LabelIn
) -> shown_alerts.LabelEntry:
    """A verdict; a later one of the same reviewer stands beside the earlier."""
    site.need(person, "label")
    site.sent(request, person)
    found = site.source.label(alert_id, asked.verdict, asked.reason, asked.note, person.reader)
    if found is None:
        raise HTTPException(404, "no such alert, or not one of yours")
    return found


def queries(site: Here, person: Visitor) -> tuple[shown.NamedQuery, ...]:
    """What can be asked by name."""
    site.need(person, "query")
    return site.source.queries()


def query(request: Request, site: Here, person: Visitor, name: Name, asked: QueryIn) -> shown.Table:
    """Ask one of them. A POST, since being asked is itself an entry in the log."""
    site.need(person, "query")
    site.sent(request, person)
    given = urlencode(sorted(asked.parameters.items()))
    site.record("query", person, f"query {name}?{given}", asked.reason)
    found = site.source.query(name, asked.parameters, person.reader, asked.limit)
    if found is None:
        raise HTTPException(404, "no query of that name")
    return found


_GROUPS = r"(?:x[0-9]{3}/){0,5}[0-9]{3}"
_WIDTH = r"(?:\.p/(?:[1-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?"
TILE = re.compile(rf"(?:entries|[0-9]|[1-5][0-9]|6[0-3])/{_GROUPS}{_WIDTH}")
"""`L/N[.p/W]` of C2SP tlog-tiles, with its own limits: levels 0 to 63, widths 1 to 255."""


def checkpoint(site: Here, person: Visitor) -> Response:
    """The newest signed tree head."""
    site.need(person, "look")
    body = site.source.log_file("checkpoint")
    if body is None:
        raise HTTPException(404, "the log has no checkpoint yet")
    return Response(body, media_type="text/plain; charset=utf-8")


def tile(
    site: Here,
    person: Visitor,
    path: Annotated[str, Path(max_length=100, description="`L/N[.p/W]`")],
) -> Response:
    """Hashes, or with `entries` in place of a level the entries themselves, for auditors alone."""
    site.need(person, "entries" if path.startswith("entries/") else "look")
    if not TILE.fullmatch(path):
        raise HTTPException(404, "no path of a tile")
    body = site.source.log_file(f"tile/{path}")
    if body is None:
        raise HTTPException(404, "the log has no such tile")
    kept = "no-store" if path.startswith("entries/") else "private, max-age=31536000, immutable"
    headers = {"Cache-Control": kept}
    return Response(body, media_type="application/octet-stream", headers=headers)


_KNOWN = responses(400, 401, 403, 413, 414, 421, 422, 500, 503)
_FOUND = _KNOWN | responses(404)
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}
}
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}
router = APIRouter()
for place, route, method, status, answers in (
    (f"{BASE}/overview", overview, "GET", 200, _KNOWN),
    (f"{BASE}/alerts", alerts, "GET", 200, _KNOWN),
    (f"{BASE}/alerts/{{alert_id}}", alert, "GET", 200, _FOUND),
    (f"{BASE}/alerts/{{alert_id}}/evidence", evidence, "POST", 200, _FOUND),
    (f"{BASE}/alerts/{{alert_id}}/labels", label, "POST", 201, _FOUND),
    (f"{BASE}/queries", queries, "GET", 200, _KNOWN),
    (f"{BASE}/queries/{{name}}", query, "POST", 200, _FOUND),
):
    router.add_api_route(
        place, route, methods=[method], status_code=status, responses=answers, tags=["history"]
    )
router.add_api_route(
    f"{BASE}/healthz",
    healthz,
    methods=["GET"],
    responses=responses(400, 413, 414, 421, 422, 500),
    tags=["process"],
)
for place, file, kind in (
    ("/log/checkpoint", checkpoint, _TEXT),
    ("/log/tile/{path:path}", tile, _BYTES),
):
    router.add_api_route(
        place, file, responses=_FOUND | kind, response_class=Response, tags=["log"]
    )


def describe(app: FastAPI) -> None:
    """The schema of what is above: refusals are Problems everywhere, and people identify themselves by a token."""

    def made() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title="Dosimeter history", version=VERSION, routes=app.routes, description=__doc__
            )
            parts = schema["components"]
            for unused in ("HTTPValidationError", "ValidationError"):
                parts["schemas"].pop(unused, None)
            template = "#/components/schemas/{model}"
            for model in (Problem, FieldProblem):
                made = model.model_json_schema(ref_template=template)
                made.pop("$defs", None)
                parts["schemas"][model.__name__] = made
            parts["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            }
            schema["security"] = [{"bearer": []}]
            app.openapi_schema = schema
        found: dict[str, Any] = app.openapi_schema
        return found

    app.openapi = made
