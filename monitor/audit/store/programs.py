"""What history keeps of programs, read: which rules one runs, and which features a rule looks at.

It knows their JSON alone, and nothing of how it came here; whoever takes it in and whoever asks read the same.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from dosimeter.rules.language.expr import ExprError, parse


def rules_of(body: bytes) -> list[Any] | None:
    """The running rules of a program; None of a blob that is none."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = said.get("rules") if isinstance(said, dict) and "columns" in said else None
    return found if isinstance(found, list) else None


@lru_cache(maxsize=4096)
def reads_of(terms: bytes) -> tuple[str, ...]:
    """The features whose codes the conditions of a rule read, each once. terms: canonical JSON."""
    found: dict[str, None] = {}
    rule = json.loads(terms)
    for one in (rule, *rule.get("also", ())):
        feature = str(one.get("feature", ""))
        try:
            found |= dict.fromkeys(parse(feature).features)
        except ExprError:
            found[feature] = None
    return tuple(found)
