"""When somebody had the monitor look away: who, why, until when, and what was not looked at.

Owns how the records of a pause, its beginning and its end, become one line, also where something is missing in them,
and what of it is for whom: that nobody looked concerns every tenant, and a reason may name another one. It asks no
sidecar: history has both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.pages import shown, shown_overview
from dosimeter.monitor.pages.source import Reader

WEEK_NS = 7 * 86_400 * 10**9
MOST = 20
NO_UID = -1
"""As the kernel has it: nobody's."""


def pauses(
    asked: Asked, reader: Reader, names: Mapping[str, str]
) -> tuple[shown_overview.Pause, ...]:
    """Of the last week, the newest first. names: of sources. Who and why are for those who see all tenants."""
    now_ns = asked.now_ns()
    rows = asked.rows("entries", kind="pause", from_ns=now_ns - WEEK_NS)
    each: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        said = row | json.loads(row["more"] or "{}")
        state = "ended" if said.get("state") == "ended" else "began"
        each.setdefault((row["source"], str(said.get("pause", row["id"]))), {})[state] = said
    found = (_pause(one, names, now_ns, whole=reader.tenants is None) for one in each.values())
    return tuple(sorted(found, key=lambda one: -(one.since_ns or one.ended_ns)))[:MOST]


def _pause(
    one: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], now_ns: int, *, whole: bool
) -> shown_overview.Pause:
    began, ended = one.get("began", {}), one.get("ended", {})
    any_ = began or ended
    until_ns = _number(began, "until_ns", 0)
    state: shown.State = "ok"
    if ended:
        why = f"{ended.get('why', 'not said why')}; " if whole else ""
        said = f"over: {why}{_number(ended, 'tokens', 0):,} tokens were not looked at"
    elif now_ns < until_ns:
        state, said = "warn", "paused now: what arrives is counted, and not looked at"
    else:
        state = "warn"
        said = "its time is up, and nothing says that it ended: is the sidecar still there?"
    return shown_overview.Pause(
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
