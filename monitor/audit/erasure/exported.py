"""Which exports may have carried somebody's entries away: copies that no erasure reaches.

Owns the comparison of what was asked with whom it is about. An export is left out only where its own filters say that
it cannot have held any; it never looks into a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dosimeter.monitor.audit.erasure.known import Known


def exports_of(
    exports: Iterable[Mapping[str, Any]], entries: Sequence[Known]
) -> list[dict[str, Any]]:
    """Of leaves of kind `export`: the id of each that may hold one of these entries, and whether text went with it."""
    found = []
    for leaf in exports:
        what = leaf.get("what") or {}
        if any(_may_hold(what, leaf["time_ns"], one) for one in entries):
            found.append({"id": leaf["id"], "text": bool(what.get("text"))})
    return found


def _may_hold(what: Mapping[str, Any], at_ns: int, entry: Known) -> bool:
    ids = (
        ("tenant", entry.tenant),
        ("subject", entry.subject),
        ("conversation", entry.conversation),
    )
    for name, own in ids:
        asked = what.get(name)
        if asked is not None and asked != (own.hex() if own else None):
            return False
    since, until = what.get("from_ns"), what.get("to_ns")
    if (since is not None and entry.time_ns < since) or (
        until is not None and entry.time_ns >= until
    ):
        return False
    return what.get("kind") in (None, entry.kind) and entry.time_ns <= at_ns
