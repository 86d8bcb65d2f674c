"""What will surprise in rules over hits and over the monitor: whom they count, what nobody scores, who sees it whole.

Owns a check for each and its words. What such a rule has in common with all others is `checks.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dosimeter.detectors.findings import hint_for, visible
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.reader import Reader
from dosimeter.rules.atoms import RUNNING
from dosimeter.rules.language.counting import Count
from dosimeter.rules.language.schema import RuleSet
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.language.watching import Absent, Shift


def check_second(
    ruleset: RuleSet, features: Collection[str] | None, replicas: int, reader: Reader
) -> None:
    """features: the names that are defined, None: not judged. replicas: sidecars that run these rules side by side."""
    status = {rule.id: rule.status for rule in ruleset.rules}
    others = [rule.id for rule in ruleset.second]
    for rule in ruleset.second:
        if isinstance(rule.when, Count):
            _of(rule, rule.when, status, others, reader)
            _replicas(rule, rule.when, replicas, reader)
        else:
            _feature(rule.when, features, reader)


def _of(
    rule: SecondRule, count: Count, status: dict[str, str], others: Sequence[str], reader: Reader
) -> None:
    for name, place in zip(count.of, count.of_places, strict=True):
        if name in others:
            message = f"rule `{name}` is no rule over tokens: a count is of their hits alone"
            hint = hint_for(name, status) if status else None
            reader.error(place, message, hint, "count-of")
        elif name not in status:
            hint = f"{hint_for(name, status)}; a rule of another file is known where both are given"
            reader.error(place, f"unknown rule `{visible(name)}`", hint, "unknown-rule")
        elif rule.status in RUNNING and status[name] not in RUNNING:
            message = f"rule `{name}` is `{status[name]}`: it has no hits to count"
            hint = "name a rule that runs, or remove it"
            reader.report("count-never", "warning", place, message, hint)
        elif rule.status == "live" and status[name] == "shadow":
            message = f"rule `{name}` is in shadow: a live count leaves its hits aside"
            hint = "put `count` in shadow too, or make the rule live"
            reader.report("count-never", "warning", place, message, hint)


def _replicas(rule: SecondRule, count: Count, replicas: int, reader: Reader) -> None:
    """Each replica counts what it sees itself: the limit is then never reached, or only by chance."""
    if replicas > 1 and rule.status in RUNNING:
        message = f"a count on {replicas} replicas: each counts the hits of its own server alone"
        hint = (
            "send one caller's requests to one replica and lint with `--replicas 1`, "
            "or let `dosimeter fleet` count (`counted-by: fleet`) and lint with `--replicas 1`"
        )
        reader.error(count.places["count"], message, hint, "replicas")


def _feature(when: Absent | Shift, features: Collection[str] | None, reader: Reader) -> None:
    place = when.places["absent" if isinstance(when, Absent) else "shift"]
    if features is not None and when.feature not in features:
        message = f"unknown feature `{visible(when.feature)}`"
        reader.error(place, message, hint_for(when.feature, features), "unknown-feature")
    if isinstance(when, Shift) and when.scope is Scope.REASONING:
        message = "no tap of this release marks `reasoning`: nothing is compared"
        hint = "write `in: answer`, which holds those tokens"
        reader.report("scope-unseen", "warning", when.places["in"], message, hint)
