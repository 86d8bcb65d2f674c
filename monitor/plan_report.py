"""A plan as one JSON object: for `--json`, for the screen and for the drawing alike.

It owns the fields and their names. It computes nothing that `rules/planning/proposal` does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dosimeter.rules.planning.dial import Dial
from dosimeter.rules.planning.proposal import Changes, Proposal
from dosimeter.rules.planning.spend import Spend

VERSION = 1


def report(
    proposal: Proposal,
    sample: str,
    notes: Sequence[str],
    day: str,
    hours: Sequence[float] | None,
) -> dict[str, Any]:
    """sample: what the requests are; day: ISO date of the plan; hours: shares of a day's requests, if known."""
    evidence = proposal.evidence
    severities = {
        severity: {
            "allowance": proposal.choice.allowance[severity],
            "now": now.as_json(),
            "planned": proposal.planned.severities[severity].as_json(),
        }
        for severity, now in proposal.now.severities.items()
    }
    return {
        "version": VERSION,
        "day": day,
        "reviews_a_day": proposal.budget,
        "requests_a_day": evidence.per_day,
        "sample": {
            "what": sample,
            "requests": len(evidence.weights),
            "stand_for": float(evidence.weights.sum()),
        },
        "fits": proposal.choice.fits,
        "rules": [_rule(proposal, index) for index in range(len(proposal.dials))],
        "severities": severities,
        "together": {
            "now": proposal.now.total.as_json(),
            "planned": proposal.planned.total.as_json(),
        },
        "catch": None if proposal.catch is None else proposal.catch.as_json(),
        "label_first": list(proposal.label),
        "changes": {
            "added": _changes(proposal.added),
            "removed": _changes(proposal.removed),
        },
        "alarm": _alarm(proposal, hours),
        "not_planned": dict(proposal.refused),
        "notes": [*_notes(proposal), *notes],
    }


def _rule(proposal: Proposal, index: int) -> dict[str, Any]:
    dial, position = proposal.dials[index], proposal.positions[index]
    now = proposal.now.rules[index]
    planned = proposal.planned.rules[index]
    assert planned is not None  # every dial has a position
    return {
        "rule": dial.rule.id,
        "severity": dial.rule.severity,
        "status": dial.rule.status,
        "levels": [
            {"of": condition.feature, "now": condition.level.text, "planned": level.text}
            for condition, level in zip(
                dial.rule.when.conditions, dial.levels[position], strict=True
            )
        ],
        "now": None if now is None else now.as_json(),
        "planned": planned.as_json(),
        "why_no_tighter": _end(dial, position),
    }


def _end(dial: Dial, position: int) -> str:
    """Why the dial ends, where it stands there."""
    return dial.end if position == 0 else ""


def _alarm(proposal: Proposal, hours: Sequence[float] | None) -> dict[str, Any]:
    """What `Spend` is told."""
    spend = Spend(proposal.budget, proposal.bound, hours)
    return {
        "hours": None if hours is None else list(hours),
        "bound": spend.bound,
        "reviews": spend.limit,
        "false_alarm_a_week": spend.false_alarm_week,
    }


def _changes(changes: Changes) -> dict[str, Any]:
    return {
        "requests": changes.requests,
        "a_day": changes.a_day,
        "listed": [change.as_json() for change in changes.listed],
    }


def _notes(proposal: Proposal) -> list[str]:
    """What a reader must know before the figures are believed."""
    found = []
    if not proposal.knobs:
        found.append("no live rule can be planned; `--shadow` plans those in shadow as if live")
    elif not proposal.choice.fits:
        found.append(
            "the budget does not hold these rules: every dial is at its tightest; "
            "calibrate on more traffic, put rules in `shadow`, or find more reviewers"
        )
    if proposal.catch is not None:
        found.append(
            "caught and missed take the labelled requests for a random sample of those alike; the labels also chose "
            "the levels, so on new traffic expect to catch somewhat less"
        )
    if proposal.left:
        found.append(
            f"not counted, because nobody reviews them: {', '.join(f'`{r}`' for r in proposal.left)} in shadow"
        )
    unplaced = [
        dial.rule.id
        for dial, now in zip(proposal.dials, proposal.now.rules, strict=True)
        if now is None
    ]
    if unplaced:
        found.append(
            f"cannot be placed as written, so that now counts without: "
            f"{', '.join(f'`{rule}`' for rule in unplaced)}"
        )
    return found
