"""A rule file becomes rules: what keys there are, what their values may be, and what they mean.

Owns `Rule` and `RuleSet`, the canonical form of a rule and its digest, and the loading of
files and folders. It never learns about calibrations or columns: what a level means in codes is
not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dosimeter.detectors.findings import InputError, Place, hint_for, visible
from dosimeter.detectors.reader import Reader
from dosimeter.detectors.strict_yaml import Node, load, load_file
from dosimeter.rules import summary
from dosimeter.rules.atoms import SEVERITIES, STATUSES
from dosimeter.rules.language.policy_keys import read_lists, read_policy
from dosimeter.rules.language.second import SecondRule, check_keys, fields_of, form_of, read_second
from dosimeter.rules.language.when import Clear, Signals, When, read_clear, read_signals, read_when
from dosimeter.rules.language.written import Written, is_name
from dosimeter.rules.policy import EVERYONE, POLICY_KEYS, Policy

VERSION = 1
FILE_KEYS = ("version", "lists", "signals", "rules")
REQUIRED = ("rule", "when", "status", "severity", "summary")
RULE_KEYS = (*REQUIRED, "owner", "runbook", "clear", *POLICY_KEYS, "tests")
_URL = re.compile(r"https?://[^\s]+")


@dataclass(frozen=True, slots=True)
class Rule(Written):
    """One rule as it was written. place: of its id; places: of the value of each of its keys."""

    id: str
    when: When
    status: str
    severity: str
    summary: str
    owner: str = ""
    runbook: str = ""
    clear: Clear | None = None
    policy: Policy = EVERYONE
    place: Place = field(default=Place(""), compare=False)
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, hash=False)
    tests: Node | None = field(default=None, compare=False, hash=False)

    def as_json(self) -> dict[str, Any]:
        clear = {} if self.clear is None else {"clear": self.clear.as_json()}
        return Written.as_json(self) | clear


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules with unique ids, sorted by id: the order in files and of files never matters.

    rules: over tokens, which a program is made of; second: over their hits and over the monitor.
    """

    rules: tuple[Rule, ...]
    second: tuple[SecondRule, ...] = ()

    def rule(self, name: str) -> Rule:
        """By its id. Raises KeyError."""
        for rule in self.rules:
            if rule.id == name:
                return rule
        raise KeyError(name)


def load_rules(paths: Sequence[Path]) -> RuleSet:
    """All rules of these files, and of every `*.yaml` in these folders. Raises InputError."""
    reader = Reader()
    ruleset = read_files(paths, reader)
    reader.refuse_if_wrong()
    return ruleset


def read_files(paths: Sequence[Path], reader: Reader) -> RuleSet:
    """What can be read of these files; everything that is wrong is left in `reader.findings`."""
    return read_trees(load_trees(paths, reader), reader)


def load_trees(paths: Sequence[Path], reader: Reader) -> list[Node]:
    """Of each file that is YAML, in the order given."""
    roots: list[Node] = []
    for path in paths:
        for file in _files(path, reader):
            try:
                roots.append(load_file(file))
            except InputError as error:
                reader.findings.extend(error.findings)
    return roots


def read_trees(roots: Sequence[Node], reader: Reader) -> RuleSet:
    """The rules of these trees that are right."""
    return _ruleset([rule for root in roots for rule in read_rules(root, reader)], reader)


def parse_rules(text: str, name: str = "rules.yaml") -> RuleSet:
    """The rules of one file's text. Raises InputError."""
    reader = Reader()
    ruleset = _ruleset(read_rules(load(text, name), reader), reader)
    reader.refuse_if_wrong()
    return ruleset


def read_rules(root: Node, reader: Reader) -> list[Rule | SecondRule]:
    """The rules of one tree that are right; complaints about the others go to `reader`."""
    top = reader.mapping(root, FILE_KEYS, required=("version", "rules"))
    version = top.get("version")
    if version is not None and (version.kind, version.value) != ("int", VERSION):
        message = f"rule file version `{visible(version.written)}`"
        reader.error(version, message, f"this version of dosimeter reads `version: {VERSION}`")
    lists: dict[str, tuple[str, ...]] = {}
    if "lists" in top:  # one that is wrong is known too: it was complained about where it stands
        lists = dict.fromkeys(top["lists"].entries, ()) | read_lists(top["lists"], reader)
    signals = read_signals(top["signals"], reader, is_name) if "signals" in top else {}
    nodes = reader.items(top["rules"]) if "rules" in top else ()
    found = (_rule(node, lists, signals, reader) for node in nodes)
    return [rule for rule in found if rule is not None]


