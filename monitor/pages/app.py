"""The whole site as one ASGI app.

Owns how the parts are put together and their order; everything is said in `routes.py`, `rule_routes.py` and `api.py`.
Start reading here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from dosimeter.monitor.config_pages import PagesConfig
from dosimeter.monitor.pages import api, problems, routes, rule_routes
from dosimeter.monitor.pages.access import Who
from dosimeter.monitor.pages.forgery import FormTokens
from dosimeter.monitor.pages.guard import Guard
from dosimeter.monitor.pages.render import Renderer
from dosimeter.monitor.pages.site import Site
from dosimeter.monitor.pages.source import Source

STATIC = Path(__file__).parent / "static"


def make_app(
    source: Source,
    who: Who,
    config: PagesConfig | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> Guard:
    """who: `LocalLink` for one person on this machine, `OidcTokens` behind an identity provider."""
    config = config or PagesConfig()
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_url=f"{api.BASE}/openapi.json",
    )
    forms = FormTokens()
    app.state.site = Site(source, who, config, forms, Renderer(config, forms, now_ns))
    problems.install(app)
    for router in (routes.router, rule_routes.router, api.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    api.describe(app)
    return Guard(app, config.origin)
