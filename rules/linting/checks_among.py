"""What will surprise among rules that can be read: names that nobody has, silences in a ring, one said twice.

Owns a check for each and its words. What one rule says alone is `checks.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from dosimeter.detectors.findings import Severity, hint_for, visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.rules.atoms import RUNNING
from dosimeter.rules.language.condition import Condition
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.language.when import strictness
from dosimeter.rules.linting.checks_policy import Written

_MOST_GUESSED = 20
"""Unknown names for which the one that was meant is looked for: among thousands that takes long."""
_MOST_TOLD = 8


def check_among(rules: Sequence[Written], reader: Reader) -> None:
    """In the order of their ids."""
    by_id = {written.rule.id: written for written in rules}
    running = [written for written in rules if written.rule.status in RUNNING]
    _quiet(running, by_id, reader)
    _rings(running, reader)
    _twice(running, reader)
    _within_another(running, reader)


def check_used(root: Node, reader: Reader) -> None:
    """Whether the rules of a file use what it names."""
    top = root.entries
    if "lists" not in top and "signals" not in top:
        return
    rules = [top["rules"].value] if "rules" in top else []
    used = {("lists", text) for node in rules for text in _references(node, "$")}
    used |= {("signals", text) for node in rules for text in _references(node, "signal")}
    for key, what in (("lists", "list"), ("signals", "signal")):
        entries = top[key].value.entries if key in top else {}
        for name, entry in entries.items():
            if (key, name) not in used:
                message = f"no rule of this file uses {what} `{visible(name)[:80]}`"
                reader.report("unused", "note", entry.place, message, "use it, or remove it")


def _references(node: Node, kind: str) -> Iterator[str]:
    """Names behind `$`, or behind the key `signal`, anywhere below."""
    for name, entry in node.entries.items():
        if name == kind and entry.value.kind == "text":
            yield str(entry.value.value)
        yield from _references(entry.value, kind)
    for member in node.nodes:
        yield from _references(member, kind)
    if kind == "$" and node.kind == "text" and str(node.value).startswith("$"):
        yield str(node.value)[1:]


def _quiet(rules: Sequence[Written], by_id: Mapping[str, Written], reader: Reader) -> None:
    unknown = 0
    for written in rules:
        rule = written.rule
        nodes = written.value("quiet-when").nodes if rule.policy.quiet_when else ()
        for node in nodes:
            name = str(node.value)
            if name not in by_id:
                unknown += 1
                hint = "a rule of another file is known where both are given"
                if unknown <= _MOST_GUESSED:
                    hint = (
                        f"{hint_for(name, [known for known in by_id if known != rule.id])}; {hint}"
                    )
                reader.error(node, f"unknown rule `{visible(name)}`", hint, "unknown-rule")
                continue
            status = by_id[name].rule.status
            if status not in RUNNING or (status == "shadow" and rule.status == "live"):
                message = f"rule `{name}` is `{status}`: it notifies nobody, and silences nothing"
                hint = "name a rule that is live, or remove it"
                reader.report("quiet-never", "warning", node, message, hint)


def _rings(rules: Sequence[Written], reader: Reader) -> None:
    """Rules of which each silences the next; each rule is told in one ring at most, at the first of it by name."""
    by_id = {written.rule.id: written for written in rules}
    told: set[str] = set()
    for ring in _found_rings({name: w.rule.policy.quiet_when for name, w in by_id.items()}):
        if told & set(ring):
            continue
        told |= set(ring)
        at = ring.index(min(ring))
        ring = [*ring[at:], *ring[:at]]
        nodes = by_id[ring[0]].value("quiet-when").nodes
        node = next(node for node in nodes if node.value == ring[1 % len(ring)])
        listed = " -> ".join(f"`{name}`" for name in (*ring[:_MOST_TOLD], ring[0]))
        message = f"a ring of silences: {listed}"
        hint = "the one that fires first silences all others for a day: name the graver one alone"
        reader.report("quiet-ring", "warning", node, message, hint)


def _found_rings(quiet: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """At least one of every set of rules that lie on one, in one pass: a file may hold thousands."""
    done: set[str] = set()
    for start in quiet:
        path = [start]  # rules from `start` on, of which each silences the next
        left = [iter(quiet[start])]
        on_path = {start: 0}
        while path and start not in done:
            other = next(left[-1], None)
            if other is None:
                done.add(path[-1])
                del on_path[path.pop()]
                left.pop()
            elif other in on_path:
                yield path[on_path[other] :]
            elif other in quiet and other not in done:
                on_path[other] = len(path)
                path.append(other)
                left.append(iter(quiet[other]))


def _twice(rules: Sequence[Written], reader: Reader) -> None:
    first: dict[Hashable, Rule | SecondRule] = {}
    for written in rules:
        rule = written.rule
        other = first.setdefault(_meaning(rule), rule)
        if other is rule:
            continue
        message = f"rule `{rule.id}` fires exactly where `{other.id}` does, at {other.place}"
        same = rule.status == other.status
        hint = "keep one of them" if same else "to try another policy in shadow, that is enough"
        severity: Severity = "warning" if same else "note"
        reader.report("same-rule", severity, written.value("when"), message, hint)


def _meaning(rule: Rule | SecondRule) -> Hashable:
    """When it fires, and for whom, however its levels are spelt."""
    if isinstance(rule, SecondRule):
        return rule.when, rule.policy
    parts = tuple(
        (part.negated, tuple(_spelt_once(c) for c in part.conditions)) for part in rule.when.parts
    )
    clear = rule.clear
    if clear is not None:
        clear = replace(clear, level=replace(clear.level, text=""))
    return parts, rule.when.kind, rule.when.within, clear, rule.policy.only, rule.policy.unless


def _spelt_once(condition: Condition) -> Condition:
    return replace(condition, level=replace(condition.level, text=""))


def _within_another(rules: Sequence[Written], reader: Reader) -> None:
    """A rule of one condition, and another that differs in a looser level alone."""
    alike: dict[Hashable, list[tuple[Fraction, Written]]] = defaultdict(list)
    for written in rules:
        rule = written.rule
        one = rule.when.single if isinstance(rule, Rule) and rule.clear is None else None
        if one is not None:
            level = replace(one.level, value=one.level.value * 0, text="")
            key = (replace(one, level=level), rule.severity, rule.policy.only, rule.policy.unless)
            alike[key].append((strictness(one.level, one.direction), written))
    for group in alike.values():
        group.sort(key=lambda pair: pair[0])
        widest: dict[str, tuple[Fraction, Rule | SecondRule]] = {}  # by status
        for strict, written in group:
            rule = written.rule
            at_least_as_loud = [
                wider for s, wider in widest.items() if s == "live" or rule.status == "shadow"
            ]
            if looser := [wider for found, wider in at_least_as_loud if found < strict]:
                message = f"rule `{looser[0].id}` fires wherever `{rule.id}` does"
                hint = "give the stricter one another severity, or keep one of them"
                reader.report("within-another", "note", written.value("when"), message, hint)
            widest.setdefault(rule.status, (strict, rule))
