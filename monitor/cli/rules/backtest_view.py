"""A backtest on a screen: what was read, a table of the rules, and what changes. It reads the JSON of the same run.

Names out of the archive are other people's text, and pass `plain`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dosimeter.monitor.backtest_report import lasting
from dosimeter.monitor.cli.screen import Screen, plain, table

Body = Mapping[str, Any]
SHOWN = 10
"""Changes and overlaps of each kind; all are in the JSON."""


def lines(body: Body, screen: Screen) -> list[str]:
    return [
        *_archive(body["archive"]),
        "",
        *_rules(body, screen),
        *_overlap(body["overlap"]),
        *_changes(body.get("changes")),
        *(f"not run: {plain(rule)}: {plain(why)}" for rule, why in body["inactive"].items()),
        *(f"note: {plain(note)}" for note in body["notes"]),
    ]


def _archive(of: Body) -> Iterator[str]:
    if not of["requests_kept"]:
        yield "no request of that time is in the archive"
        return
    yield f"{of['from']} to {of['to']}: {lasting(of['days'])}"
    yield (
        f"{of['requests_kept']:,} requests ({of['tokens_kept']:,} tokens) kept, "
        f"for {of['requests']:,} ({of['tokens']:,} tokens): all that were flagged or near, "
        f"1 in {of['one_in']:,} of the rest"
    )
    if of["scored_of_served"] is not None:
        yield f"scored {100 * of['scored_of_served']:.2f} % of what the server says it served"


def _rules(body: Body, screen: Screen) -> list[str]:
    labelled = "precision" in body["together"]
    head = ["rule", "hits", "requests", "alerts a day (95 %)", "tenants", "routes"]
    rows = [_row(plain(one["rule"]), one) for one in body["rules"]]
    known = {one["rule"] for one in body["rules"]}
    rows += [[plain(rule), "not run"] for rule in body["inactive"] if rule not in known]
    if len(body["rules"]) > 1:
        rows.append(_row("together", body["together"]))
    if labelled:
        head.append("precision (95 %)")
    return table(head, [row + [""] * (len(head) - len(row)) for row in rows], screen.width)


def _row(name: str, of: Body) -> list[str]:
    if not of.get("run", True):
        return [name, "not run"]
    row = [name, f"{of['hits']:,}", f"{of['requests']:,}", interval(of["alerts_a_day"])]
    row += [f"{of[kind]['count']:,}" for kind in ("tenants", "routes")]
    if "precision" in of:
        found = of["precision"]
        none = "no label"
        row.append(
            f"{interval(found)}, {found['right']} of {found['labelled']}"
            if found["labelled"]
            else none
        )
    return row


def _overlap(pairs: Sequence[Body]) -> Iterator[str]:
    found = sorted(pairs, key=lambda pair: -pair["weighted"])
    if found:
        yield ""
        yield "requests that two rules alert on, estimated"
    for pair in found[:SHOWN]:
        one, other = map(plain, pair["rules"])
        of = pair["of"]
        yield f"  {pair['weighted']:,}: {one} ({of[0]:,}) and {other} ({of[1]:,})"
    yield from _more(len(found))


def _changes(of: Body | None) -> Iterator[str]:
    if of is None:
        return
    yield ""
    for kind, sign, what in (
        ("added", "+", "alerts that there were not"),
        ("removed", "-", "alerts that there would not be"),
    ):
        found = of[kind]
        yield f"{sign} {found['requests']:,} {what}: {interval(found['alerts_a_day'])} a day"
        for change in found["listed"][:SHOWN]:
            tenant = f"  {plain(change['tenant'])}" if change["tenant"] else ""
            stands = f"  stands for {change['stands_for']:,}" if change["stands_for"] > 1 else ""
            yield (
                f"  {sign} {plain(change['rule'])}  {change['request']}  token {change['position']}"
                f"  {change['time']}{tenant}{stands}"
            )
        yield from _more(found["requests"])
    others = of["not_compared"]
    if others:
        names = ", ".join(map(plain, others))
        yield f"{sum(others.values()):,} alerts of rules that are not run here are not compared: {names}"


def _more(count: int) -> Iterator[str]:
    if count > SHOWN:
        yield f"  {count - SHOWN:,} more; --json lists them"


def interval(of: Body | None) -> str:
    if of is None:
        return "unknown"
    return f"{number(of['value'])} ({number(of['low'])} to {number(of['high'])})"


def number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
