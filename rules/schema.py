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
from dosimeter.rules.canonical import canonical, digest
from dosimeter.rules.when import When, read_when

VERSION = 1
_FILE_KEYS = ("version", "rules")
_RULE_KEYS = ("rule", "when", "status", "severity", "summary", "owner", "runbook")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_URL = re.compile(r"https?://[^\s]+")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as it was written. place: of its id; places: of the value of each of its keys."""

    id: str
    when: When
    status: str
    severity: str
    summary: str
    owner: str = ""
    runbook: str = ""
    place: Place = field(default=Place(""), compare=False)
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, hash=False)

    def as_json(self) -> dict[str, Any]:
        """The canonical form: equal for rules that say the same, however they are written."""
        text: dict[str, Any] = {
            "rule": self.id,
            "when": self.when.as_json(),
            "status": self.status,
            "severity": self.severity,
            "summary": self.summary,
        }
        text |= {k: v for k, v in (("owner", self.owner), ("runbook", self.runbook)) if v}
        return text

    @property
    def canonical(self) -> bytes:
        return canonical(self.as_json())

    @property
    def sha256(self) -> str:
        return digest(self.canonical)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules with unique ids, sorted by id: the order in files and of files never matters."""

    rules: tuple[Rule, ...]


def load_rules(paths: Sequence[Path]) -> RuleSet:
    """All rules of these files, and of every `*.yaml` in these folders. Raises InputError."""
    reader = Reader()
    ruleset = read_files(paths, reader)
    reader.refuse_if_wrong()
    return ruleset


def read_files(paths: Sequence[Path], reader: Reader) -> RuleSet:
    """What can be read of these files; everything that is wrong is left in `reader.findings`."""
    rules: list[Rule] = []
    for path in paths:
        for file in _files(path, reader):
            try:
                root = load_file(file)
            except InputError as error:
                reader.findings.extend(error.findings)
            else:
                rules += read_rules(root, reader)
    return RuleSet(tuple(_unique(rules, reader)))


def parse_rules(text: str, name: str = "rules.yaml") -> RuleSet:
    """The rules of one file's text. Raises InputError."""
    reader = Reader()
    rules = _unique(read_rules(load(text, name), reader), reader)
    reader.refuse_if_wrong()
    return RuleSet(tuple(rules))


def read_rules(root: Node, reader: Reader) -> list[Rule]:
    """The rules of one tree that are right; complaints about the others go to `reader`."""
    top = reader.mapping(root, _FILE_KEYS, required=_FILE_KEYS)
    version = top.get("version")
    if version is not None and (version.kind, version.value) != ("int", VERSION):
        message = f"rule file version `{visible(version.written)}`"
        reader.error(version, message, f"this version of dosimeter reads `version: {VERSION}`")
    found = (_rule(node, reader) for node in reader.items(top["rules"])) if "rules" in top else ()
    return [rule for rule in found if rule is not None]


def _rule(node: Node, reader: Reader) -> Rule | None:
    before = len(reader.findings)
    keys = reader.mapping(node, _RULE_KEYS, required=_RULE_KEYS[:5])
    name = reader.text(keys["rule"]) if "rule" in keys else None
    if name is not None and _NAME.fullmatch(name) is None:
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
    text = _summary(keys["summary"], reader) if "summary" in keys else None
    when = read_when(keys["when"], reader) if "when" in keys else None
    if any(f.severity == "error" for f in reader.findings[before:]):
        return None
    if not (name and status and severity and text and when):
        return None
    places = {key: value.place for key, value in keys.items()}
    places |= {f"when.{key}": entry.value.place for key, entry in keys["when"].entries.items()}
    return Rule(name, when, status, severity, text, owner, runbook, keys["rule"].place, places)


def _summary(node: Node, reader: Reader) -> str | None:
    text = reader.text(node, 300)
    for _, message, meant in summary.problems(text or ""):
        hint = (
            "write `{{` or `}}` for a brace" if meant is None else hint_for(meant, summary.FIELDS)
        )
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


def _unique(rules: list[Rule], reader: Reader) -> list[Rule]:
    first: dict[str, Rule] = {}
    for rule in rules:
        earlier = first.setdefault(rule.id, rule)
        if earlier is not rule:
            message = f"rule `{rule.id}` stands twice, first at {earlier.place}"
            reader.error(rule.place, message, "rename or remove one", "duplicate-id")
    return sorted(first.values(), key=lambda r: r.id)
