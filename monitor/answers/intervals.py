"""What somebody had the monitor do for a while, a pause or a capture: who, why, since when and until when.

Owns how the two records of it, its beginning and its end, become one line, also where something is missing in them, and
what of it is for whom: that it was concerns every tenant, and a reason may name another one. It asks no sidecar:
history has both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dosimeter.monitor.answers.asking import Asked
from dosimeter.monitor.pages import shown
from dosimeter.monitor.pages.shown_overview import Interval
from dosimeter.monitor.pages.source import Reader

DAY_NS = 86_400 * 10**9
MOST = 20
NO_UID = -1
"""As the kernel has it: nobody's."""


@dataclass(frozen=True, slots=True)
class Words:
    """of: the kind of record, and the name of its number in it. ended: from the record of the end, what came of it."""

    of: str
    now: str
    overdue: str
    ended: Callable[[Mapping[str, Any]], str]


PAUSE = Words(
    "pause",
    now="paused now: what arrives is counted, and not looked at",
    overdue="its time is up, and nothing says that it ended: is the sidecar still there?",
    ended=lambda record: f"{number(record, 'tokens', 0):,} tokens were not looked at",
)
CAPTURE = Words(
    "capture",
    now="activations leave the server now",
    overdue="its time is up, and nothing says that it ended: its server is gone, or the sidecar",
    ended=lambda record: (
        f"{number(record, 'rows', 0):,} tokens' activations of {number(record, 'requests', 0):,} requests have left"
        if "rows" in record
        else "what had left by then only whoever asked knows"
    ),
)


def intervals(
    asked: Asked, reader: Reader, names: Mapping[str, str], words: Words, days: int
) -> tuple[Interval, ...]:
    """Of the last days, the newest first. names: of sources. Who and why are for those who see all tenants."""
    now_ns = asked.now_ns()
    each: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in asked.rows("entries", kind=words.of, from_ns=now_ns - days * DAY_NS):
        said = row | json.loads(row["more"] or "{}")
        state = "ended" if said.get("state") == "ended" else "began"
        records = each.setdefault((row["source"], str(said.get(words.of, row["id"]))), {})
        if state not in records or "rows" in said:
            records[state] = (
                said  # a server that was taken for gone may come back, and say how it ended
            )
    whole = reader.tenants is None
    found = (_interval(one, names, now_ns, words, whole=whole) for one in each.values())
    return tuple(sorted(found, key=lambda one: -(one.since_ns or one.ended_ns)))[:MOST]


def _interval(
    one: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, str],
    now_ns: int,
    words: Words,
    *,
    whole: bool,
) -> Interval:
    began, ended = one.get("began", {}), one.get("ended", {})
    any_ = began or ended
    until_ns = number(any_, "until_ns", 0)
    state: shown.State = "ok"
    if ended:
        why = f"{ended.get('why', 'not said why')}; " if whole else ""
        said = f"over: {why}{words.ended(ended)}"
    elif now_ns < until_ns:
        state, said = "warn", words.now
    else:
        state, said = "warn", words.overdue
    return Interval(
        source=names.get(any_["source"], any_["source"][:8]),
        state=state,
        reason=(any_["reason"] or "") if whole else "",
        by_uid=number(any_, "by_uid", NO_UID) if whole else NO_UID,
        since_ns=began.get("time_ns", 0),
        until_ns=until_ns,
        ended_ns=ended.get("time_ns", 0),
        said=said,
        whole=whole,
    )


def number(of: Mapping[str, Any], name: str, otherwise: int) -> int:
    found = of.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else otherwise
