"""Templates into pages.

Owns the Jinja environment, in which everything that is printed is escaped for HTML and has its invisible characters
shown, whatever a template does; only markup made by `draw` and `times` passes. It never learns what a page is about.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from dosimeter.detectors.findings import visible
from dosimeter.monitor.config_pages import PagesConfig
from dosimeter.monitor.pages import draw, presenting, times
from dosimeter.monitor.pages.access import Person
from dosimeter.monitor.pages.forgery import COOKIE, FIELD, FormTokens, set_cookie

ZONE_COOKIE = "dosimeter_zone"
DAY_S = 86_400
MARKS = {"critical": "◆", "high": "▲", "medium": "●", "low": "○", "info": "·"}
MOST_IN_CELL = 100
STATES = {"ok": "✓", "warn": "!", "bad": "✕"}


def printed(value: Any) -> Any:
    """Jinja's `finalize`: the last thing before escaping, on every expression of every template."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return ""
    return visible(str(value), keep="\n")


def cut(text: str, most: int = MOST_IN_CELL) -> str:
    """Somebody's text in a table's cell, so that none of them makes a page too large."""
    text = visible(text)
    return text if len(text) <= most else text[: most - 1] + "…"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Compiled templates are kept in it, so there is one."""
    made = Environment(
        loader=PackageLoader("dosimeter.monitor.pages"),
        autoescape=True,
        finalize=printed,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "ago": times.ago,
        "lasting": times.lasting,
        "cut": cut,
        "short": presenting.short_ids,
        "rough": presenting.rough,
        "n": lambda number: f"{number:,}",
        "as_written": lambda text: Markup(escape(text)),
        "outward": presenting.outward,
    }
    made.globals |= {
        "draw": draw,
        "share": presenting.share,
        "precision": presenting.precision,
        "SEVERITIES": draw.SEVERITIES,
        "MARKS": MARKS,
        "STATES": STATES,
        "FIELD": FIELD,
    }
    return made


def load_templates() -> None:
    """Compile them all, which takes a quarter of a second: else the first reader of each page waits for it."""
    environment = _environment()
    for name in environment.list_templates(["html"]):
        environment.get_template(name)


class Renderer:
    """Makes the answer of a page, with its form token and the reader's time zone."""

    def __init__(
        self,
        config: PagesConfig,
        forms: FormTokens,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._config, self._forms, self._now_ns = config, forms, now_ns
        self._templates = _environment()

    @property
    def secure(self) -> bool:
        return self._config.origin.startswith("https:")

    def zone(self, request: Request) -> ZoneInfo:
        """What the reader chose, where it is one."""
        try:
            return times.zone_named(request.cookies.get(ZONE_COOKIE, "") or self._config.zone)
        except times.BadTime:
            return ZoneInfo(self._config.zone)

    def page(
        self,
        request: Request,
        person: Person,
        name: str,
        *,
        status: int = 200,
        zone: ZoneInfo | None = None,
        **values: Any,
    ) -> HTMLResponse:
        there = zone or self.zone(request)
        now_ns = self._now_ns()
        token, cookie = self._forms.issue(request, person)
        body = self._templates.get_template(f"{name}.html").render(
            person=person,
            zone=there,
            now_ns=now_ns,
            form_token=token,
            here=request.url.path,
            when=lambda at, short=False: times.when(at, now_ns, there, short=short),
            clocks=lambda hours: [times.clock(hour.start_ns, there) for hour in hours],
            **values,
        )
        answer = HTMLResponse(body, status)
        if cookie is not None:
            set_cookie(answer, COOKIE, cookie, secure=self.secure, lasts_s=DAY_S)
        return answer
