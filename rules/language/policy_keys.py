"""The keys of a policy, and the `lists` of a file, read out of a YAML tree.

Owns the words of every complaint about them. It never learns what a policy does with a hit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from typing import TypeVar

from dosimeter.detectors.findings import hint_for, suggest, visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node
from dosimeter.rules.language.written import is_name
from dosimeter.rules.occurrence import GROUPED
from dosimeter.rules.policy import (
    CONFIRMER,
    MATCHED,
    MOST_LIMIT,
    Exemption,
    Limit,
    Policy,
    Whose,
    span_seconds,
)

WHO = ("reason", "by", "until")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PLAIN = re.compile(r"\$?[\w./-]{1,64}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST_LABELS, _MOST_LABEL = 16, 120
_MOST_VALUES, _MOST_VALUE = 10_000, 256

T = TypeVar("T")


def read_lists(node: Node, reader: Reader) -> dict[str, tuple[str, ...]]:
    """The `lists` of a file that are right: what `$name` stands for in its rules."""
    lists: dict[str, tuple[str, ...]] = {}
    if node.kind != "map":
        reader.expected(node, "a mapping", "write `name: [value, value]`")
    for name, entry in node.entries.items():
        before = len(reader.findings)
        if not is_name(name):
            hint = "lower-case letters, digits and `-`, at most 64"
            reader.error(entry.place, f"`{visible(name)[:80]}` is no name of a list", hint, "list")
        members = reader.items(entry.value)
        if entry.value.kind == "list" and not 1 <= len(members) <= _MOST_VALUES:
            hint = f"from 1 to {_MOST_VALUES}"
            reader.error(entry.value, f"a list of {len(members)} values", hint, "list")
            continue
        values = [_value(member, reader) for member in members]
        _each_once(members, values, reader)
        if len(reader.findings) == before:
            lists[name] = tuple(v for v in values if v is not None)
    return lists


def read_policy(
    keys: Mapping[str, Node], lists: Mapping[str, tuple[str, ...]], reader: Reader
) -> Policy | None:
    """The policy of a rule with these keys (others are left alone), or None after complaining."""
    before = len(reader.findings)

    def get(key: str, read: Callable[[Node, Reader], T | None], absent: T) -> T:
        found = read(keys[key], reader) if key in keys else None
        return absent if found is None else found

    policy = Policy(
        get("only", lambda n, r: _only(n, lists, r), Whose()),
        get("unless", lambda n, r: _unless(n, lists, r), ()),
        get("group-by", _group_by, ()),
        get("repeat-after", _repeat_after, 0),
        get("limit", _limit, None),
        get("quiet-when", lambda n, r: _quiet_when(n, keys.get("rule"), r), ()),
        get("expires", _date, None),
        get("labels", _labels, ()),
        get("confirm", _confirm, ""),
    )
    return policy if len(reader.findings) == before else None


def _only(node: Node, lists: Mapping[str, tuple[str, ...]], reader: Reader) -> Whose | None:
    values = _written(node)
    if values:
        reader.expected(node, "a mapping", f"write `{{tenant: [{values}]}}`")
        return None
    return _whose(node, reader.mapping(node, MATCHED), lists, reader)


def _written(node: Node) -> str:
    """A value, or a list of some, as they would stand between `[` and `]`; else nothing."""
    members = node.nodes or (node,)
    if any(m.kind != "text" or _PLAIN.fullmatch(str(m.value)) is None for m in members):
        return ""
    return ", ".join([str(m.value) for m in members[:3]] + ["…"] * (len(members) > 3))


def _words(node: Node, reader: Reader) -> tuple[Node, ...]:
    """The members of a list of names."""
    if node.kind == "text" and (one := _written(node)):
        reader.expected(node, "a list", f"write `[{one}]`")
        return ()
    return reader.items(node)


def _whose(
    node: Node,
    keys: Mapping[str, Node],
    lists: Mapping[str, tuple[str, ...]],
    reader: Reader,
) -> Whose:
    found = {name: _values(keys[name], lists, reader) for name in MATCHED if name in keys}
    if node.kind == "map" and not found and all(key in (*MATCHED, *WHO) for key in node.entries):
        hint = f"say for whom: {', '.join(f'`{name}`' for name in MATCHED)}"
        reader.error(node, "no label", hint, "label")
    return Whose.of(found)


def _values(node: Node, lists: Mapping[str, tuple[str, ...]], reader: Reader) -> list[str]:
    """One value, `$list`, or a list of such."""
    members = node.nodes if node.kind == "list" else (node,)
    if not members:
        reader.error(node, "an empty list matches nothing", "name a value, or remove it", "list")
    values: list[str] = []
    for member in members:
        if member.kind == "text" and str(member.value).startswith("$"):
            name = str(member.value)[1:]
            if name not in lists:
                hint = hint_for(name, lists) if lists else "this file has no `lists:`"
                reader.error(member, f"unknown list `${visible(name)[:80]}`", hint, "unknown-list")
            values += lists.get(name, ())
        elif (value := reader.text(member, _MOST_VALUE)) is not None:
            values.append(value)
    if len(set(values)) > _MOST_VALUES:
        reader.error(node, f"{len(set(values))} values", f"at most {_MOST_VALUES}", "list")
    return values


def _value(node: Node, reader: Reader) -> str | None:
    value = reader.text(node, _MOST_VALUE)
    if value is not None and value.startswith("$"):
        reader.error(
            node, f"list `{visible(value)[:80]}` in a list", "write its values out", "list"
        )
        return None
    return value


def _unless(
    node: Node, lists: Mapping[str, tuple[str, ...]], reader: Reader
) -> tuple[Exemption, ...]:
    members = reader.items(node)
    if node.kind == "list" and not members:
        reader.error(node, "`unless` without an exemption", "remove the key", "unless")
    found = [_exemption(member, lists, reader) for member in members]
    return tuple(e for e in found if e is not None)


def _exemption(
    node: Node, lists: Mapping[str, tuple[str, ...]], reader: Reader
) -> Exemption | None:
    known = (*MATCHED, *WHO)
    keys = reader.mapping(node, known)
    meant = {suggest(key, known) for key in node.entries if key not in known}
    hints = {
        "reason": 'say why, for whoever reviews it: `reason: "course material quotes scams"`',
        "by": "say who decided it: `by: j.doe`",
        "until": "say when to look again: `until: 2027-01-31`, the last day on which it holds",
    }
    for key, hint in hints.items():
        if node.kind == "map" and key not in keys and key not in meant:
            reader.error(node, f"`{key}` is missing", hint, "missing-key")
    whose = _whose(node, keys, lists, reader)
    reason = reader.text(keys["reason"], 300) if "reason" in keys else None
    by = reader.text(keys["by"], 100) if "by" in keys else None
    until = _date(keys["until"], reader) if "until" in keys else None
    return Exemption(whose, reason, by, until) if reason and by and until else None


def _date(node: Node, reader: Reader) -> date | None:
    try:
        if node.kind == "text" and _DATE.fullmatch(str(node.value)):
            return date.fromisoformat(str(node.value))
    except ValueError:
        pass  # 2027-02-30
    reader.error(node, f"{node.shown} is no date", "write year-month-day: `2027-01-31`", "date")
    return None


def _group_by(node: Node, reader: Reader) -> tuple[str, ...]:
    members = _words(node, reader)
    if node.kind == "list" and not members:
        hint = "remove the key: each request is then a group of its own"
        reader.error(node, "`group-by` without a label", hint, "group-by")
    names = [reader.one_of(member, GROUPED, "group-by") for member in members]
    _each_once(members, names, reader)
    return tuple(name for name in GROUPED if name in names)


def _repeat_after(node: Node, reader: Reader) -> int | None:
    hint = "a number with its unit, `90s`, `30m`, `1h` or `7d`, from `30s` to `30d`"
    return _parsed(node, span_seconds, hint, "repeat-after", reader)


def _limit(node: Node, reader: Reader) -> Limit | None:
    hint = f"write `50 per hour` (minute, hour or day), from 1 to {MOST_LIMIT}"
    return _parsed(node, Limit.parse, hint, "limit", reader)


def _parsed(
    node: Node, parse: Callable[[str], T], hint: str, code: str, reader: Reader
) -> T | None:
    if node.kind in ("map", "list", "null"):
        reader.expected(node, "text", hint)
        return None
    try:
        return parse(node.written)
    except ValueError as error:
        reader.error(node, f"`{visible(node.written)[:80]}` {error}", hint, code)
        return None


def _quiet_when(node: Node, own: Node | None, reader: Reader) -> tuple[str, ...]:
    members = _words(node, reader)
    if node.kind == "list" and not members:
        reader.error(node, "`quiet-when` without a rule", "name one, or remove the key", "quiet")
    names = [reader.text(member, 64) for member in members]
    for member, name in zip(members, names, strict=True):
        if name is not None and not is_name(name):
            hint = "lower-case letters, digits and `-`, at most 64"
            reader.error(member, f"`{visible(name)}` is not a rule id", hint, "rule-id")
        elif name is not None and own is not None and name == own.value:
            hint = "for one notification in a time write `repeat-after: 24h`"
            reader.error(member, f"`{name}` cannot silence itself", hint, "quiet")
    _each_once(members, names, reader)
    return tuple(sorted(name for name in names if name))


def _confirm(node: Node, reader: Reader) -> str | None:
    """A rule is data: where that is and what it runs stands in the sidecar's own file."""
    name = reader.text(node)
    if name is not None and CONFIRMER.fullmatch(name) is None:
        hint = "its name under `confirmers:` in the sidecar's file: lower-case letters, digits, `-`"
        reader.error(node, f"`{visible(name)[:80]}` is no name of a confirmer", hint, "confirm")
        return None
    return name


