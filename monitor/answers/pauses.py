"""When somebody had the monitor look away: who, why, until when, and what was not looked at.

Owns how the records of a pause, its beginning and its end, become one line. It asks no sidecar: history has both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.pages import shown, shown_overview

WEEK_NS = 7 * 86_400 * 10**9
MOST = 20


def pauses(asked: Asked, names: Mapping[str, str]) -> tuple[shown_overview.Pause, ...]:
    """Of the last week, the newest first. names: of sources."""
    now_ns = asked.now_ns()
    rows = asked.rows("entries", kind="pause", from_ns=now_ns - WEEK_NS)
    each: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        said = row | json.loads(row["more"] or "{}")
        each.setdefault((row["source"], said["pause"]), {})[said["state"]] = said
    found = (_pause(one, names, now_ns) for one in each.values())
    return tuple(sorted(found, key=lambda one: -(one.since_ns or one.ended_ns)))[:MOST]


def _pause(
    one: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], now_ns: int
) -> shown_overview.Pause:
    began, ended = one.get("began", {}), one.get("ended", {})
    any_ = began or ended
    until_ns = int(began.get("until_ns", 0))
    state: shown.State = "ok"
    if ended:
        said = f"over: {ended['why']}; {ended['tokens']:,} tokens were not looked at"
    elif now_ns < until_ns:
        state, said = "warn", "paused now: what arrives is counted, and not looked at"
    else:
        state = "warn"
        said = "its time is up, and nothing says that it ended: is the sidecar still there?"
    return shown_overview.Pause(
        source=names.get(any_["source"], any_["source"][:8]),
        state=state,
        reason=str(any_["reason"]),
        by_uid=int(any_["by_uid"]),
        since_ns=int(began.get("time_ns", 0)),
        until_ns=until_ns,
        ended_ns=int(ended.get("time_ns", 0)),
        said=said,
    )
