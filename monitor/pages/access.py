"""Who may see and do what: the questions that pages ask about a person.

Owns which right of `monitor/roles.py` each part of a page needs. It never learns how somebody proved who they are
(`tokens.py`, `local.py`), nor what HTTP answers to a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from starlette.requests import Request

from dosimeter.monitor import roles
from dosimeter.monitor.pages.source import Reader
from dosimeter.monitor.roles import ROLES


class Role(StrEnum):
    VIEWER = "viewer"
    REVIEWER = "reviewer"
    AUTHOR = "author"
    APPROVER = "approver"
    AUDITOR = "auditor"
    OPERATOR = "operator"


Right = Literal["look", "text", "label", "edit", "audit", "query", "entries"]

_NEEDS: dict[Right, roles.Right] = {
    "look": "query",
    "text": "view",
    "label": "label",
    "edit": "edit",
    "audit": "audit",
    "query": "audit",
    "entries": "audit",
}
"""look: metadata · text: evidence, with a reason · label: verdicts · edit: lint, test, backtest, patch of a rule
audit: the audit page · query: queries by name · entries: leaves of the log, not only their hashes."""


class NotAdmitted(Exception):
    """401: nobody we know. 403: known, and has no role here. The text is for the person."""

    def __init__(self, status: Literal[401, 403], said: str) -> None:
        super().__init__(said)
        self.status = status


@dataclass(frozen=True, slots=True)
class Person:
    """tenants None: all. binding: what anti-forgery tokens are bound to, one for each session or identity."""

    name: str
    roles: frozenset[Role]
    tenants: frozenset[str] | None
    binding: str
    by_cookie: bool = False

    def may(self, right: Right) -> bool:
        return any(_NEEDS[right] in ROLES[role].may for role in self.roles)

    def may_read_text_of(self, tenant: str) -> bool:
        if Role.AUDITOR in self.roles:
            return True
        own = self.tenants is None or tenant in self.tenants
        return self.may("text") and own

    @property
    def breaks_glass(self) -> bool:
        """Reads text outside the work of reviewing: said on the page, before and after."""
        return Role.REVIEWER not in self.roles

    @property
    def reader(self) -> Reader:
        tenants = None if any(ROLES[role].every_tenant for role in self.roles) else self.tenants
        return Reader(self.name, tenants, frozenset(map(str, self.roles)), self.tenants)


class Who(Protocol):
    """Tells who a request is from."""

    def person(self, request: Request) -> Person:
        """Raises NotAdmitted."""
