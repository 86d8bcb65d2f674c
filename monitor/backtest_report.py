"""What a backtest found, as one JSON object: figures of each rule, of all together, overlap, changes, what was seen.

It owns the fields and their names, for `--json` and for the screen alike. It computes nothing that
`rules/backtesting/estimate` does not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dosimeter.detectors.evaluate import Interval
from dosimeter.monitor.backtest import Answer
from dosimeter.rules.backtesting.estimate import (
    Change,
    Figures,
    Identity,
    changes,
    day_of,
    figures,
    overlap,
    precision,
    total,
)

VERSION = 1
NS = 1_000_000_000
LISTED = 1000
"""Changes of either kind that are listed; all are counted."""
GROUPS = 5
PARTLY = re.compile(r"in \d+ of \d+ files: ")
"""How `backtest` begins the reason of a rule that ran on some files."""


def report(answer: Answer, labels: Mapping[Identity, bool] | None) -> dict[str, Any]:
    idle = {rule for rule, why in answer.inactive.items() if not PARTLY.match(why)}
    body: dict[str, Any] = {
        "version": VERSION,
        "archive": _archive(answer),
        "rules": [
            _rule(answer, rule, labels) | {"run": rule not in idle} for rule in answer.found.rules
        ],
        "together": _rule(answer, None, labels),
        "overlap": _overlap(answer),
        "inactive": dict(answer.inactive),
        "notes": _notes(answer),
    }
    if answer.before is not None:
        added, removed = changes(answer.found, answer.before)
        others: list[Change] = []
        if answer.live:  # whatever ran then fired; what does not run here has not gone
            others = [one for one in removed if one.rule not in answer.rules or one.rule in idle]
            removed = [one for one in removed if one not in others]
        body["changes"] = {
            "added": _listed(added, answer, answer.seen.one_in),
            # Whatever fired as it came is kept and stands for itself.
            "removed": _listed(removed, answer, 1 if answer.live else answer.seen.one_in),
            "not_compared": dict(sorted(Counter(one.rule for one in others).items())),
        }
    return body


def _archive(answer: Answer) -> dict[str, Any]:
    seen = answer.seen
    share = seen.counted_tokens / seen.served_tokens if seen.served_tokens else None
    return {
        "from": _time(seen.first_ns) if seen.requests else None,
        "to": _time(seen.last_ns) if seen.requests else None,
        "days": answer.days,
        "requests_kept": seen.requests,
        "tokens_kept": seen.tokens,
        "requests": seen.weighted_requests,
        "tokens": seen.weighted_tokens,
        "incomplete": seen.incomplete,
        "scored_of_served": share,
        "one_in": seen.one_in,
        "strata": {stratum: dict(counts) for stratum, counts in answer.counts.items()},
    }


def _rule(
    answer: Answer, rule: str | None, labels: Mapping[Identity, bool] | None
) -> dict[str, Any]:
    of: Figures = figures(answer.found, answer.seen.one_in, rule)
    body: dict[str, Any] = {} if rule is None else {"rule": rule}
    body |= {
        "hits": of.hits,
        "requests": of.requests,
        "exempt": of.exempt,
        "certain": of.certain,
        "alerts": _interval(of.total),
        "alerts_a_day": _interval(of.a_day(answer.days)) if answer.days else None,
        "by_day": dict(of.by_day),
        "tenants": _groups(of.tenants),
        "routes": _groups(of.routes),
    }
    if labels is not None:
        found = precision(answer.found, rule, labels)
        body["precision"] = {
            "labelled": found.labelled,
            "right": found.right,
            **(_interval(found.interval) if found.interval else {}),
        }
    return body


def _overlap(answer: Answer) -> list[dict[str, Any]]:
    """Pairs of rules that alert on the same requests."""
    kept, weighted = overlap(answer.found)
    rules = answer.found.rules
    return [
        {
            "rules": [rules[i], rules[j]],
            "requests": int(kept[i, j]),
            "weighted": int(weighted[i, j]),
            "of": [int(weighted[i, i]), int(weighted[j, j])],
        }
        for i in range(len(rules))
        for j in range(i)
        if kept[i, j]
    ]


def _listed(found: Sequence[Change], answer: Answer, heaviest: int) -> dict[str, Any]:
    weights = np.array([change.one_in for change in found], np.int64)
    of = total(weights, heaviest)
    daily = (
        Interval(*(v / answer.days for v in (of.value, of.low, of.high))) if answer.days else None
    )
    return {
        "requests": len(found),
        "alerts_a_day": _interval(daily) if daily else None,
        "listed": [
            {
                "rule": change.rule,
                "request": f"{change.epoch:016x}/{change.key:016x}",
                "position": change.position,
                "time": _time(change.last_ns),
                "stands_for": change.one_in,
                "tenant": change.tenant,
            }
            for change in found[:LISTED]
        ],
    }


def _notes(answer: Answer) -> list[str]:
    """What a reader must know before the figures are believed."""
    found = [
        f"`{rule}` asks for {', '.join(f'`{name}`' for name in asked)}, which the archive does not keep: "
        "for its `only` and `unless` no request has one"
        for rule, asked in answer.unasked.items()
    ]
    if answer.held_back:
        names = ", ".join(f"`{rule}`" for rule in answer.held_back)
        found.append(
            f"alerts of {names} are counted before `repeat-after`, `limit` and `quiet-when` hold some back"
        )
    if answer.seen.incomplete:
        found.append(
            f"{answer.seen.incomplete:,} kept requests lack tokens that were lost on the way into the archive"
        )
    if answer.seen.requests and answer.days < 1:
        found.append(f"a day is taken for what {lasting(answer.days)} were")
    return found


def lasting(days: float) -> str:
    """`13 seconds`, `2.5 hours`: in the largest unit of which there is one, with three digits that mean something."""
    for name, seconds in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if days * 86_400 >= seconds:
            return f"{days * 86_400 / seconds:.3g} {name}"
    return f"{days * 86_400:.3g} seconds"


def _groups(found: Mapping[str, int]) -> dict[str, Any]:
    return {"count": len(found), "most": dict(list(found.items())[:GROUPS])}


def _interval(of: Interval) -> dict[str, float]:
    return {"value": of.value, "low": of.low, "high": of.high}


def _time(at_ns: int) -> str:
    seconds = at_ns // NS
    hours, rest = divmod(seconds % 86_400, 3600)
    return f"{day_of(seconds // 86_400)}T{hours:02}:{rest // 60:02}:{rest % 60:02}Z"
