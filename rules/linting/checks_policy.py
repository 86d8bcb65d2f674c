"""What will surprise in whom a rule is for and what becomes of its hits: nobody left, dates that are over.

Owns a check for each and its words, and `Written`. It never learns what day it is: that is an argument.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from math import prod

from dosimeter.detectors.findings import visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.policy import Exemption, Policy, span_text

SOON_DAYS = 30


@dataclass(frozen=True, slots=True)
class Written:
    """A rule, and the tree that it was read from."""

    rule: Rule | SecondRule
    node: Node

    def value(self, key: str) -> Node:
        """Of a key that it has."""
        return self.node.entries[key].value


def check_policy(written: Written, day: date | None, reader: Reader) -> None:
    """Of a rule that runs. day: None, no date is judged."""
    _covered(written, day, reader)
    _grouping(written, reader)
    _unreached(written, reader)
    if day is not None:
        _dates(written, day, reader)


def _covered(written: Written, day: date | None, reader: Reader) -> None:
    """An `unless` that takes back all that `only` lets through."""
    policy = written.rule.policy
    if not policy.unless:
        return
    nodes = written.value("unless").nodes
    held = [e for e in policy.unless if day is None or day <= e.until]
    for exemption, node in zip(policy.unless, nodes, strict=True):
        if exemption in held and _takes_all(policy, (exemption,)):
            message = "this exemption covers all that `only` lets through: nothing is left"
            hint = "name fewer under `unless`, or retire the rule"
            reader.report("nothing-left", "warning", node, message, hint)
            return
    if _takes_all(policy, held):
        message = "these exemptions together cover all that `only` lets through: nothing is left"
        hint = "name fewer under `unless`, or retire the rule"
        reader.report("nothing-left", "warning", written.value("unless"), message, hint)


def _takes_all(policy: Policy, exemptions: Collection[Exemption]) -> bool:
    """Whether one of them holds for each label that `only` allows; several count where each asks one label."""
    allowed = {name: set(values) for name, values in policy.only.labels if values}
    if len(exemptions) <= 1:
        asked = [labels for e in exemptions for labels in e.whose.labels]
        taken_back = [name in allowed and allowed[name] <= set(values) for name, values in asked]
        return bool(taken_back) and all(taken_back)
    taken: dict[str, set[str]] = {}
    for exemption in exemptions:
        if len(exemption.whose.labels) == 1:
            ((name, values),) = exemption.whose.labels
            taken.setdefault(name, set()).update(values)
    return any(name in taken and values <= taken[name] for name, values in allowed.items())


def _grouping(written: Written, reader: Reader) -> None:
    rule, policy = written.rule, written.rule.policy
    once = isinstance(rule, Rule) and rule.clear is None
    if policy.repeat_after_s and not policy.group_by and once:
        message = (
            "`repeat-after` without `group-by` keeps nothing back: the rule fires once in a request"
        )
        hint = "say for whom one notification is enough: `group-by: [tenant]`"
        reader.report("repeat-after", "warning", written.value("repeat-after"), message, hint)
    if policy.limit and policy.group_by and not policy.repeat_after_s:
        message = f"`limit` counts the whole rule, not each {' and '.join(policy.group_by)}"
        hint = "for one notification each in a time there is `repeat-after: 1h`"
        reader.report("limit", "note", written.value("limit"), message, hint)


def _unreached(written: Written, reader: Reader) -> None:
    """A `limit` above what `repeat-after` leaves of the groups that `only` names."""
    policy = written.rule.policy
    named = {name: values for name, values in policy.only.labels if values}
    if not (policy.limit and policy.repeat_after_s and policy.group_by):
        return
    if not set(policy.group_by) <= set(named):
        return
    groups = prod(len(named[name]) for name in policy.group_by)
    most = groups * -(-policy.limit.window_ns // policy.repeat_after_ns)
    if most <= policy.limit.count:
        each = " and ".join(policy.group_by)
        message = (
            f"`limit` is never reached: {groups} {each}{'s' if groups > 1 else ''} with "
            f"`repeat-after: {span_text(policy.repeat_after_s)}` make at most {most} a "
            f"{policy.limit.per}"
        )
        hint = f"remove it, or write less than `{most} per {policy.limit.per}`"
        if most == 1:
            hint = "remove it"
        reader.report("limit", "note", written.value("limit"), message, hint)


def _dates(written: Written, day: date, reader: Reader) -> None:
    rule = written.rule
    until = (
        [n.entries["until"].value for n in written.value("unless").nodes]
        if rule.policy.unless
        else []
    )
    for exemption, node in zip(rule.policy.unless, until, strict=True):
        left = (exemption.until - day).days
        if left < 0:
            message = f"this exemption ended on {exemption.until}: its hits count again"
            hint = "remove it, or look at it again and give it another last day"
            reader.report("exemption-over", "warning", node, message, hint)
        elif left <= SOON_DAYS:
            message = f"this exemption ends {_in(left)}"
            hint = f"`{visible(exemption.by)}` decided it: does its reason still hold?"
            reader.report("exemption-ends", "note", node, message, hint)
    if rule.policy.expires is None:
        return
    left = (rule.policy.expires - day).days
    if left < 0:
        message = f"rule `{rule.id}` expired on {rule.policy.expires}: it does not run"
        hint = "give it another last day, or retire it"
        reader.report("expired", "warning", rule.places["expires"], message, hint)
    elif left <= SOON_DAYS:
        message = f"rule `{rule.id}` expires {_in(left)}"
        reader.report(
            "expires", "note", rule.places["expires"], message, "renew the day, or retire it"
        )


def _in(days: int) -> str:
    if not days:
        return "today"
    return f"in {days} day" + ("s" if days > 1 else "")