def _rule(
    node: Node, lists: Mapping[str, tuple[str, ...]], signals: Signals, reader: Reader
) -> Rule | SecondRule | None:
    before = len(reader.findings)
    keys = reader.mapping(node, RULE_KEYS, required=REQUIRED)
    name = reader.text(keys["rule"]) if "rule" in keys else None
    if name is not None and not is_name(name):
        hint = "lower-case letters, digits and `-`, at most 64: it is the rule's name for ever"
        reader.error(keys["rule"], f"`{visible(name)[:80]}` is not a rule id", hint, "rule-id")
    status = reader.one_of(keys["status"], STATUSES, "status") if "status" in keys else None
    severity = (
        reader.one_of(keys["severity"], SEVERITIES, "severity") if "severity" in keys else None
    )
    owner = (reader.text(keys["owner"], 100) or "") if "owner" in keys else ""
    if status == "live" and "owner" not in keys:
        hint = "say who answers for it, or keep it in `shadow`"
        reader.error(keys["status"], "`live` without `owner`", hint, "owner")
    runbook = (reader.text(keys["runbook"]) or "") if "runbook" in keys else ""
    if runbook and _URL.fullmatch(runbook) is None:
        reader.error(
            keys["runbook"], f"`{visible(runbook)[:80]}` is not a link", "write an https:// URL"
        )
    policy = read_policy(keys, lists, reader)
    form = form_of(keys["when"]) if "when" in keys else None
    fields = summary.FIELDS if form is None else fields_of(form, policy.group_by if policy else ())
    text = _summary(keys["summary"], fields, reader) if "summary" in keys else None
    places = {key: value.place for key, value in keys.items()}
    if form is not None:
        check_keys(form, keys, reader)
        second = read_second(form, keys["when"], name, reader)
        if any(f.severity == "error" for f in reader.findings[before:]):
            return None
        if not (name and status and severity and text and second and policy):
            return None
        return SecondRule(
            name, second, status, severity, text, owner, runbook, policy, keys["rule"].place, places
        )
    when = read_when(keys["when"], reader, signals) if "when" in keys else None
    clear = read_clear(keys["clear"], when, reader) if "clear" in keys else None
    if any(f.severity == "error" for f in reader.findings[before:]):
        return None
    if not (name and status and severity and text and when and policy):
        return None
    return Rule(
        name, when, status, severity, text, owner, runbook, clear, policy,
        keys["rule"].place, places, keys.get("tests"),
    )  # fmt: skip


def _summary(node: Node, fields: Sequence[str], reader: Reader) -> str | None:
    text = reader.text(node, 300)
    for _, message, meant in summary.problems(text or "", fields):
        hint = "write `{{` or `}}` for a brace" if meant is None else hint_for(meant, fields)
        reader.error(node, f"{visible(message)} in `summary`", hint, "summary-field")
    return text


def _files(path: Path, reader: Reader) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml") and p.is_file())
    if not files:
        reader.error(
            Place(str(path)), "no rule file in this folder", "they end in `.yaml`", "empty"
        )
    return files


def _ruleset(rules: Sequence[Rule | SecondRule], reader: Reader) -> RuleSet:
    first: dict[str, Rule | SecondRule] = {}
    for rule in rules:
        earlier = first.setdefault(rule.id, rule)
        if earlier is not rule:
            message = f"rule `{rule.id}` stands twice, first at {earlier.place}"
            hint = "rename or remove one"
            if earlier.place == rule.place:
                message, hint = (
                    f"rule `{rule.id}` is read twice",
                    "name its file, or its folder, once",
                )
            reader.error(rule.place, message, hint, "duplicate-id")
    in_order = [first[name] for name in sorted(first)]
    return RuleSet(
        tuple(rule for rule in in_order if isinstance(rule, Rule)),
        tuple(rule for rule in in_order if isinstance(rule, SecondRule)),
    )
