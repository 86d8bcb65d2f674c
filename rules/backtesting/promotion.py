"""A rule's next status, and whether the evidence is there: draft to shadow by its tests, shadow to live by its hits.

Owns the conditions, their defaults and their words. Hits and labels are arguments; it never learns where they are kept
or what the time is. Precision counts what the rule would have sent: hits that `repeat-after`, `limit` or `unless` hold
back are nobody's work. It is that of the labelled ones, so label what came, not what was striking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from dosimeter.detectors.binomial import wilson
from dosimeter.detectors.findings import Finding
from dosimeter.detectors.poisson import weighted_interval
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.testing.tested import Tested

NEXT = {"draft": "shadow", "shadow": "live"}
DAY_NS = 86_400 * 10**9
SHADOW_DAYS = 7
MIN_LABELS, MIN_PRECISION = 20, 0.5
MOST_LABELS = 10_000
"""Beyond so many more, a share is as good as too low."""
FIRES = ("when", "clear", "only", "unless")
"""Keys that decide what a rule fires on. With another owner or summary it is the same rule."""


@dataclass(frozen=True, slots=True)
class Needs:
    labels: int = MIN_LABELS
    precision: float = MIN_PRECISION  # that its lower bound has to reach
    days: int = SHADOW_DAYS


@dataclass(frozen=True, slots=True)
class Condition:
    """met: None where it is only told. todo: what is missing; empty where nothing is."""

    name: str
    met: bool | None
    found: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Shadowed:
    """What a rule would have sent in shadow. sent: the time of each, by event id; since_ns: None where unknown."""

    since_ns: int | None
    until_ns: int
    sent: Mapping[str, int]

    @classmethod
    def of(
        cls,
        rule: Rule,
        records: Iterable[Mapping[str, Any]],
        texts: Mapping[str, Mapping[str, Any]],
        since_ns: int | None,
        now_ns: int,
    ) -> Shadowed:
        """records: stored ones of this rule, of any version; texts: the rule that each names, by sha256.

        since_ns: from when it ran; None: from its first record, which is the latest that can be.
        """
        mine = [one for one in records if _is_of(rule, one, texts)]
        if since_ns is None:
            since_ns = min((one["time_ns"] for one in mine), default=None)
        begun = now_ns if since_ns is None else since_ns
        sent = {
            one["event_id"]: one["time_ns"]
            for one in mine
            if one["would_act"] and begun <= one["time_ns"]
        }
        return cls(since_ns, now_ns, sent)


def _is_of(rule: Rule, record: Mapping[str, Any], texts: Mapping[str, Mapping[str, Any]]) -> bool:
    text = texts.get(record.get("rule_sha256", ""))
    if record.get("kind") != "alert" or record.get("status") != "shadow" or text is None:
        return False
    return fires_alike(text, rule.as_json())


def fires_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rules, in their canonical form, ask the same."""
    return all(one.get(key) == other.get(key) for key in FIRES)


def written_well(tested: Tested, findings: Sequence[Finding]) -> list[Condition]:
    """What every promotion asks: lint has nothing to say of the file, and the tests show both sides and pass."""
    wrong = [one for one in findings if one.severity != "note"]
    first = f"{wrong[0].place}: {wrong[0].message}" if wrong else "nothing to change"
    lint = Condition("lint", not wrong, first, "run `dosimeter rules lint`" if wrong else "")
    firing = sum(test.fires for test in tested.tests)
    quiet = len(tested.tests) - firing
    found, todo = f"{firing} fire and {quiet} do not; all pass", ""
    if tested.unplaced:
        found, todo = f"cannot be run: {tested.unplaced}", "mend the rule"
    elif tested.failed:
        found = f"{len(tested.failed)} of {len(tested.tests)} fail"
        todo = f"mend `{tested.failed[0].test.name}`, {tested.failed[0].test.place}"
    elif not firing or not quiet:
        found = f"{firing} fire and {quiet} do not"
        todo = f"write one that {'does not fire' if firing else 'fires'}"
    return [lint, Condition("tests", not todo, found, todo)]


def watched_well(
    rule: Rule, seen: Shadowed, labels: Mapping[str, bool], needs: Needs
) -> list[Condition]:
    """What going live asks beside that. labels: by event id, True where the alert was right."""
    said = [labels[name] for name in seen.sent if name in labels]
    right, n = sum(said), len(said)
    others = f" ({len(labels) - n} labels are of other alerts)" if len(labels) > n else ""
    low, high = wilson(right / n if n else 0.0, n)
    return [
        _owner(rule),
        _time(seen, needs.days),
        Condition(
            "labels",
            n >= needs.labels,
            f"{n} of {needs.labels}, from {len(seen.sent)} notifications{others}",
            f"label {needs.labels - n} more" if n < needs.labels else "",
        ),
        Condition(
            "precision",
            n > 0 and low >= needs.precision,
            f"{right} of {n} right: {low:.2f} to {high:.2f}" if n else "no label",
            "" if n and low >= needs.precision else _more(right, n, needs.precision),
        ),
        _rate(seen),
        Condition("drift", None, "not checked: no alarm of a feature is kept where this looks"),
    ]


def _owner(rule: Rule) -> Condition:
    todo = "" if rule.owner else "say who answers for it: `owner`"
    return Condition("owner", bool(rule.owner), rule.owner or "nobody", todo)


def _time(seen: Shadowed, days: int) -> Condition:
    if seen.since_ns is None:
        todo = "run it in shadow; or, if it ran and never fired, say since when: `--since`"
        return Condition("shadow", False, "no hit in the ledger", todo)
    ran = (seen.until_ns - seen.since_ns) / DAY_NS
    until = _day(seen.since_ns + days * DAY_NS)
    found = f"{ran:.1f} of {days} days, since {_day(seen.since_ns)}"
    return Condition("shadow", ran >= days, found, "" if ran >= days else f"wait until {until}")


def _more(right: int, n: int, wanted: float) -> str:
    """How many more labels would do, were they as often right as those that are there."""
    if not n:
        return "label what it would have sent"
    share = right / n
    for more in range(1, MOST_LABELS + 1) if share > wanted else ():
        if wilson(share, n + more)[0] >= wanted:
            return f"label {more} more, if as many of them are right"
    return f"raise its level: at least {wanted:g} is wanted"


def _rate(seen: Shadowed) -> Condition:
    days = 0.0 if seen.since_ns is None else (seen.until_ns - seen.since_ns) / DAY_NS
    if days <= 0:
        return Condition("notifications", None, "unknown")
    low, high = weighted_interval(np.ones(len(seen.sent)), 1.0)
    found = f"{len(seen.sent) / days:.3g} a day ({low / days:.3g} to {high / days:.3g})"
    return Condition("notifications", None, found)


def _day(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).date().isoformat()


def rewritten(text: str, rule: Rule, status: str) -> str:
    """The file's text with another status of this rule; every other character is left as it is.

    Raises ValueError where the status does not stand where it was read.
    """
    place = rule.places["status"]
    lines = text.split("\n")
    line, at = lines[place.line - 1], place.column - 1
    at += line[at : at + 1] in ("'", '"')
    if not line.startswith(rule.status, at):
        raise ValueError(f"{place}: no `{rule.status}` here")
    lines[place.line - 1] = line[:at] + status + line[at + len(rule.status) :]
    return "\n".join(lines)
