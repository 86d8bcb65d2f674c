"""When activations left a server: who asked, why, which, until when, and what came of it.

Owns how the records of a capture, its beginning and its end, become one line, also where something is missing in them,
and what of it is for whom: that some requests were copied concerns every tenant, and a reason may name another one. It
asks no sidecar and no folder: history has all of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.pages import shown, shown_overview
from dosimeter.monitor.pages.source import Reader

MONTH_NS = 31 * 86_400 * 10**9
MOST = 20
NO_UID = -1
"""As the kernel has it: nobody's."""


def captures(
    asked: Asked, reader: Reader, names: Mapping[str, str]
) -> tuple[shown_overview.Capture, ...]:
    """Of the last 31 days, the newest first. names: of sources. Who and why are for those who see all tenants."""
    now_ns = asked.now_ns()
    each: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in asked.rows("entries", kind="capture", from_ns=now_ns - MONTH_NS):
        said = row | json.loads(row["more"] or "{}")
        state = "ended" if said.get("state") == "ended" else "began"
        each.setdefault((row["source"], str(said.get("capture", row["id"]))), {})[state] = said
    found = (_capture(one, names, now_ns, whole=reader.tenants is None) for one in each.values())
    return tuple(sorted(found, key=lambda one: -(one.since_ns or one.ended_ns)))[:MOST]


def _capture(
    one: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], now_ns: int, *, whole: bool
) -> shown_overview.Capture:
    began, ended = one.get("began", {}), one.get("ended", {})
    any_ = ended or began
    until_ns = _number(any_, "until_ns", 0)
    state: shown.State = "ok"
    if ended:
        why = f"{ended.get('why', 'not said why')}; " if whole else ""
        requests, rows = _number(ended, "requests", 0), _number(ended, "rows", 0)
        said = f"over: {why}{rows:,} tokens' activations of {requests:,} requests have left"
    elif now_ns < until_ns:
        state, said = "warn", "activations leave the server now"
    else:
        state, said = "warn", "its time is up, and nothing says that it ended"
    return shown_overview.Capture(
        source=names.get(any_["source"], any_["source"][:8]),
        state=state,
        reason=(any_["reason"] or "") if whole else "",
        by_uid=_number(any_, "by_uid", NO_UID) if whole else NO_UID,
        since_ns=began.get("time_ns", 0),
        until_ns=until_ns,
        ended_ns=ended.get("time_ns", 0),
        said=said,
        whole=whole,
    )


def _number(of: Mapping[str, Any], name: str, otherwise: int) -> int:
    found = of.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else otherwise
