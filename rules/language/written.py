"""What every rule is, whatever its `when` looks at: how it may be called, its canonical form, and the digest of it."""

from __future__ import annotations

import re
from typing import Any

from dosimeter.rules.canonical import canonical, digest
from dosimeter.rules.policy import Policy

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def is_name(text: str) -> bool:
    """Whether a rule, a signal or a list may be called so."""
    return _NAME.fullmatch(text) is not None


class Written:
    """The part of a rule that its kinds share; a kind is a frozen record with these fields."""

    __slots__ = ()
    id: str
    when: Any
    status: str
    severity: str
    summary: str
    owner: str
    runbook: str
    policy: Policy

    def as_json(self) -> dict[str, Any]:
        """The canonical form: equal for rules that say the same, however they are written."""
        text: dict[str, Any] = {
            "rule": self.id,
            "when": self.when.as_json(),
            "status": self.status,
            "severity": self.severity,
            "summary": self.summary,
        }
        text |= {k: v for k, v in (("owner", self.owner), ("runbook", self.runbook)) if v}
        return text | self.policy.as_json()

    @property
    def canonical(self) -> bytes:
        return canonical(self.as_json())

    @property
    def sha256(self) -> str:
        return digest(self.canonical)
