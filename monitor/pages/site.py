"""What every route needs: history, who is asking, whether they may.

Owns the order in which that is settled: who, then the right, then the form's token, then the entry of the access, and
only then the data. Routes call these and nothing else to be safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request

from dosimeter.monitor.config_pages import PagesConfig
from dosimeter.monitor.pages import shown_alerts
from dosimeter.monitor.pages.access import Person, Right, Who
from dosimeter.monitor.pages.forgery import HEADER, FormTokens
from dosimeter.monitor.pages.render import Renderer
from dosimeter.monitor.pages.source import Kind, Source

WHOLE = 32
"""Characters of an id."""


@dataclass(frozen=True, slots=True)
class Site:
    """One for each app; routes find it at `request.app.state.site`."""

    source: Source
    who: Who
    config: PagesConfig
    forms: FormTokens
    renderer: Renderer

    def need(self, person: Person, right: Right) -> None:
        if not person.may(right):
            roles = ", ".join(sorted(person.roles))
            raise HTTPException(403, f"your roles ({roles}) do not include this")

    def posted(self, request: Request, person: Person, token: str) -> None:
        """A form's token; forms of before a restart fail here too."""
        if not self.forms.hold(request, person, token):
            raise HTTPException(403, "the form is out of date; go back, load it again and repeat")

    def sent(self, request: Request, person: Person) -> None:
        """The same for a program: one with a cookie needs the token too, one with a bearer token has shown enough."""
        if person.by_cookie:
            self.posted(request, person, request.headers.get(HEADER, ""))

    def record(self, kind: Kind, person: Person, what: str, reason: str = "") -> None:
        self.source.record_access(kind, person.reader, what, reason)

    def alert(self, alert_id: str, person: Person) -> shown_alerts.AlertView:
        """Recorded first, whether or not there is one."""
        self.record("view", person, f"alert {alert_id}")
        found = self.source.alert(alert_id, person.reader)
        if found is None:
            more = "" if len(alert_id) == WHOLE else ", or several begin so"
            raise HTTPException(404, f"no such alert, or not one of yours{more}")
        return found

    def evidence(
        self, alert: shown_alerts.AlertView, person: Person, reason: str
    ) -> shown_alerts.Evidence | None:
        """The reason is in the log before anything is decrypted."""
        if not person.may_read_text_of(alert.tenant):
            raise HTTPException(403, "your roles do not include the evidence of this tenant")
        self.record("view", person, f"evidence {alert.id}", reason)
        return self.source.evidence(alert.id, person.reader)


def site_of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


def visitor(request: Request) -> Person:
    return site_of(request).who.person(request)


Here = Annotated[Site, Depends(site_of)]
Visitor = Annotated[Person, Depends(visitor)]
