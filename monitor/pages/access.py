"""Who may see and do what: roles, and the questions that pages ask about a person.

One literal table holds it all. It never learns how somebody proved who they are (`tokens.py`, `local.py`), nor what
HTTP answers to a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from starlette.requests import Request

from dosimeter.monitor.pages.source import Reader


class Role(StrEnum):
    VIEWER = "viewer"
    REVIEWER = "reviewer"
    AUTHOR = "author"
    APPROVER = "approver"
    AUDITOR = "auditor"
    OPERATOR = "operator"


Right = Literal["look", "text", "label", "edit", "audit", "query", "entries"]

RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({"look"}),
    Role.REVIEWER: frozenset({"look", "text", "label"}),
    Role.AUTHOR: frozenset({"look", "edit"}),
    Role.APPROVER: frozenset({"look", "edit"}),
    Role.AUDITOR: frozenset({"look", "text", "audit", "query", "entries"}),
    Role.OPERATOR: frozenset({"look"}),
}
"""look: metadata · text: evidence, with a reason · label: verdicts · edit: lint, test, backtest, patch of a rule
audit: the audit page · query: queries by name · entries: leaves of the log, not only their hashes."""

EVERY_TENANT = frozenset({Role.AUDITOR, Role.OPERATOR})
"""Their metadata is not bound to tenants; a reviewer's is, and so is a reviewer's text."""


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
        return any(right in RIGHTS[role] for role in self.roles)

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
        tenants = None if self.roles & EVERY_TENANT else self.tenants
        return Reader(self.name, tenants, frozenset(map(str, self.roles)))


class Who(Protocol):
    """Tells who a request is from."""

    def person(self, request: Request) -> Person:
        """Raises NotAdmitted."""