def _labels(node: Node, reader: Reader) -> tuple[tuple[str, str], ...]:
    if node.kind != "map":
        reader.expected(node, "a mapping", "write `labels: {team: trust}`")
    if node.kind == "map" and not 1 <= len(node.entries) <= _MOST_LABELS:
        reader.error(node, f"{len(node.entries)} labels", f"from 1 to {_MOST_LABELS}", "label")
    labels: list[tuple[str, str]] = []
    for name, entry in node.entries.items():
        if _LABEL.fullmatch(name) is None:
            hint = "lower-case letters, digits, `_` and `-`, at most 32, a letter first"
            reader.error(
                entry.place, f"`{visible(name)[:80]}` is no name of a label", hint, "label"
            )
        value = reader.text(entry.value, _MOST_LABEL)
        if value is not None and not value.isprintable():
            hint = "on one line, without characters that do not show"
            reader.error(entry.value, f"label value `{visible(value)}`", hint, "label")
        labels.append((name, value or ""))
    return tuple(sorted(labels))


def _each_once(members: Sequence[Node], values: Collection[str | None], reader: Reader) -> None:
    seen: set[str] = set()
    for member, value in zip(members, values, strict=True):
        if value in seen:
            reader.error(member, f"`{visible(value)[:80]}` stands twice", "remove one", "duplicate")
        elif value is not None:
            seen.add(value)
