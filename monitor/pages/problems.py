"""What is answered when something is refused: RFC 9457 for programs, a page for people.

Owns the one place where errors become answers. It never shows more of the request than a field's name, since what was
refused is a stranger's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

from dosimeter.detectors.findings import visible
from dosimeter.monitor.pages.access import NotAdmitted
from dosimeter.monitor.pages.source import AccessRefused, NotPossible
from dosimeter.monitor.pages.times import BadTime

PROBLEM = "application/problem+json"
_FOR_PROGRAMS = ("/api/", "/log/")


class FieldProblem(BaseModel):
    """One value that was not accepted."""

    field: str = Field(description="where it stands, such as `query.limit`")
    said: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = Field(default_factory=list)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: these statuses answer with a Problem."""
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def refusal(
    scope: Scope, status: int, detail: str, errors: Sequence[tuple[str, str]] = ()
) -> Response:
    """The answer to a request that was refused, in the form that its sender reads."""
    title = HTTPStatus(status).phrase
    if scope["path"].startswith(_FOR_PROGRAMS):
        body = Problem(
            title=title,
            status=status,
            detail=detail,
            errors=[FieldProblem(field=field, said=said) for field, said in errors],
        )
        return JSONResponse(body.model_dump(), status, media_type=PROBLEM)
    more = "".join(f"<li>{_text(field)}: {_text(said)}</li>" for field, said in errors)
    page = _PAGE.format(title=_text(f"{status} {title}"), said=_text(detail), more=more)
    return HTMLResponse(page, status)


def install(app: FastAPI) -> None:
    """Every error of the app is answered from here."""

    def refused(request: Request, error: Exception) -> Response:
        status, detail, errors = _of(error)
        answer = refusal(request.scope, status, detail, errors)
        if status == 401:
            answer.headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, HTTPException) and error.headers:
            answer.headers.update(error.headers)
        return answer

    for kind in (HTTPException, RequestValidationError, NotAdmitted, AccessRefused):
        app.add_exception_handler(kind, refused)
    for kind in (NotPossible, BadTime, Exception):
        app.add_exception_handler(kind, refused)


def _of(error: Exception) -> tuple[int, str, list[tuple[str, str]]]:
    if isinstance(error, RequestValidationError):
        found = [
            (".".join(str(part) for part in one["loc"])[:120], str(one["msg"])[:200])
            for one in error.errors()[:20]
        ]
        return 422, "some values were not accepted", found
    if isinstance(error, NotAdmitted):
        return error.status, str(error), []
    if isinstance(error, AccessRefused):
        said = f"nothing is shown, since it cannot be recorded who looked: {error}"
        return 503, said, []
    if isinstance(error, NotPossible | BadTime):
        return 422, str(error), []
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), []
    return 500, "this failed on our side; the log of history says how", []


def _text(text: str) -> str:
    return escape(visible(text))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title} · dosimeter</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/static/pages.css"></head>
<body><main id="main" class="plain"><h1>{title}</h1><p>{said}</p><ul class="reasons">{more}</ul>
<p><a href="/">Overview</a> · <a href="/queue">Queue</a></p></main></body></html>
"""
