"""How one alert is drawn: its fields, and its evidence as shaded text or as bars.

It owns the picture and nothing else: no ledger, no arguments. Every string of a record or of
evidence is someone else's text and passes `plain`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dosimeter.detectors.frames import CODE_UNSCORED, CODES_PER_SD
from dosimeter.monitor.cli.screen import Screen, bar, columns, fit, plain
from dosimeter.monitor.history.evidence import Evidence
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.history.verdicts import Verdict
from dosimeter.rules.alert import in_sd, value_text

MARGIN = 11  # columns left of evidence: the position of the first token of the line
LABEL = 14  # columns for the name of a field
UNSCORED = "·"


def when(time_ns: object) -> str:
    """UTC with milliseconds; empty when it is no time."""
    if not isinstance(time_ns, int):
        return ""
    try:
        moment = datetime.fromtimestamp(time_ns / 1e9, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def record_lines(alert: StoredAlert, screen: Screen, verdict: Verdict | None = None) -> list[str]:
    """The fields an analyst asks for, one a line, none wider than the screen."""
    record = alert.record
    if record.get("kind") == "digest":
        return _lines(f"digest {alert.event_id}", _digest(record), screen)
    model = record.get("model")
    model = model if isinstance(model, dict) else {}
    also = record.get("also")
    also = also if isinstance(also, list) else []
    fields = {
        "time": f"{when(record.get('time_ns'))} UTC",
        "summary": record.get("summary"),
        "rule": record.get("rule"),
        "status": " · ".join(str(record.get(n, "")) for n in ("status", "severity", "decision")),
        "reason": record.get("reason"),
        "second look": record.get("confirm") if verdict is None else _verdict(verdict),
        "owner": record.get("owner"),
        **(_condition(record) if "position" in record else {}),
        "request": request(record),
        "model": f"{model.get('name', '')} {str(model.get('digest', ''))[:12]}",
        **alert.labels,
        "program": record.get("program_sha256"),
    }
    found = list(fields.items())
    for one in also:
        if isinstance(one, dict):
            feature, *rest = _condition(one).items()
            found += [("and feature", feature[1]), *rest]
    return _lines(f"{record.get('kind', 'alert')} {alert.event_id}", found, screen)


def request(record: Mapping[str, Any]) -> str:
    """EPOCH/KEY, as archive, backtests and plans name it; empty for what is about no request."""
    return f"{record.get('epoch')}/{record['key']}" if "key" in record else ""


def _verdict(of: Verdict) -> str:
    sent = ", not sent" if of.answer == "no" else ""
    cost = f", cost {of.cost:g}" if of.cost else ""
    why = f": {of.reason}" if of.reason else ""
    return f"{of.answer}{sent}, by {of.confirmer} in {of.ms} ms{cost}{why}"


def _condition(of: Mapping[str, Any]) -> dict[str, object]:
    """One condition of a rule as it was met."""
    value = threshold = ""
    if of.get("value_n"):
        shape = str(of.get("shape"))
        value = value_text(shape, int(of["value_sum"]), int(of["value_n"]))
        value += "" if shape == "share" else " sd"
        threshold = in_sd(int(of.get("threshold_code", 0)))
    scored, unscored = of.get("tokens_scored", "?"), of.get("tokens_unscored", "?")
    return {
        "feature": of.get("feature"),
        "where": f"{of.get('scope')}, tokens {of.get('start')} to {of.get('end')}, "
        f"decided at {of.get('position')}",
        "value": f"{value}, threshold {threshold} sd ({of.get('level')})",
        "seen": f"{scored} tokens scored, {unscored} not",
    }


def _digest(record: Mapping[str, Any]) -> list[tuple[str, object]]:
    more = "more than " if record.get("groups_floor") is True else ""
    return [
        ("from", f"{when(record.get('from_ns'))} UTC"),
        ("to", f"{when(record.get('to_ns'))} UTC"),
        ("summary", record.get("summary")),
        ("rule", record.get("rule")),
        ("severity", record.get("severity")),
        ("owner", record.get("owner")),
        ("runbook", record.get("runbook")),
        ("notified", record.get("notified")),
        ("not sent", f"{record.get('limited')} of {more}{record.get('groups')} groups"),
    ]


def _lines(head: str, fields: Sequence[tuple[str, object]], screen: Screen) -> list[str]:
    lines = [screen.bold(plain(head))]
    for name, text in fields:
        if text not in (None, ""):
            wrapped = textwrap.wrap(plain(text), max(20, screen.width - LABEL - 3)) or [""]
            names = [plain(name), *[""] * (len(wrapped) - 1)]
            lines += [
                fit(f"  {fit(name, LABEL)} {part}", screen.width).rstrip()
                for name, part in zip(names, wrapped, strict=True)
            ]
    return lines


def evidence_lines(
    record: Mapping[str, Any], evidence: Evidence | None, screen: Screen
) -> list[str]:
    """The tokens around the span: shaded text where there is text, else a bar for each token.

    Strength runs from 0 benign sd to twice the threshold. The span stands between `[` and `]`,
    so that it shows without colour too.
    """
    if evidence is None:
        return ["evidence  none stored"]
    feature = str(record.get("feature"))
    if feature not in evidence.columns:
        return [f"evidence  no scores of `{plain(feature)}`"]
    codes = [int(code) for code in evidence.codes[:, evidence.columns.index(feature)]]
    full = 2 * max(int(record.get("threshold_code", 0)), CODES_PER_SD)
    span = range(int(record.get("start", 0)), int(record.get("end", 0)))
    if evidence.tokens is None:
        shown = "scores, no text is kept"
    else:
        shown = "text, shaded by score" if screen.color else "text, span in brackets"
    end = evidence.first + len(codes)
    head = f"evidence  tokens {evidence.first} to {end} of `{plain(feature)}`: {shown}"
    cells = _cells(codes, evidence, full, screen)
    return [fit(head, screen.width).rstrip(), *_flow(cells, evidence.first, span, screen)]


def _cells(
    codes: list[int], evidence: Evidence, full: int, screen: Screen
) -> Iterator[tuple[str, int]]:
    """(what to print, columns it takes) for each token."""
    for i, code in enumerate(codes):
        strength = 0.0 if code == CODE_UNSCORED else code / full
        if evidence.tokens is not None:
            text = plain(evidence.tokens[i].replace("\n", "↵"))
            yield screen.shade(text, strength), columns(text)
        else:
            mark = UNSCORED if code == CODE_UNSCORED else bar(strength)
            yield screen.shade(mark, strength), 1


def _flow(
    cells: Iterator[tuple[str, int]], first: int, span: range, screen: Screen
) -> Iterator[str]:
    """Lines of cells, each line headed by the position of its first token."""
    line, used, head = "", 0, first
    for position, (text, width) in enumerate(cells, start=first):
        before = "[" if span and position == span[0] else ""
        after = "]" if span and position == span[-1] else ""
        width += len(before) + len(after)
        if used and used + width > screen.width - MARGIN:
            yield f"{head:>{MARGIN - 2}}  {line}"
            line, used, head = "", 0, position
        line += before + text + after
        used += width
    if line:
        yield f"{head:>{MARGIN - 2}}  {line}"
