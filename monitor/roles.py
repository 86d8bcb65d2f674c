"""The one table of who may do what with history, for its pages and for its command line.

Owns the roles and their rights. It never learns how somebody proved who they are, nor what stands behind a right: those
who ask are `monitor/audit/people/access.py` and `monitor/pages/access.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Right = Literal[
    "query", "view", "export", "label", "hold", "erase", "approve", "edit", "audit", "rotate"
]
"""query: metadata. view: text, with a reason. export: files of what may be queried, with text of what may be viewed.
edit: lint, test, backtest a rule and make its patch. audit: the audit page, and over HTTP named queries and leaves.
rotate: give the log a new signing key."""


@dataclass(frozen=True, slots=True)
class Role:
    """every_tenant: not bound to the tenants of the one who has it."""

    may: frozenset[Right]
    every_tenant: bool = False


ROLES: Mapping[str, Role] = {
    "viewer": Role(frozenset({"query"})),
    "reviewer": Role(frozenset({"query", "view", "label"})),
    "author": Role(frozenset({"query", "edit"})),
    "approver": Role(frozenset({"query", "edit", "hold", "approve"})),
    "auditor": Role(
        frozenset({"query", "view", "export", "hold", "approve", "audit"}), every_tenant=True
    ),
    "operator": Role(frozenset({"query", "hold", "erase", "rotate"}), every_tenant=True),
}
"""A reviewer's `view` is of own tenants; an auditor's is of all, and breaks the glass."""
