"""A plan on a screen: the levels, what they cost and catch, and what changes. It reads the JSON of the same run.

Names out of rule files and archives are other people's text, and pass `plain`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dosimeter.monitor.cli.screen import Screen, plain, table

Body = Mapping[str, Any]
IDS = 8
"""Of the requests to label; all are in the JSON."""


def lines(body: Body, screen: Screen) -> list[str]:
    return [
        *_head(body),
        "",
        *_rules(body, screen),
        "",
        *_severities(body, screen),
        "",
        *_catch(body),
        *_changes(body["changes"]),
        "",
        *(_alarm(body) if body["fits"] else ()),
        *(f"not planned: {plain(rule)}: {plain(why)}" for rule, why in body["not_planned"].items()),
        *(f"note: {plain(note)}" for note in body["notes"]),
    ]


def _head(body: Body) -> Iterator[str]:
    sample, together = body["sample"], body["together"]
    planned = together["planned"]
    verdict = "fits" if body["fits"] else "does not fit"
    yield (
        f"{body['reviews_a_day']:,} reviews a day of {body['requests_a_day']:,} requests: {verdict}, "
        f"{number(planned['expected'])} a day expected, {between(planned)} on one day (95 %)"
    )
    of = f", for {sample['stand_for']:,.0f}" if sample["stand_for"] != sample["requests"] else ""
    yield f"planned on {sample['requests']:,} requests{of}: {plain(sample['what'])}"


def _rules(body: Body, screen: Screen) -> list[str]:
    head = ["rule", "severity", "now", "planned", "a day now", "planned", "on one day (95 %)"]
    rows: list[list[str]] = []
    for rule in body["rules"]:
        levels = rule["levels"]
        costs = [expected(rule["now"]), expected(rule["planned"]), between(rule["planned"])]
        for index, level in enumerate(levels):
            first = [plain(rule["rule"]), rule["severity"]] if not index else ["", ""]
            rows.append(
                [*first, level["now"], level["planned"], *(costs if not index else [""] * 3)]
            )
    ends = [
        f"{plain(rule['rule'])} cannot be tighter: {plain(rule['why_no_tighter'])}"
        for rule in body["rules"]
        if rule["why_no_tighter"]
    ]
    return [*table(head, rows, screen.width), *ends]


def _severities(body: Body, screen: Screen) -> list[str]:
    head = ["severity", "share of the budget", "a day now", "planned", "on one day (95 %)"]
    rows = [
        [name, number(of["allowance"]), expected(of["now"]), expected(of["planned"]), between(of["planned"])]
        for name, of in body["severities"].items()
    ]  # fmt: skip
    of = body["together"]
    rows.append(
        ["together", number(body["reviews_a_day"]), expected(of["now"]), expected(of["planned"]),
         between(of["planned"])]
    )  # fmt: skip
    return table(head, rows, screen.width)


def _catch(body: Body) -> Iterator[str]:
    of = body["catch"]
    if of is None:
        yield "what it catches and misses: not known, nobody labelled"
    else:
        if of["share"] is not None:
            low, high = of["share_between"]
            yield (
                f"of {of['positives']:,} requests labelled yes it catches {of['caught']:,}: "
                f"{of['share']:.0%} by weight ({low:.0%} to {high:.0%})"
            )
        low, high = of["missed_a_day_between"]
        missed = of["missed_a_day"]
        if missed is None:
            yield f"it misses at most {number(high)} a day: not all that it leaves out was sampled"
        else:
            yield f"it misses {number(missed)} a day ({number(low)} to {number(high)})"
    ids = body["label_first"]
    if ids:
        more = f" and {len(ids) - IDS:,} more; --json lists them" if len(ids) > IDS else ""
        what = (
            "EPOCH/KEY in the archive" if "/" in ids[0] else "numbers of the calibration's requests"
        )
        yield f"  label these {len(ids):,} first ({what}): {', '.join(map(plain, ids[:IDS]))}{more}"


def _changes(of: Body) -> Iterator[str]:
    for kind, sign, verb in (("added", "+", "more"), ("removed", "-", "fewer")):
        found = of[kind]
        yield ""
        yield f"{sign} {number(found['a_day'])} reviews a day {verb}; {found['requests']:,} requests of the sample"
        for change in found["listed"]:
            yield f"  {sign} {plain(change['request'])}  {plain(change['rule'])}  {change['value']:.2f}"
        left = found["requests"] - len(found["listed"])
        if left:
            yield f"  and {left:,} more"


def _alarm(body: Body) -> Iterator[str]:
    of = body["alarm"]
    yield (
        f"alarm: on a day's review {of['reviews']:,}, or before, if more than {number(of['bound'])} a day "
        f"are coming; a false one in at most {of['false_alarm_a_week']:.1%} of weeks"
    )


def expected(of: Body | None) -> str:
    return "not placed" if of is None else number(of["expected"])


def between(of: Body) -> str:
    return f"{of['low']:,} to {of['high']:,}"


def number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
